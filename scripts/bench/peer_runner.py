"""A peer program as the runner of a contestant."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcpgd.kernels.core.network import Array
from scripts.bench.contestants import GAIN
from scripts.bench.peer_files import problem_key, read_weights, write_problem
from scripts.bench.peer_process import PeerProcess
from scripts.bench.setting import RATE, Setting
from scripts.bench.work import Spent


class PeerRunner:
    """A runner whose steps are made by a peer program.

    Parameters
    ----------
    folder : Path
        Folder for files that the program and this rank exchange.
    """

    def __init__(self, process: PeerProcess, folder: Path, setting: Setting) -> None:
        self._process = process
        self._setting = setting
        self._key = problem_key(setting)
        self._weights = folder / f"weights-{setting.comm.rank}.npz"
        path = folder / f"{self._key}.npz"
        if not path.exists():
            write_problem(path, setting)
        # Not `ask`: DDP's two processes wait for each other here, and this may be the first.
        process.post(op="load", problem=self._key, path=str(path), rate=RATE)

    def run(self, steps: int) -> Spent:
        """Make steps; the program itself measures the time."""
        answer = self._process.ask(op="run", problem=self._key, steps=steps)
        return Spent(answer["seconds"], answer["cpu"])

    def gradient(self) -> Array:
        """Compute the gradient from the change of the weights in a step like those timed."""
        rate = GAIN * self._setting.batch
        self._process.ask(op="first_step", problem=self._key, path=str(self._weights), rate=rate)
        after = read_weights(self._weights, self._setting.network)
        self._weights.unlink()
        return np.asarray((self._setting.parameters().astype(np.float64) - after) / GAIN)
