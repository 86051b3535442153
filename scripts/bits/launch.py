"""Jobs under ``mpiexec`` with a time limit and a known core type of OpenBLAS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hpcpgd.cli.launcher import RANK_VARIABLES, SIZE_VARIABLES
from hpcpgd.errors import UnavailableError
from hpcpgd.study.launchers import mpiexec_here
from scripts.bench.launcher import UNWANTED
from scripts.bits.cases import DEFAULT, Run

ROOT = Path(__file__).resolve().parents[2]
STARTING = 180.0  # seconds that a job may take to start, with compilation
OF_A_RUN = 1.0  # seconds per run and rank, as there may be many more ranks than cores


def environment(core_type: str) -> dict[str, str]:
    """Return this environment without a launcher's variables, with ``core_type`` unless default."""
    left_out = {*UNWANTED, *RANK_VARIABLES, *SIZE_VARIABLES}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept if core_type == DEFAULT else {**kept, "OPENBLAS_CORETYPE": core_type}


def execute(runs: Sequence[Run], folder: Path, epochs: int) -> tuple[list[Path], str]:
    """Train ``runs``, which have the same ranks and core type, in one job.

    Returns
    -------
    outputs : list of Path
        The paths of the run files.
    failure : str
        Why the files may be missing, "" if the job has succeeded.
    """
    outputs = [folder / f"{number}.h5" for number in range(len(runs))]
    lines = [run.words(path, epochs) for run, path in zip(runs, outputs, strict=True)]
    if runs[0].program:
        words = ["-m", "hpcpgd.train", *lines[0]]
    else:
        plan = folder / "plan.json"
        plan.write_text(json.dumps(lines), encoding="utf-8")
        words = ["-m", "scripts.check_bits", "--ranks-part", str(plan)]
    ranks = runs[0].ranks
    failure = _mpiexec(ranks, words, runs[0].core_type, STARTING + OF_A_RUN * ranks * len(runs))
    return outputs, failure


def _mpiexec(ranks: int, words: list[str], core_type: str, limit: float) -> str:
    """Run Python on ``ranks`` ranks and return what went wrong, "" if nothing did."""
    mpiexec = mpiexec_here()
    if mpiexec is None:
        raise UnavailableError("no mpiexec beside this Python or on the path")
    process = subprocess.Popen(
        [mpiexec, "-n", str(ranks), sys.executable, *words],
        env=environment(core_type), cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        _, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"no end after {limit:.0f} s"
    lines = errors.strip().splitlines() or [""]
    return f"exit code {process.returncode}: {lines[0]}" if process.returncode else ""
