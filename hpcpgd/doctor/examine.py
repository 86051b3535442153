"""The checks of all ranks, in the order in which they are made."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hpcpgd.cli.launcher import launcher_rank, launcher_size, mismatch
from hpcpgd.doctor import (
    allreduce_check,
    core_binding,
    gpus,
    kept_rates,
    launcher_check,
    memory,
    node_rates,
    numa,
    other_work,
    products,
    shared_memory,
    slurm_job,
    storage,
    variables,
)
from hpcpgd.doctor.finding import OK, Finding, Place, decode, encode, problem, warning
from hpcpgd.doctor.guardian import Guardian, Stage
from hpcpgd.doctor.report import Report
from hpcpgd.environment.provenance import cpu_model
from hpcpgd.errors import UnavailableError
from hpcpgd.machine import jit_cache
from hpcpgd.machine.cores import affinity
from hpcpgd.machine.other_load import OtherLoad
from hpcpgd.parallel import mpi
from hpcpgd.parallel.startup import Endings
from hpcpgd.train.job import within

NETWORK = Stage(
    "Allreduce",
    120.0,
    "messages do not arrive: let MPI use another network interface (UCX_NET_DEVICES, "
    "FI_PROVIDER), or ask for the ports between nodes to be opened",
)
LOCAL = Stage("this node", 300.0, "check that the file systems and GPUs of the nodes answer")


@dataclass(frozen=True)
class Asked:
    """The folder of runs, the file of kept rates, the share by which a rate may be lower."""

    folder: Path
    reference: Path | None = None
    tolerance: float = 0.1


def examine(report: Report, guardian: Guardian, asked: Asked, endings: Endings) -> int:
    """Start MPI, make all checks and return the exit code, the same on all ranks; collective."""
    world = mpi.initialise(endings)
    alone = mismatch(world.size) is not None
    if alone and not report.speaks:  # each of these ranks is rank 0 of a world of its own
        mpi.finish()
        return _unheard()
    code = 0

    @report.documented()
    def body(world: mpi.Comm) -> None:
        nonlocal code
        guardian.enter(NETWORK)
        examination = _Examination(mpi.join(world), report, asked)
        examination.read_reference()
        examination.of_the_job(alone)
        examination.compare_job()
        guardian.enter(LOCAL)
        examination.of_the_nodes()
        examination.of_the_rates()
        report.verdict()
        code = report.code
        mpi.leave(examination.ranks)

    return within(endings.program, world, body) or code


def _unheard() -> int:
    """Report a launcher that does not fit, which rank 0 cannot see; return the exit code."""
    if launcher_size() is not None or launcher_rank() != 1:
        return 0
    report = Report(speaks=True)
    report.add(*launcher_check.judge(mpi.implementation(), 1, 1, os.environ))
    return report.code


class _Examination:
    """The checks of one job; every method is collective."""

    def __init__(self, ranks: mpi.Ranks, report: Report, asked: Asked) -> None:
        self.ranks, self.report, self.asked = ranks, report, asked
        self.threads, self.note = 1, ""  # after rates that are not judged
        self.busy_node = self.busy = False  # by others: this node, any node
        host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        texts = mpi.allgather_texts(ranks.comm, json.dumps([host, ranks.node.rank]))
        self.places = [Place(*json.loads(text)) for text in texts]

    def read_reference(self) -> None:
        """Read the kept rates, before anything is measured: the file may be bad."""
        self.kept: kept_rates.Kept | None = None
        with mpi.agreed(self.ranks.comm):
            if self.ranks.rank == 0 and self.asked.reference is not None:
                self.kept = kept_rates.read(self.asked.reference)

    def compare_job(self) -> None:
        """Refuse kept rates of another processor or other numbers of ranks or threads."""
        models = mpi.allgather_texts(self.ranks.comm, cpu_model())
        with mpi.agreed(self.ranks.comm):
            if self.ranks.rank == 0 and self.asked.reference is not None:
                path, hosts = self.asked.reference, [place.host for place in self.places]
                self.job = kept_rates.ensure_same_job(path, self.kept, models, hosts, self.threads)

    def of_the_job(self, alone: bool) -> None:
        """Check what concerns all ranks together; ``alone``: this rank sees no others."""
        ranks, library = self.ranks, mpi.implementation()
        self._on_first(lambda: launcher_check.judge(library, ranks.size, ranks.nodes, os.environ))
        if alone:
            return
        if ranks.size == 1 and launcher_size() is None and "SLURM_JOB_ID" not in os.environ:
            self._on_first(launcher_check.try_pair)
        rows = mpi.allgather_texts(ranks.comm, json.dumps(asdict(core_binding.observe(ranks))))
        seen = [core_binding.RankCores(**json.loads(row)) for row in rows]
        self.threads = core_binding.threads(seen)
        host = self.places[ranks.rank].host
        here = [one for one, place in zip(seen, self.places, strict=True) if place.host == host]
        cores = sorted({core for one in here for core in one.cores})
        fewest = min(len(one.cores) for one in seen)
        crowded = min(one.share for one in seen) < 1
        self._on_first(
            lambda: slurm_job.judge(slurm_job.observe(os.environ), ranks.size, fewest, library)
        )
        self._on_first(lambda: core_binding.judge(seen, self.places))
        work = other_work.observe(cores)
        self._on_nodes(lambda: other_work.judge(work))
        self.busy_node = other_work.is_busy(work)
        self.busy = mpi.allreduce_max(ranks.comm, float(self.busy_node)) > 0
        self.note = other_work.unjudged(self.busy, crowded)
        if ranks.size > 1:
            sums, note = allreduce_check.observe(ranks, crowded), other_work.unjudged(self.busy)
            self._on_first(lambda: allreduce_check.judge(sums, note))

    def of_the_nodes(self) -> None:
        """Check what concerns one rank or one node."""
        here = self.ranks.node.size
        self._on_all(lambda: variables.judge(os.environ, self.threads))
        self._on_nodes(lambda: self._shared_memory(here))
        self._on_nodes(lambda: memory.judge(memory.observe(), here))
        try:
            folders = jit_cache.share_folder(self.ranks)
        except UnavailableError as error:
            text, _, cure = str(error).partition(": ")
            refused = problem(storage.CACHE, text, cure, error.exit_code)
            self._on_first(lambda: [refused])
        else:
            self._on_nodes(lambda: storage.judge_cache(storage.observe_cache(folders)))
        note = other_work.unjudged(self.busy_node)
        self._on_nodes(lambda: products.judge(products.observe(), note))
        self._on_nodes(products.judge_tiles)
        self._on_first(lambda: storage.judge(storage.observe(self.asked.folder)))
        self._on_nodes(lambda: gpus.judge(gpus.observe(self.ranks.size), here))

    def of_the_rates(self) -> None:
        """Measure the cores and the memory of all nodes, and compare the rates with kept ones."""
        self._on_all(lambda: numa.judge(numa.observe(affinity()), self.threads))
        load = OtherLoad(self.ranks)
        rates = node_rates.observe(self.ranks, self.threads)
        used, text = load.measure()
        self._on_first(lambda: other_work.judge_later("" if self.busy else text))
        self.busy = self.busy or used > 0
        self.note = other_work.unjudged(self.busy) or self.note
        self._on_first(lambda: node_rates.judge(rates, self.places, self.note))
        if not any(one.trouble for one in rates):
            self.report.rates = node_rates.per_node(rates, self.places)
        findings: list[Finding] = []
        with mpi.agreed(self.ranks.comm):
            if self.ranks.rank == 0 and self.asked.reference is not None:
                findings = self._compared(self.asked.reference, rates)
        self._on_first(lambda: findings)

    def _compared(self, path: Path, rates: Sequence[node_rates.Rates]) -> list[Finding]:
        """Compare the measured rates with the kept ones, or keep them."""
        nodes, tolerance = self.report.rates, self.asked.tolerance
        if not nodes:
            return [kept_rates.NOT_MEASURED]
        if self.kept is not None:
            return kept_rates.compare(nodes, self.kept, tolerance, busy=self.busy)
        middle = node_rates.middle_of(nodes)
        kept = kept_rates.Kept(self.job, {name: middle[name] for name in kept_rates.NAMES})
        spread = {name: max(one.spread[name] for one in rates) for name in kept_rates.NAMES}
        return [kept_rates.keep(path, kept, spread, tolerance, busy=self.busy)]

    def _shared_memory(self, here: int) -> list[Finding]:
        """Return what is wrong on this node; rank 0 has reported its own node before MPI began."""
        if self.ranks.rank == 0:
            return []
        findings = shared_memory.judge(shared_memory.observe(), here)
        return [one for one in findings if one.level != OK]

    def _on_first(self, check: Callable[[], Sequence[Finding]]) -> None:
        self._gather(check, self.ranks.rank == 0)

    def _on_nodes(self, check: Callable[[], Sequence[Finding]]) -> None:
        self._gather(check, self.ranks.node.rank == 0)

    def _on_all(self, check: Callable[[], Sequence[Finding]]) -> None:
        self._gather(check, True)

    def _gather(self, check: Callable[[], Sequence[Finding]], mine: bool) -> None:
        """Make a check on the ranks where ``mine`` is true, and report all findings.

        The other ranks sleep meanwhile.
        """
        findings = _made(check) if mine else []
        mpi.patient_barrier(self.ranks.comm)
        texts = mpi.allgather_texts(self.ranks.comm, encode(findings))
        self.report.add_all([decode(text) for text in texts], self.places)


def _made(check: Callable[[], Sequence[Finding]]) -> list[Finding]:
    """Make a check; an exception in it becomes a finding."""
    try:
        return list(check())
    except Exception as error:
        text = f"a check failed: {type(error).__name__}: {error}"
        return [warning("doctor", text, "report this line to the maintainers of hpcpgd")]
