"""The nodes that a kit may use, the ranks and threads of each, and the launcher."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from hpcpgd.doctor.finding import counted
from hpcpgd.doctor.slurm_job import number
from hpcpgd.errors import UnavailableError
from hpcpgd.study import launchers
from hpcpgd.study.launchers import Launcher, tasks_per_node

NODE_COUNTS = (1, 2, 4)


@dataclass(frozen=True)
class Allocation:
    """The nodes of a job, or this machine.

    Attributes
    ----------
    per_node : int
        Number of ranks of a node.
    threads : int
        Number of threads of a rank.
    lacking : str
        Why there are no more nodes.
    """

    launcher: Launcher
    nodes: int
    per_node: int
    threads: int
    lacking: str

    @property
    def counts(self) -> list[int]:
        """Return the numbers of nodes that are tried."""
        return [count for count in NODE_COUNTS if count <= self.nodes]

    @property
    def ranks(self) -> list[int]:
        """Return the numbers of ranks that are tried: one rank, then all ranks of whole nodes."""
        return sorted({1, *(count * self.per_node for count in self.counts)})

    def nodes_of(self, ranks: int) -> int:
        """Return on how many nodes ``ranks`` are to run."""
        return -(-ranks // self.per_node)


def find(named: str | None, environ: Mapping[str, str] = os.environ) -> Allocation:
    """Return the nodes that the launcher ``named`` by the user can use, else this machine.

    Raises
    ------
    UnavailableError
        If there is no launcher.
    UsageError
        If ``named`` cannot be a launcher.
    """
    launcher = launchers.find(named)
    if named is None or "SLURM_JOB_ID" not in environ:
        lacking = "this is not a job" if named else "no launcher for several nodes was named"
        cure = "submit slurm/first-contact.sbatch, or give --launcher in a job of SLURM"
        return Allocation(launcher, 1, _cores(), 1, f"{lacking}: {cure}")
    nodes = number(environ, "SLURM_JOB_NUM_NODES", 1)
    lacking = f"the job has {counted(nodes, 'node')}: sbatch --nodes=4"
    threads = number(environ, "SLURM_CPUS_PER_TASK", 1)
    return Allocation(launcher, nodes, tasks_per_node(environ), threads, lacking)


def _cores() -> int:
    try:
        from hpcpgd.machine.cores import usable_cores
    except UnavailableError:  # MPI cannot be loaded, which the doctor reports
        return 1
    return usable_cores()
