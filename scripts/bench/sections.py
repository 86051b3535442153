"""The sections that are timed: contestants, the floor and the peaks, in every placement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hpcpgd.data import Dataset
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.tiles.amx import refusal
from hpcpgd.parallel import mpi
from scripts.bench import cloops
from scripts.bench.contestants import C_LOOPS, GEMM, LOOPS, TILED, WITH_REDUCTION, Contestant
from scripts.bench.floor import Floor
from scripts.bench.peaks import PEAKS
from scripts.bench.placement import ALL, ONE_CORE, TWO_RANKS, TWO_THREADS, Cores, Placement
from scripts.bench.rounds import Cell, Section
from scripts.bench.setting import Setting, load_data, make_network
from scripts.bench.verify import reference_gradient, verify

NETWORKS = {"Net-1h": "net-1h", "Net-2h": "net-2h"}
FLOOR = "floor"

Entry = tuple[Contestant, Placement]


def trainer_entries() -> list[Entry]:
    """Return the training program on one core, with two threads, and with every reduction.

    Products of bfloat16 are added where the processor has units for them.
    """
    reproducible = WITH_REDUCTION["reproducible"]
    one_rank = [(GEMM, ONE_CORE), (reproducible, ONE_CORE), (GEMM, TWO_THREADS)]
    two_ranks = [(each, TWO_RANKS) for each in WITH_REDUCTION.values()]
    for one, *two in () if refusal() else TILED.values():
        one_rank.append((one, ONE_CORE))
        two_ranks += [(each, TWO_RANKS) for each in two]
    return one_rank + two_ranks


def loops_entries() -> list[Entry]:
    """Return ``loops`` in every placement."""
    return [(LOOPS, placement) for placement in ALL]


def c_entries() -> list[Entry]:
    """Return the same loops in C on one core; none without a compiler."""
    return [(contestant, ONE_CORE) for contestant in C_LOOPS] if cloops.compiler() else []


@dataclass
class Builder:
    """Builds sections on two ranks; every method but ``setting`` is collective.

    Attributes
    ----------
    comm, alone : Comm
        Communicators of both ranks, and of each rank by itself.
    blas : Blas or MatmulStandIn
    peers : sequence of Entry
        Other libraries, timed in the same rounds as the training program.
    threads : ExitStack
        Ends the threads of all contestants.
    batches : sequence of int
        Batch sizes that are timed.
    errors : dict of str to float
        The relative error of every gradient that was compared.
    """

    comm: Any
    alone: Any
    cores: Cores
    blas: Any
    peers: Sequence[Entry] = ()
    threads: ExitStack = field(default_factory=ExitStack)
    batches: Sequence[int] = (128, 1024)
    dataset: Dataset = field(default_factory=load_data)
    errors: dict[str, float] = field(default_factory=dict)

    def all_sections(self) -> list[Section]:
        """Build and verify all sections.

        Raises
        ------
        MismatchError
            On every rank, if a gradient differs from that of ``reference``.
        """
        pairs = [(network, batch) for network in NETWORKS for batch in self.batches]
        entries = [*trainer_entries(), *self.peers]
        sections = [self.section(*pair, entries) for pair in pairs]
        for section in sections:
            for name, make in [(FLOOR, Floor), *PEAKS.items()]:
                places = (ONE_CORE, TWO_RANKS)
                section.cells += [self._cell(section, name, place, make) for place in places]
        # C loops are slow and take the same time per example for every batch: time them once.
        c_loops = c_entries()
        for batch in self.batches:
            sections.append(self.section("Net-1h", batch, loops_entries() + c_loops))
            c_loops = []
        return sections

    def section(self, network: str, batch: int, entries: Sequence[Entry]) -> Section:
        """Return a section of contestants, after a check of their gradients."""
        setting = self.setting(network, batch, ONE_CORE)
        section = Section(network, batch, setting.network, [])
        losses = {contestant.loss for contestant, _ in entries}
        expected = self._in_turn(lambda: {loss: _expected(setting, loss) for loss in losses})
        for contestant, placement in entries:
            together = contestant.collective and placement.ranks > 1
            cell = self._cell(section, contestant.name, placement, contestant.make, together)
            cell.note = contestant.note
            name = f"{section.title}, {cell.label}"
            placed = self.setting(network, batch, placement)
            runner: Any = cell.work  # a contestant's, so it has a gradient
            self.errors[name] = verify(
                self.comm, name, placed, runner, expected[contestant.loss], contestant.tolerance
            )
            section.cells.append(cell)
        return section

    def setting(self, network: str, batch: int, placement: Placement) -> Setting:
        """Return a network and batch size on this rank alone or on both."""
        comm = self.comm if placement.ranks > 1 else self.alone
        made = make_network(NETWORKS[network])
        return Setting(comm, self.dataset, made, batch, self.blas, self.threads)

    def _cell(
        self, section: Section, name: str, placement: Placement,
        make: Callable[[Setting, int], Any], together: bool = False,
    ) -> Cell:  # fmt: skip
        setting = self.setting(section.network, section.batch, placement)
        takes_part = self.comm.rank < placement.ranks
        # Threads that the work starts may use the same cores as this thread.
        with self.cores.used_by(placement):
            if together:  # its kernels have been compiled for the cell on one core
                work = make(setting, placement.threads)
            else:
                part = partial(make, setting, placement.threads)
                work = self._in_turn(lambda: part() if takes_part else None)
        return Cell(name, placement, work)

    def _in_turn(self, make: Callable[[], Any]) -> Any:
        """Call ``make`` on rank 0, then on rank 1, for which all kernels are compiled then."""
        made = None
        for rank in range(self.comm.size):
            with mpi.agreed(self.comm):
                if self.comm.rank == rank:
                    made = make()
        return made


def _expected(setting: Setting, loss: str) -> list[Array]:
    """Return the parts of the correct gradient for that loss."""
    return reference_gradient(replace(setting, network=replace(setting.network, loss=loss)))
