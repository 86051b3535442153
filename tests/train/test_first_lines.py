"""The first lines of a run, and its warnings about the machine: lines of whole jobs."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import h5py
import pytest

from hpcpgd.kernels.core.kernel_files import DISK
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel import mpi
from hpcpgd.results.history import Epoch
from hpcpgd.train import progress
from hpcpgd.train.progress import Progress, is_due, line
from hpcpgd.train.recording import cautions, compiling
from tests.helpers.many import Case, together

WORDS = ("train", "--backend", "reference", "--epochs", "1", "--output", "r.h5", "--overwrite")
KEPT = "compiling kernels, kept for later runs: about 1 s on an idle core"
WAIT = f"{KEPT}; rank 0 compiles, all others wait"
NOTICE = "others used the machine"
BUSY = f"""
from hpcpgd.machine import other_load
other_load.OtherLoad.measure = lambda self: (1.25, "{NOTICE}")
"""


def test_what_is_said_before_and_after_kernels_are_compiled(tmp_path: Path) -> None:
    """On an empty cache; of the second run in the same processes everything is compiled."""
    first = Case((*WORDS, "--resume", "never"), str(tmp_path), 2, setup=BUSY)
    done = together({"cold": first, "warm": first}, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert [(one.code, one.err) for one in done.values()] == [(0, "")] * 2
    lines = done["cold"].out.splitlines()
    starts = ["hpcpgd 0", "ranks 2 x", WAIT, "BLAS ", "epoch 1/1", NOTICE, "loss ", "run file"]
    places = [[line.startswith(start) for line in lines].index(True) for start in starts]
    assert places == sorted(places)
    assert "; kernels ready in " in lines[places[3]]
    assert "compiling" not in done["warm"].out
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["segments/others_used"][...].tolist() == [1.25]


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DISK, "unkept", "cache: Read-only file system")
    ranks = cast(mpi.Ranks, SimpleNamespace(nodes=1, size=1))
    assert compiling("reference", ranks) == KEPT.replace(", kept for later runs", "")


def test_ranks_that_cannot_pay_are_told_why() -> None:
    def told(ranks: int, flops: float, threads: int = 1, oversubscribed: bool = False) -> list[str]:
        return cautions("gemm", ranks, Resources(threads, oversubscribed, None), flops)

    # 150 GFLOP/s a core: 2 us, and 1 us on two threads.
    (small,) = told(32, 300e3)
    assert small.startswith("too small to profit from 32 ranks: a rank's slice of a minibatch ")
    assert "takes about 2 us" in small
    assert "takes about 1 us" in told(32, 300e3, threads=2)[0]
    assert told(32, 3e6) == []  # 20 us
    assert told(1, 300e3) == []
    (ranks,), (threads,) = told(2, 3e6, 1, True), told(1, 3e6, 2, True)
    assert ranks.startswith("there are more ranks than cores: ")
    assert threads.startswith("there are more threads than cores: ")


def lines(epochs: int, every: int | str = "auto", begun: int = 0) -> list[int]:
    return [n for n in range(begun + 1, epochs + 1) if is_due(n, begun, epochs, every)]


@pytest.mark.parametrize("epochs", [1, 30, 50, 51, 100, 999, 1000, 12345, 100_000])
def test_a_long_log_thins_out(epochs: int) -> None:
    shown = lines(epochs)
    assert len(shown) <= 56
    assert len(shown) >= min(epochs, 20)
    assert shown[:5] == list(range(1, 6))[:epochs]
    assert shown[-1] == epochs


def test_the_log_has_the_epochs_that_are_asked_for() -> None:
    assert lines(50) == list(range(1, 51))
    assert lines(10, 4) == [4, 8, 10]
    assert lines(3, 1) == [1, 2, 3]
    assert lines(1000, begun=973) == [974, 975, 976, 977, 978, 980, 1000]


def epoch(accuracy: float, seconds: float) -> Epoch:
    return Epoch(0.5, accuracy, 0.5, accuracy, seconds, 0.0, 12.34, 1.0, 0.1, 10)


def test_the_time_left_counts_the_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine epochs of a minute are left, though the bar is made when the first has ended."""
    screen = io.StringIO()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    bar = Progress(silent=False, epochs=10, every="auto")
    bar.epoch(1, epoch(0.5, 60.0))
    assert "1/10 [01:00<09:00, " in screen.getvalue()
    assert "0/10" not in screen.getvalue()
    bar.close()


def test_the_lines_of_epochs_are_aligned() -> None:
    one, other = line(epoch(0.08, 0.01)), line(epoch(0.9123, 12.34))
    assert len(one) == len(other)
    assert one.index("validation") == other.index("validation")
