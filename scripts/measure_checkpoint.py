"""Compare the cost of a checkpoint with a bare write and fsync of the same bytes.

    python -m scripts.measure_checkpoint [--rounds 25] [--folder DIR]

The two alternate, for Net-1h and Net-2h in float32.  Prints medians of the times, and median and
quartiles of the ratios of pairs.  A checkpoint is encoded, hashed, written under a temporary name,
synced and renamed, and its folder is synced.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from hpcpgd.checkpoint.checkpoint_folder import Folder
from hpcpgd.checkpoint.codec import encode
from hpcpgd.checkpoint.state import State
from hpcpgd.cli.launcher import guarded
from hpcpgd.kernels.core.network import Network
from hpcpgd.results.history import History

NETWORKS = {"net-1h": (784, 1024, 10), "net-2h": (784, 1024, 1024, 10)}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--folder", type=Path, default=Path())
    options = parser.parse_args(argv)

    def check() -> int:
        for name, widths in NETWORKS.items():
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                print(f"{name}: {_compare(Path(folder), _state(widths), options.rounds)}")
        return 0

    return guarded("measure_checkpoint", check)


def _state(widths: tuple[int, ...]) -> State:
    network = Network(widths, "float32")
    parameters = np.random.default_rng(0).random(network.size).astype(np.float32)
    return State(
        run="cafe", run_file="r.h5", config={}, dataset_sha256="", facts={}, network=network,
        steps=1, elapsed=0.0, totals=np.zeros((1, 8)), parameters=parameters,
        states=np.zeros((0, network.size)), history=History(), segments=[],
    )  # fmt: skip


def _compare(folder: Path, state: State, rounds: int) -> str:
    """Return the times of both, and their ratio."""
    checkpoints, data = Folder(folder / "c"), bytes(encode(state))
    times: list[tuple[float, float]] = []
    for number in range(1 + rounds):
        state.steps = number + 1
        bare = _time(lambda: _bare(folder / f"b{state.steps}", data))  # also a new file
        times.append((bare, _time(lambda: checkpoints.save(state))))
    plain, whole = np.array(times[1:]).T  # the first warms up
    low, middle, high = np.quantile(whole / plain, (0.25, 0.5, 0.75))
    return (
        f"{len(data) / 2**20:.1f} MiB, bare {np.median(plain) * 1e3:.1f} ms, checkpoint "
        f"{np.median(whole) * 1e3:.1f} ms, ratio {middle:.2f} ({low:.2f} to {high:.2f})"
    )


def _time(act: Callable[[], object]) -> float:
    begin = perf_counter()
    act()
    return perf_counter() - begin


def _bare(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
