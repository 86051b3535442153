"""The rows of other libraries: their programs on the same problem, with checked losses.

Each is a script of ``hpcpgd/study/libraries`` that does not import hpcpgd, run by a Python that
has the libraries.  It gets the same rows in the same order, the same initial weights and the
same rate, and ends with an error unless its losses are those of our own run.
"""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path

import numpy as np

from hpcpgd.environment.programs import run_program
from hpcpgd.environment.provenance import cpu_model
from hpcpgd.errors import DataError
from hpcpgd.study.grid import Point, digest, network_name
from hpcpgd.study.launchers import Launcher
from hpcpgd.study.paper.paper_table import LIBRARIES, PaperRow
from hpcpgd.study.paper.problem import Problems
from hpcpgd.study.rows import PointColumns, Row
from hpcpgd.study.study_folder import Failure

PROBE_SECONDS = 120.0
NO_DEVICE, NOT_INSTALLED = "no device", "not installed"


def programs() -> Path:
    """Return the folder of the programs and their requirements."""
    return Path(str(resources.files("hpcpgd.study.libraries")))


def device(row: PaperRow) -> str:
    """Return the device as the option of the programs names it."""
    return "gpu" if row.on_gpu else "cpu"


def probe(row: PaperRow, python: str) -> Failure | None:
    """Return None if the library's program can run here, else what is missing."""
    said = _versions(row, python, "cpu")
    if said:
        return Failure(NOT_INSTALLED, 0, said)
    said = _versions(row, python, device(row)) if row.on_gpu else ""
    return Failure(NO_DEVICE, 0, said) if said else None


def _versions(row: PaperRow, python: str, where: str) -> str:
    """Ask a program for its versions; return "" if it prints them, else its error."""
    command = [python, str(programs() / LIBRARIES[row.backend]), "--versions", "--device", where]
    try:
        done = run_program(command, PROBE_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{python}: {error}"
    if done.returncode == 0 and done.stdout.strip():
        return ""
    return (done.stderr.strip().splitlines() or [f"{python}: exit code {done.returncode}"])[-1]


@dataclass(frozen=True)
class LibraryTask:
    """One process of a library: a network and its rows, its batch sizes one after the other.

    Attributes
    ----------
    python : str
        The interpreter that has the libraries.
    points : tuple of Point
        Our own runs of the same, one for each batch size.
    """

    row: PaperRow
    python: str
    threads: int
    points: tuple[Point, ...]
    problems: Problems

    suffix = ".json"
    ranks = 0

    @property
    def key(self) -> str:
        """A file name: the main options, and a hash of all points."""
        network = network_name(self.points[0].config.hidden)
        name = f"{self.row.backend}-{device(self.row)}-{network}-t{self.threads}"
        return f"{name}-{digest([point.key for point in self.points])}"

    def command(self, launcher: Launcher, output: Path) -> list[str]:
        """Write the problem and return the command; a library needs no launcher.

        Raises
        ------
        DataError
            If the runs whose losses are expected have not ended well.
        """
        config = self.points[0].config
        expected = self.problems.expect(self.key, self.points)
        return [
            self.python, str(programs() / LIBRARIES[self.row.backend]),
            str(self.problems.write(config)), str(expected), str(output),
            "--rate", str(config.learning_rate), "--epochs", str(config.epochs),
            "--threads", str(self.threads), "--device", device(self.row),
            "--cpu-model", cpu_model(),
        ]  # fmt: skip


def read_library_row(path: Path, row: PaperRow, own: Row, repeat: int) -> Row:
    """Return the row of one batch size; ``own`` is our run's, of the same problem.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    try:
        content = path.read_bytes()
        result = json.loads(content)
        seconds = [float(t) for t in result["epoch_seconds"][str(own.batch_size)]]
        if not seconds or not all(0 < t < math.inf for t in seconds):
            raise ValueError(f"epoch_seconds {seconds}")
        threads, where, software = int(result["threads"]), result["device"], result["software"]
        host, cpu = (str(result[name]).replace("\0", " ") for name in ("hostname", "cpu_model"))
        tpe = float(np.median(seconds))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise DataError(f"{path}: no result of a library: {error}") from None
    steps = -(-own.rows // own.batch_size)
    columns = {field.name: getattr(own, field.name) for field in fields(PointColumns)}
    columns |= {
        "machine": cpu, "paper_row": row.name, "backend": row.backend, "reduction": "none",
        "dtype": "float32", "precision": "float32", "ranks": 1, "threads": threads, "nodes": 1,
        "group_size": 0,
    }  # fmt: skip
    return Row(
        **columns,
        given=own.given,
        repeat=repeat,
        epochs=len(seconds),
        steps=steps * len(seconds),
        tpe_seconds=tpe,
        gflop_per_epoch=own.gflop_per_epoch,
        gflops=own.gflop_per_epoch / tpe,
        hostname=host,
        cpu_model=cpu,
        gpu_model=str(where) if row.on_gpu else "none",
        software=str(software).replace("\0", " "),
        dataset_sha256=own.dataset_sha256,
        run_file_sha256=hashlib.sha256(content).hexdigest(),
    )
