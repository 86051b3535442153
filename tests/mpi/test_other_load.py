"""Work of others on the cores of a run, from counts that are written here by hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hpcpgd.machine import other_load
from hpcpgd.machine.cores import affinity
from hpcpgd.machine.other_load import OtherLoad, busy_seconds
from hpcpgd.parallel import mpi

pytestmark = pytest.mark.mpi
CORES, NAN = affinity(), float("nan")


def stat(path: Path, *seconds: float) -> Path:
    """Write a file as ``/proc/stat``: user nice system idle iowait irq softirq steal guest."""
    ticks = " ".join(str(int(os.sysconf("SC_CLK_TCK") * s)) for s in seconds)
    path.write_text(
        "".join(["cpu 9\n", *(f"cpu{core} {ticks} 0\n" for core in CORES), "btime 4\n"])
    )
    return path


@pytest.mark.parametrize(
    ("theirs", "stolen", "ours", "seconds", "share"),
    [
        (3, 0.5, 0.5, 10, 0.3),
        (0.9, 0.5, 0.5, 10, 0.0),
        (0.04, 0.5, 0.5, 0.1, NAN),
        (3, 0.5, 0.5, 0, NAN),
        (0, 3, 3, 10, 0.3),
    ],
)
def test_what_is_not_ours_is_that_of_others(
    comm: Any, theirs: float, stolen: float, ours: float, seconds: float, share: float,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Idle time is no work, and that of guests counts once; last, our time includes stolen time."""
    mine, times = len(CORES) * ours / comm.size, [7.0, 7.0 + (seconds or 10)]
    monkeypatch.setattr(other_load, "own_seconds", iter([1.0, 1.0 + mine]).__next__)
    monkeypatch.setattr(other_load, "perf_counter", iter(times).__next__)
    ranks = mpi.join(comm)
    path = stat(tmp_path / "stat", 1, 2, 4, 100, 200, 8, 16, 32, 400)
    assert busy_seconds(CORES, path) == 63 * len(CORES)
    load = OtherLoad(ranks, path)
    stat(path, 1 + theirs, 2, 4, 170, 230, 8, 16, 32 + stolen, 400)
    if not seconds:
        path.unlink()  # as on another system
    used, told = load.measure()
    mpi.leave(ranks)
    assert used == pytest.approx(share * len(CORES), nan_ok=True)
    text = f"others used {3 * len(CORES) / 10:.1f} of {len(CORES)} cores"
    assert told.startswith(text) if share > 0 else told == ""
