"""Scripts for sbatch: pure functions from a study and a site to text.

Texts of the user stand in shell quotes below the first command, where sbatch reads no more
options.  The #SBATCH lines hold only checked words and numbers.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.checkpoint.run_files import word
from hpcpgd.kernels.backends.registry import BACKENDS
from hpcpgd.study.grid import Point
from hpcpgd.study.slurm.site import Site
from hpcpgd.study.study_folder import Job

MARGIN_SECONDS = 120.0  # of an allocation beyond the time limit of its run
REPORT_MINUTES = 30
MOST = 1000  # tasks of an array: SLURM's usual limit


@dataclass(frozen=True)
class Array:
    """Runs of the same size: one array of jobs.

    Attributes
    ----------
    names : tuple of str
        Of the runs, by the number of the array's task.
    """

    ranks: int
    threads: int
    on_gpu: bool
    names: tuple[str, ...]

    @property
    def label(self) -> str:
        """A name that no other array of the study has."""
        return f"{self.ranks}x{self.threads}{'-gpu' if self.on_gpu else ''}"


def arrays(points: Sequence[Point], repeats: int, wanted: Collection[str]) -> list[Array]:
    """Group the wanted runs by their size, the repeats outermost in each array."""
    groups: dict[tuple[int, int, bool], list[str]] = {}
    for repeat in range(1, repeats + 1):
        for point in points:
            name, config = Job(point, repeat).name, point.config
            if name in wanted:
                size = (point.ranks, point.threads, BACKENDS[config.backend].on_device)
                groups.setdefault(size, []).append(name)
    return [
        Array(*size, tuple(names[begin : begin + MOST]))
        for size, names in groups.items()
        for begin in range(0, len(names), MOST)
    ]


def array_script(
    name: str, array: Array, limit: float, site: Site, study: Path, folder: Path
) -> str:
    """Return the script of an array.

    Parameters
    ----------
    name : str
        Of the study.
    limit : float
        Seconds of one run.
    study : Path
        Its file.
    folder : Path
        Its runs.
    """
    minutes = math.ceil((limit + MARGIN_SECONDS) / 60)
    directives = [
        f"--job-name=hpcpgd-{word(name)}-{array.label}",
        *_nodes(array, site),
        f"--ntasks={array.ranks}",
        f"--cpus-per-task={array.threads}",
        *([site.gpu_option] if array.on_gpu else []),
        *(["--exclusive"] if site.exclusive else []),
        f"--time={minutes}",
        f"--array=0-{len(array.names) - 1}%{site.at_once}",
        *_common(site),
    ]
    names = "\n".join(f"    {shlex.quote(run)}" for run in array.names)
    python, file, runs = _quoted(site.python, study, folder)
    return (
        f"{_head(directives, site)}\n"
        f"names=(\n{names}\n)\n"
        f"exec {python} -m hpcpgd.study run {file} --folder {runs} \\\n"
        f"    --launcher {shlex.quote(_launcher(site))} "
        '--task "${names[$SLURM_ARRAY_TASK_ID]}"\n'
    )


def report_script(name: str, site: Site, study: Path, folder: Path) -> str:
    """Return the script of the last job of a study: collect, then report."""
    directives = [
        f"--job-name=hpcpgd-{word(name)}-report", "--nodes=1", "--ntasks=1", "--cpus-per-task=1",
        f"--time={REPORT_MINUTES}", *_common(site),
    ]  # fmt: skip
    python, file, runs = _quoted(site.python, study, folder)
    result = shlex.quote(str(folder / "study.h5"))
    return (
        f"{_head(directives, site)}\n"
        f"{python} -m hpcpgd.study collect {file} --folder {runs}\n"
        f"{python} -m hpcpgd.study report {result}\n"
    )


def _quoted(*texts: object) -> list[str]:
    return [shlex.quote(str(text)) for text in texts]


def _nodes(array: Array, site: Site) -> list[str]:
    if not site.cores_per_node or array.on_gpu:  # nodes have fewer GPUs than cores
        return []
    ranks_per_node = max(site.cores_per_node // array.threads, 1)
    return [f"--nodes={-(-array.ranks // ranks_per_node)}"]


def _common(site: Site) -> list[str]:
    words = {
        "partition": site.partition, "account": site.account, "qos": site.qos,
        "constraint": site.constraint, "mem-per-cpu": site.memory_per_cpu,
    }  # fmt: skip
    given = [f"--{option}={value}" for option, value in words.items() if value]
    return ["--open-mode=append", *given, *site.options]


def _head(directives: list[str], site: Site) -> str:
    """Return options, then the site's modules, lines and variables."""
    lines = ["#!/bin/bash", *(f"#SBATCH {text}" for text in directives), "set -eo pipefail"]
    if site.modules:
        lines.append(f"module load {' '.join(_quoted(*site.modules))}")
    lines += site.setup
    lines += [f"export {name}={shlex.quote(value)}" for name, value in site.environment]
    # srun does not inherit --cpus-per-task from sbatch (SLURM 22.05 and later).
    lines.append('export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"')
    return "\n".join(lines)


def _launcher(site: Site) -> str:
    if site.launcher == "mpirun":
        return "mpirun"
    mpi = f" --mpi={site.mpi}" if site.mpi else ""
    return f"srun{mpi} --cpu-bind={site.cpu_bind}"
