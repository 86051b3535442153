"""Read hostile files: ``python -m tests.faults.fuzz_worker FORMAT SEED CASES FOLDER``.

``FOLDER/tally.json`` counts cases, accepted, refused, the most memory that a case took, and what
was wrong.  It is up to date before each case, whose files are in ``FOLDER/case``: they show the
caller which case killed this process.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import hypothesis

from tests.faults.hostile.format import Files, Format, UnsoundError
from tests.faults.hostile.formats import FORMATS

SECONDS = 5  # of processor time for one case
SPACE = 2 << 30  # bytes of address space beyond what the modules take
SPARE = 64 << 20  # bytes of memory for a case, whatever its size
MOST = 20  # findings that are reported
SETTINGS = hypothesis.settings(
    database=None, deadline=None, phases=[hypothesis.Phase.generate], derandomize=False,
    suppress_health_check=list(hypothesis.HealthCheck), verbosity=hypothesis.Verbosity.quiet,
)  # fmt: skip


@dataclass
class Tally:
    """What came of the cases.

    Attributes
    ----------
    memory : int
        Most bytes that a case took.
    reading : bool
        Whether a case is being read, and not made.
    wrong : list of str
        What was not as documented; what is alike stands once.
    """

    cases: int = 0
    accepted: int = 0
    refused: int = 0
    memory: int = 0
    reading: bool = False
    wrong: list[str] = field(default_factory=list)


class Memory:
    """The memory of this process, as the kernel counts it."""

    def __init__(self) -> None:
        # Not the maximum of getrusage: that is the starting process's, if that was larger.
        self._status = os.open("/proc/self/status", os.O_RDONLY)
        self.forget()

    def now(self) -> int:
        """Return the bytes that are resident."""
        return self._field(b"VmRSS:")

    def peak(self) -> int:
        """Return the most that were resident since `forget`."""
        return self._field(b"VmHWM:")

    def _field(self, name: bytes) -> int:
        """Return a line of the status, which counts in kB."""
        return 1024 * int(os.pread(self._status, 4096, 0).split(name)[1].split(None, 1)[0])

    def forget(self) -> None:
        """Start the count again."""
        Path("/proc/self/clear_refs").write_text("5")


def limit_process() -> None:
    """Let the kernel kill what takes too long, and refuse it memory."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + SPACE,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def judge(format_: Format, folder: Path) -> tuple[bool, str]:
    """Read a case; return whether it was accepted, and what was wrong, "" if nothing."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        accepted, wrong = _outcome(format_, folder)
    if not wrong and warned:
        wrong = f"warning {warned[0].category.__name__}: {warned[0].message} ({warned[0].filename})"
    return accepted, wrong


def _outcome(format_: Format, folder: Path) -> tuple[bool, str]:
    try:
        format_.read(folder)
    except format_.refusals as error:
        said = str(error)
        if any(isinstance(cause, MemoryError) for cause in _causes(error)):
            return False, f"asked for memory without bounds: {said:.300}"
        if not said.isprintable() or len(said) > 4000:
            return False, f"not one short line: {said!r:.300} ({len(said)} characters)"
        return False, ""
    except UnsoundError as error:
        return True, f"accepted: {error}"
    except Exception as error:
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else ""
        return False, f"{type(error).__name__} at {where}: {error!s:.300}"
    return True, ""


class Bench:
    """Where cases are laid out and read."""

    def __init__(self, format_: Format, folder: Path) -> None:
        self.format, self.tally, self._memory = format_, Tally(), Memory()
        self._folder, self._case = folder, folder / "case"
        self._keep = os.open(folder / "tally.json", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        self._said = 0  # bytes on standard error

    def try_case(self, files: Files) -> None:
        """Lay out a case, read it and count what came of it."""
        shutil.rmtree(self._case, ignore_errors=True)
        self._case.mkdir()
        for name, data in files.items():
            (self._case / name).write_bytes(data)
        self.tally.cases += 1
        self._write(reading=True)
        if self._memory.peak() - self._memory.now() > SPARE // 8:
            self._memory.forget()
        before = self._memory.now()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        accepted, wrong = judge(self.format, self._case)
        signal.setitimer(signal.ITIMER_PROF, 0)
        took = self._memory.peak() - before
        self._count(accepted, wrong or self._excess(took, sum(map(len, files.values()))))
        self.tally.memory = max(self.tally.memory, took)
        self._write(reading=False)

    def _excess(self, took: int, size: int) -> str:
        """Say what a case took or printed that it must not."""
        said = os.fstat(2).st_size
        if said != self._said:
            self._said = said
            return "something was printed"
        bound = SPARE + self.format.factor * size
        return f"{took} bytes of memory for files of {size}" if took > bound else ""

    def _count(self, accepted: bool, wrong: str) -> None:
        tally = self.tally
        if not wrong:
            tally.accepted += accepted
            tally.refused += not accepted
        elif len(tally.wrong) < MOST and not any(w[:60] == wrong[:60] for w in tally.wrong):
            tally.wrong.append(wrong)
            shutil.copytree(self._case, self._folder / f"wrong{len(tally.wrong)}")

    def _write(self, reading: bool) -> None:
        self.tally.reading = reading
        data = json.dumps(asdict(self.tally)).encode()
        os.ftruncate(self._keep, os.pwrite(self._keep, data, 0))


def main(argv: list[str]) -> int:
    name, seed, count, folder = argv
    bench = Bench(FORMATS[name](), Path(folder))
    log = os.open(Path(folder) / "stderr", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 2)
    limit_process()
    run = hypothesis.given(bench.format.cases)(bench.try_case)
    hypothesis.seed(seed)(hypothesis.settings(SETTINGS, max_examples=int(count))(run))()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
