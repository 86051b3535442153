"""Limits of a process's memory: what is refused, and the message if memory runs out."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from hpcpgd.data import guard
from hpcpgd.environment import memory_limits
from hpcpgd.errors import DataError
from tests.helpers.support import TRAIN, Done, run

MIB = 2**20


def limited(limit: str, *words: str, folder: Path) -> Done:
    """Run Python under a limit of the shell's."""
    shell = ["sh", "-c", f'ulimit {limit}; exec "$@"', "sh", sys.executable, *words]
    return run(shell, 120, cwd=folder)


def small(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    tight = memory_limits.Limit("-v", 1000 * MIB, 1000 * MIB - free)
    monkeypatch.setattr(
        memory_limits, "limits", lambda: [memory_limits.Limit("-d", 10**12, 0), tight]
    )


def test_data_larger_than_what_a_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 20 * MIB)
    guard.ensure_fits(20 * MIB, "x.npz")
    needs = r"^x\.npz: needs 21 MiB of memory, 980 MiB of 1000 MiB are taken \(ulimit -v\)\Z"
    with pytest.raises(DataError, match=needs):
        guard.ensure_fits(21 * MIB, "x.npz")


def test_what_the_process_has_taken_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limits, "physical_memory", lambda: 3 * 2**30)
    monkeypatch.setattr(memory_limits, "taken", lambda: 2**30)
    guard.ensure_fits(2 * 2**30, "x.npz")
    with pytest.raises(DataError, match=r"has 3\.0 GiB for this job, 1\.0 GiB are taken"):
        guard.ensure_fits(2 * 2**30 + 1, "x.npz")


def test_a_copy_that_does_not_fit_is_refused_before_it_is_made(tmp_path: Path) -> None:
    """Memory of a group that is too small is never refused, but ends the process."""
    code = (
        "import sys; import numpy as np; from hpcpgd.environment import memory_limits;"
        "from hpcpgd.train import cli;"
        "rows = 2**16;"
        "np.savez('x.npz', x_train=np.ones((rows, 256)), y_train=np.arange(rows) % 2);"
        "there = memory_limits.taken() + 2**28 - 2**20;"
        "memory_limits.physical_memory = lambda: there;"
        "sys.exit(cli.main(['--dataset', 'x.npz', '--output', 'r.h5']))"
    )
    done = run([sys.executable, "-c", code], 60, cwd=tmp_path)
    done.one_line(65, "x.npz, divided into sets: needs 0.1 GiB of memory")


def test_without_a_limit_there_is_none() -> None:
    code = "from hpcpgd.environment import memory_limits; print(memory_limits.tightest())"
    done = run([sys.executable, "-c", code], 60)
    assert done.out == "None\n"


def test_what_a_limit_leaves_is_what_the_process_has_not_yet_taken(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from hpcpgd.environment.memory_limits import tightest;"
        "before = tightest(); kept = np.ones(2**25); after = tightest();"
        "print(before.option, before.nbytes, (before.free - after.free) // 2**20)"
    )
    for option in ("-v", "-d"):
        done = limited(f"{option} 1000000", "-c", code, folder=tmp_path)
        assert done.out == f"{option} {1000000 * 1024} 256\n", done.err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "MemoryError: Unable to allocate 9 GiB"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory"),
        (ImportError("libx.so: failed to map segment from shared object"), "libx.so"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "Too many open files"),
    ],
)
def test_what_comes_of_too_little_memory(error: Exception, says: str) -> None:
    later = ValueError("closed")
    later.__context__ = error
    for seen in (error, later):
        short = memory_limits.shortage(seen)
        assert short is not None
        assert (short.exit_code, says in str(short)) == (69, True)


def test_an_error_of_another_kind_is_none_of_memory() -> None:
    assert memory_limits.shortage(ValueError("shapes differ")) is None
    assert memory_limits.shortage(OSError(errno.ENOENT, "No such file")) is None
    seen_to = ValueError("another thing")
    seen_to.__context__, seen_to.__suppress_context__ = MemoryError(), True  # raised from None
    assert memory_limits.shortage(seen_to) is None


def test_a_memory_error_without_words_names_who_wanted_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> int:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(memory_limits, "physical_memory", fail)
        with pytest.raises(MemoryError) as caught:
            guard.ensure_fits(1, "x")
    assert "ensure_fits (guard.py) wanted more" in str(memory_limits.shortage(caught.value))


@pytest.mark.parametrize("limit", ["-v 400000", "-v 250000", "-d 150000"])
def test_a_limit_that_leaves_no_room_for_any_run(limit: str, tmp_path: Path) -> None:
    done = limited(limit, *TRAIN, folder=tmp_path)
    done.one_line(69, out="")
    option = limit.split()[0]
    assert done.err.startswith(f"hpcpgd train: error: ulimit {option} allows ")
    assert done.err.endswith(f": ulimit {option} unlimited\n")
    assert [*tmp_path.iterdir()] == []


def test_the_doctor_tells_of_a_limit_before_mpi_starts(tmp_path: Path) -> None:
    done = limited("-v 400000", "-m", "hpcpgd.doctor", folder=tmp_path)
    assert (done.code, done.err) == (69, "")
    assert done.out.splitlines()[1].startswith("problem  limits: ulimit -v allows 391 MiB")
    assert done.out.endswith("exit code 69\n")


SMALL = ("--train-rows", "1000", "--max-steps", "1", "--quiet", "--output", "r.h5")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--dataset", "synthetic:900000x784x10"), 65, "needs 690 MiB of memory, "),
        (("--hidden", "9000,9000"), 69, "network: a rank needs "),
        (("--hidden", "5500,5500"), 69, "hpcpgd train: error: "),
    ],
)
def test_what_a_limit_is_too_small_for(
    words: tuple[str, ...], code: int, says: str, tmp_path: Path
) -> None:
    """The last run may pass the checks at its start, and then run out of memory."""
    done = limited("-v 1000000", *TRAIN, *SMALL, *words, folder=tmp_path)
    done.one_line(code, says, "are taken (ulimit -v)", out="")
