"""Comparison of several ranks on the GPUs of this machine with one rank."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.cli.launcher import without_launcher
from hpcpgd.config.reduction_table import REDUCTIONS as SUPPORTED
from hpcpgd.machine.gpu import claim_gpu
from hpcpgd.parallel import mpi
from hpcpgd.study.launchers import mpiexec_here
from scripts.gpu.curves import make, trained
from scripts.gpu.kernels import Finding

RANKS = (2, 4)
BOUND = 1e-5  # of weights of size 1, after 3 epochs in float32
SECONDS = 300.0
REDUCTIONS = ("allreduce", "overlap")
WAYS = (("cuda", "float32", "float32"), ("cuda-loops", "float32", "float32"))


def part(ranks: mpi.Ranks, path: Path) -> None:
    """Train on all ranks; rank 0 writes the weights to ``path``.  Collective."""
    weights: dict[str, Any] = {}
    gpu = claim_gpu(ranks, "cuda")
    for way in WAYS:
        for reduction in REDUCTIONS:
            if way[0] in SUPPORTED[reduction].backends:
                made = make(ranks.comm, "digits", way, gpu, reduction)
                weights[f"{way[0]} {reduction}"] = trained(made)
    if ranks.rank == 0:
        np.savez(path, transport=np.array(gpu.transport), **weights)


def check_ranks(alone: dict[str, Any]) -> Iterator[Finding]:
    """Compare the weights of several ranks with those of one rank, ``alone``, by backend."""
    mpiexec = mpiexec_here()
    for count in RANKS if mpiexec else ():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.npz"
            # The command that started this process, by whichever module, with other arguments.
            program = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv[1:])]
            command = [str(mpiexec), "-n", str(count), *program, "--ranks-part", str(path)]
            problem = _run(command)
            if problem:
                yield Finding(f"{count} ranks: {problem}", np.inf, BOUND)
                continue
            with np.load(path) as weights:
                transport = weights["transport"]
                for name in weights.files:
                    if name != "transport":
                        error = float(np.max(np.abs(weights[name] - alone[name.split()[0]])))
                        what = f"{name} float32 weights of {count} ranks ({transport})"
                        yield Finding(what, error, BOUND)


def _run(command: list[str]) -> str:
    """Run a job; return what went wrong, "" if nothing did."""
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    env = {**without_launcher(os.environ), **allowed}
    try:
        code = subprocess.run(command, env=env, timeout=SECONDS, check=False).returncode
    except subprocess.TimeoutExpired:
        return f"no end after {SECONDS:g} s"
    return f"exit code {code}" if code else ""
