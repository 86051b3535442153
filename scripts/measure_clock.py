"""Check the times in run files against runs that are timed from outside.

(seconds of a run of 10 epochs - seconds of a run of 2) / 8 is the time of an epoch from outside;
the run file has ``epoch_seconds + validation_seconds``.  Pairs of runs are repeated, and
the medians must agree within 5 %.  The exit code is 1 if they do not.

    python -m scripts.measure_clock [--quick]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import h5py
import numpy as np

LONG, SHORT = 10, 2
TOLERANCE = 0.05
BENCH_UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def timed_run(ranks: int, dataset: str, epochs: int, file: Path) -> float:
    """Return the seconds of one run, including the start and end of processes."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    environment = {k: v for k, v in os.environ.items() if k not in BENCH_UNSET}
    command = [
        str(mpiexec if mpiexec.exists() else "mpiexec"), "-n", str(ranks),
        sys.executable, "-m", "hpcpgd.train", "--dataset", dataset, "--network", "net-1h",
        "--batch-size", "128", "--learning-rate", "0.1", "--epochs", str(epochs),
        "--output", str(file), "--overwrite", "--quiet",
    ]  # fmt: skip
    start = perf_counter()
    subprocess.run(command, check=True, env=environment, timeout=600)
    return perf_counter() - start


def recorded(file: Path) -> float:
    """Return the mean seconds of the epochs that only the long run has."""
    with h5py.File(file) as f:
        history = f["history"]
        seconds = history["epoch_seconds"][...] + history["validation_seconds"][...]
    return float(np.mean(seconds[SHORT:]))


def compare(ranks: int, dataset: str, repeats: int) -> float:
    """Print both times of an epoch and return their ratio, run file over outside."""
    outside, inside = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.h5"
        for _ in range(repeats):
            short = timed_run(ranks, dataset, SHORT, file)
            long = timed_run(ranks, dataset, LONG, file)
            outside.append((long - short) / (LONG - SHORT))
            inside.append(recorded(file))
    ratio = float(np.median(inside) / np.median(outside))
    print(
        f"{ranks} ranks, {dataset}: outside {np.median(outside):.4f} s an epoch "
        f"({min(outside):.4f} to {max(outside):.4f}), run file {np.median(inside):.4f} s "
        f"({min(inside):.4f} to {max(inside):.4f}), ratio {ratio:.4f}, {repeats} pairs",
        flush=True,
    )
    return ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small data, one pair, no verdict")
    quick = parser.parse_args().quick
    dataset = "synthetic:600x784x10" if quick else "synthetic:60000x784x10"
    ratios = [compare(ranks, dataset, 1 if quick else 5) for ranks in (1, 2)]
    return int(not quick and any(abs(ratio - 1) > TOLERANCE for ratio in ratios))


if __name__ == "__main__":
    sys.exit(main())
