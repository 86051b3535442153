"""The cores that each rank may use: shared, bound, idle."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcpgd.doctor.finding import Finding, Place, counted, in_words, ok, warning
from hpcpgd.doctor.slurm_job import number
from hpcpgd.environment.cgroup import limits
from hpcpgd.machine.cores import (
    affinity,
    cores_of,
    fair_share,
    fair_threads,
    machine_identity,
    processors,
    quota,
)
from hpcpgd.parallel import mpi

SUBJECT = "cores"
BINDING = (
    "let the launcher spread the ranks: mpiexec -bind-to none (MPICH), mpirun --bind-to none "
    "(Open MPI), srun --cpu-bind=cores -c CORES"
)


@dataclass(frozen=True)
class RankCores:
    """The cores that one rank may use.

    Attributes
    ----------
    machine : str
        An identity that all ranks of one machine share.
    cores : sequence of int
        The cores that the rank may run on.
    available : int
        Number of cores of the machine that the job may use.
    quota : float
        Limit of processor time in cores that a container or job sets, infinity without one.
    share : float
        The rank's fair share of its cores.
    """

    machine: str
    cores: Sequence[int]
    available: int
    quota: float
    share: float


def available(environ: Mapping[str, str] = os.environ) -> int:
    """Return how many cores of this machine the job may use, whatever its ranks are bound to."""
    usable = set(range(os.cpu_count() or 1))
    for words in limits("cpuset.cpus.effective"):
        usable &= processors(",".join(words))
    count = len(cores_of(sorted(usable)))
    return min(count, number(environ, "SLURM_CPUS_ON_NODE", count))


def observe(ranks: mpi.Ranks) -> RankCores:
    """Return the cores of this rank; collective."""
    machine, cores = machine_identity().decode().strip(), cores_of(affinity())
    return RankCores(machine, cores, available(), quota(), fair_share(ranks))


def threads(seen: Sequence[RankCores]) -> int:
    """Return the most threads that ``--threads auto`` takes, as the smallest share allows."""
    return min(fair_threads(one.share) for one in seen)


def judge(seen: Sequence[RankCores], places: Sequence[Place]) -> list[Finding]:
    """Judge which ranks have too few cores, and which cores are idle."""
    machines: dict[str, list[int]] = {}
    for rank, one in enumerate(seen):
        machines.setdefault(one.machine, []).append(rank)
    judged = (
        _of_machine([seen[rank] for rank in ranks], in_words(ranks, places))
        for ranks in machines.values()
    )
    findings = [one for one in judged if one is not None]
    least, most = threads(seen), max(fair_threads(one.share) for one in seen)
    if least < most:
        slow = [rank for rank, one in enumerate(seen) if fair_threads(one.share) == least]
        text = f"{in_words(slow, places)} can have {least} of the {most} threads that others can"
        findings.append(warning(SUBJECT, f"{text}: --threads auto gives {least} to all", BINDING))
    if not findings:
        each = f"each can have {least} threads" if least > 1 else "each can have one"
        cores = len({(one.machine, core) for one in seen for core in one.cores})
        findings.append(ok(SUBJECT, f"{cores} cores for {counted(len(seen), 'rank')}, {each}"))
    return findings


def _of_machine(seen: Sequence[RankCores], who: str) -> Finding | None:
    """Judge the ranks of one machine."""
    used = {core for one in seen for core in one.cores}
    idle = seen[0].available - len(used)
    crowded = min(one.share for one in seen) < 1 - 1e-6
    others = counted(idle, "other core")
    bound = f"{who} may run on {_cores(used)} alone, with {others} of this job idle"
    if crowded and seen[0].quota < len(used):
        text = f"{who} share processor time of {seen[0].quota:g} cores, a limit of the container"
        return warning(SUBJECT, text, "start fewer ranks, or raise the limit (docker run --cpus)")
    if crowded and idle > 0:
        return warning(SUBJECT, f"{bound}: they take turns", BINDING)
    if crowded:
        text = f"{who} share {_cores(used)}: they take turns, and wait for each other"
        return warning(SUBJECT, text, "start at most one rank a core")
    if idle > 0:
        return warning(SUBJECT, bound, f"start more ranks, or {BINDING}")
    return None


def _cores(numbers: set[int]) -> str:
    return f"core {min(numbers)}" if len(numbers) == 1 else f"{len(numbers)} cores"
