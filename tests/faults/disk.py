"""A disk that fails as a checkpoint or a run file is written.

Each system call of both fails in each way that it may (``failing_calls.c``, preloaded), on 1
or 3 ranks; a file outgrows a limit; a small tmpfs is full.  Earlier files are unchanged, no
temporary file is left, all ranks exit with 74, and the run goes on to the same bits.  A call
that fails after the renaming leaves the complete new file.  The exit code is 74 because the
file might be lost in a power cut.  A run does not end if an old checkpoint cannot be listed
or removed, or if a folder that exists cannot be made.
"""

from __future__ import annotations

import errno
import hashlib
import random
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py

from hpcpgd.checkpoint.checkpoint_folder import Folder, load
from hpcpgd.errors import DataError, OutputError
from tests.faults.jobs import WORDS, Ended, Fault, finish, go_on, start, wrong_end
from tests.faults.kind import Kind, Trial, Undisturbed
from tests.faults.victim import BYTES

SOURCE = Path(__file__).with_name("failing_calls.c")
SHORT = 0  # a write that is cut short, and a full disk from then on
BOTH = (errno.ENOSPC, errno.EIO)
FAILURES = {
    "open": BOTH, "mkdir": BOTH, "write": (*BOTH, SHORT), "fsync": BOTH, "close": BOTH,
    "rename": BOTH, "open folder": (errno.EIO,), "fsync folder": BOTH,
    "close folder": (errno.EIO,), "unlink": (errno.EIO,), "list folder": (errno.EIO,),
}  # fmt: skip
HARMLESS = ("unlink", "list folder")
RENAMED = ("rename", "open folder", "fsync folder", "close folder", "unlink")
RUN_FILE = ("open", "write", "fsync", "close", *RENAMED)
CHECKPOINT = (
    "mkdir", "open", "write", "write", "fsync", "close", *RENAMED, "list folder",
)  # fmt: skip
# The lock, two looks for what killed writers left, and one for checkpoints to go on from.
START = ("mkdir", "open", "write", "list folder", "list folder", "list folder")
END = ("unlink", "close")  # of the lock
PAUSE = (*CHECKPOINT, *RUN_FILE)
LAST_PAUSE = (*CHECKPOINT, "unlink", *RUN_FILE)  # the first in which one is too many
# Of 16 steps with a pause after every fourth: beginning, pauses, end.
CALLS = (*START, *RUN_FILE, *PAUSE, *PAUSE, *PAUSE, *LAST_PAUSE, *RUN_FILE, *END)
FIRST = len(START) + len(RUN_FILE) + len(PAUSE)
ALIKE = range(FIRST, FIRST + 2 * len(PAUSE))  # to the first pause
LOOK = len(START)  # for checkpoints
WORD = START.index("write") + 1  # whose the lock is
LOCK = ".hpcpgd.lock"
JOB = ("--checkpoint-every", "4", "--max-steps", "16")
ALL = ("--max-steps", "24")
LIMIT, TMPFS = "a limit on files", "a small disk"
LIMITS, DISKS = 20, 20  # trials
MOUNT = """
size=$1 disk=$2 kept=$3
shift 3
mount -t tmpfs -o size="$size" none "$disk" || exit 99
"$@"
code=$?
cp -a "$disk/." "$kept"
exit $code
"""
COUNTS = {"calls": 0, "limits": 0, "small disks": 0, "ended with 74": 0}


@dataclass(frozen=True)
class Failure:
    """A system call, from 1, that fails; or another cause, without a number."""

    cause: str
    number: int
    error: int
    ranks: int

    @property
    def harmless(self) -> bool:
        """Whether the run goes on: the folder is there already, or an old file stays."""
        again = self.cause == "mkdir" and self.number > len(START)
        word = self.number == WORD and self.error != SHORT
        of_lock = word or self.number > len(CALLS) - len(END)
        return again or of_lock or (self.cause in HARMLESS and self.number != LOOK)

    @property
    def code(self) -> int:
        """Exit code of the job."""
        refused = DataError if self.number == LOOK else OutputError
        return 0 if self.harmless else refused.exit_code


def _failures() -> list[Failure]:
    """Return all failures, on 1 and 3 ranks in turn, mixed, so that a few are of many kinds."""
    every = [
        (name, number, error)
        for number, name in enumerate(CALLS, 1)
        if number - 1 not in ALIKE
        for error in FAILURES[name]
    ]
    every += [(LIMIT, 0, 0)] * LIMITS + [(TMPFS, 0, 0)] * DISKS
    found = [Failure(*facts, 1 + 2 * (n % 2)) for n, facts in enumerate(every)]
    random.Random(0).shuffle(found)
    return found


EVERY = _failures()


def disk_trial(trial: Trial) -> str:
    """Let a disk fail; return what is wrong, "" if nothing is."""
    failure, there = EVERY[trial.number % len(EVERY)], trial.folder / "run"
    there.mkdir()
    library = _library(trial.folder.parent)
    if (failure.number and library is None) or (failure.cause == TMPFS and not _may_mount()):
        failure = Failure(LIMIT, 0, 0, failure.ranks)  # what can be had everywhere
    problem = ""
    if failure.number and library is not None:
        name, ended = _failing_call(trial, failure, library)
        problem = _as_it_was(trial, failure)
    else:
        name, ended = (_limited if failure.cause == LIMIT else _small_disk)(trial, failure.ranks)
    problem = problem or _wrong(there, failure, ended) or _goes_on(trial, 4 - failure.ranks)
    return problem and f"{name}, {failure.ranks} ranks: {problem}"


def _failing_call(trial: Trial, failure: Failure, library: Path) -> tuple[str, Ended]:
    """Let one system call fail."""
    COUNTS["calls"] += 1
    there, notes = trial.folder / "run", trial.folder / "calls"
    facts = {
        "LD_PRELOAD": library, "FAULT_FOLDER": there, "FAULT_BEFORE": trial.folder / "before",
        "FAULT_LOG": notes, "FAULT_CALL": failure.number, "FAULT_ERRNO": failure.error,
    }  # fmt: skip
    words = [*WORDS, *JOB, "--output", str(there / "r.h5")]
    texts = {name: str(value) for name, value in facts.items()}
    name = f"call {failure.number}, {failure.cause}, fails with {failure.error}"
    return name, finish(start(words, failure.ranks, None, **texts))


def _limited(trial: Trial, ranks: int) -> tuple[str, Ended]:
    """Let no file grow beyond a limit, smaller than all files, from some write on."""
    COUNTS["limits"] += 1
    nbytes, file = trial.draw.randrange(20_000), trial.draw.randint(1, 14)
    words = [*WORDS, *JOB, "--output", str(trial.folder / "run" / "r.h5")]
    fault = Fault(0, "file", file, "limit")
    name = f"files of {nbytes} bytes from write {file} on"
    return name, finish(start(words, ranks, fault, **{BYTES: str(nbytes)}))


def _small_disk(trial: Trial, ranks: int) -> tuple[str, Ended]:
    """Run on a tmpfs, which nobody else sees, and keep what is on it at the end."""
    COUNTS["small disks"] += 1
    disk, there, kib = trial.folder / "disk", trial.folder / "run", trial.draw.randrange(4, 200, 4)
    disk.mkdir()
    wrapper = ("unshare", "-m", "sh", "-c", MOUNT, "sh", f"{kib}k", str(disk), str(there))
    words = [*WORDS, *JOB, "--output", str(disk / "r.h5")]
    return f"a disk of {kib} KiB", finish(start(words, ranks, None, *wrapper))


def _as_it_was(trial: Trial, failure: Failure) -> str:
    """Say what differs from the copy made just before the call failed, "" if nothing does."""
    made = (trial.folder / "calls").read_text().splitlines()
    if tuple(made[: failure.number]) != CALLS[: failure.number]:
        return f"other calls than expected: {made}"
    if failure.harmless:
        return ""
    before, after = _hashes(trial.folder / "before"), _hashes(trial.folder / "run")
    return "" if before == after else f"there was {sorted(before)}, there is {sorted(after)}"


def _hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of all files but temporary ones."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.h5")
    }


def _wrong(there: Path, failure: Failure, ended: Ended) -> str:
    """Say what is wrong with how the job ended and what it left, "" if nothing is."""
    # A small disk may be large enough.
    codes = {failure.code} | ({0} if failure.cause == TMPFS else set())
    if ended.code not in codes or ended.error.count("\n") != (ended.code != 0):
        return f"exit code {ended.code}: {ended.error[-300:]}"
    COUNTS["ended with 74"] += ended.code == OutputError.exit_code
    may_stay = {LOCK} if failure.cause == "unlink" else set()
    left = {path.name for path in there.rglob(".*")} - may_stay
    if left:
        return f"left {left}"
    try:
        checkpoints = [load(path) for path in Folder(there / "r.checkpoints").newest_first()]
        for path in there.glob("r.h5"):
            h5py.File(path).close()
    except (DataError, OSError) as error:
        return f"not readable: {error}"
    return "" if len(checkpoints) <= 4 else f"{len(checkpoints)} checkpoints"


def _goes_on(trial: Trial, ranks: int) -> str:
    output = trial.folder / "run" / "r.h5"
    whole = _whole(trial.folder.parent)
    return wrong_end(output, whole.told, go_on(output, ranks, *ALL))


@cache
def _whole(folder: Path) -> Undisturbed:
    return Undisturbed(folder, *ALL)


@cache
def _library(folder: Path) -> Path | None:
    """Return the compiled ``failing_calls.c``, None without a C compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    library = folder / "failing_calls.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return library


@cache
def _may_mount() -> bool:
    """Return whether this user may mount a tmpfs that others do not see."""
    mount = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    return (
        bool(shutil.which("unshare")) and subprocess.run(mount, capture_output=True).returncode == 0
    )


DISK = Kind(len(EVERY), 2, disk_trial, COUNTS)
