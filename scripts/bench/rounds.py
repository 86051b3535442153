"""Alternating rounds: all cells take turns, so that a slow minute affects all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.machine.fma_peak import Peak
from hpcpgd.parallel import mpi
from scripts.bench.others import Others
from scripts.bench.placement import Cores, Placement
from scripts.bench.work import Work

UNDISTURBED = 0.85  # share of a core's best FMA peak, which it reaches while the other is idle
TURNS = 5  # attempts at a cell in a round: a disturbed one is repeated at once
OTHERS = 0.03  # share of the cores that other programs may use in a round that is kept
TRIES = 3  # rounds at most, in multiples of those to collect


@dataclass
class Cell:
    """A contestant in one placement, which is timed.

    Attributes
    ----------
    work : Work or None
        None on a rank that does not take part.
    steps : int
        Steps that take long enough to time.
    note : str
        What readers of its times must know.
    """

    name: str
    placement: Placement
    work: Work | None
    steps: int = 1
    note: str = ""

    @property
    def label(self) -> str:
        """Name of the cell in its section."""
        return f"{self.name}, {self.placement.label}"


@dataclass
class Round:
    """One turn of every cell.

    Attributes
    ----------
    seconds : list of float
        Seconds of each cell.
    peaks : ndarray, shape (cells + 1, 2)
        FMA peak of both cores at the start, then for each cell the lower of those before and
        after it, GFLOP/s.
    others : float
        Share of the cores that other programs took.
    """

    seconds: list[float]
    peaks: Array
    others: float


@dataclass
class Section:
    """Cells that are compared with each other, and their rounds.

    Attributes
    ----------
    network : str
        As the paper names it.
    batch : int
        Examples of a step.
    cells : list of Cell
    rounds : list of Round
        Disturbed ones as well.
    """

    network: str
    batch: int
    shape: Network
    cells: list[Cell]
    rounds: list[Round] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Name the section."""
        return f"{self.network}, batch {self.batch}"


def best_peaks(rounds: list[Round]) -> Array:
    """Return the highest FMA peak that each core reached, GFLOP/s (2,)."""
    return np.asarray(np.max([r.peaks.max(axis=0) for r in rounds], axis=0))


def kept(rounds: list[Round], best: Array) -> list[Round]:
    """Return the rounds in which both cores always reached their peak, undisturbed by others."""
    return [r for r in rounds if (r.peaks >= UNDISTURBED * best).all() and r.others <= OTHERS]


def all_rounds(sections: list[Section]) -> list[Round]:
    """Return the rounds of all sections."""
    return [r for section in sections for r in section.rounds]


class Stopwatch:
    """Times cells on two ranks; every method is collective.

    Parameters
    ----------
    comm : Comm
        Communicator of both ranks.
    target : float
        Seconds that a cell should take.
    """

    def __init__(self, comm: Any, cores: Cores, peak: Peak, target: float) -> None:
        self._comm = comm
        self._cores = cores
        self._peak = peak
        self._target = target
        self._others = Others(comm, cores.numbers)
        self._best = np.zeros(2)

    def calibrate(self, cell: Cell) -> None:
        """Choose the number of steps of a cell."""
        fastest = min(self._time(cell) for _ in range(3))
        cell.steps = max(round(self._target / fastest), 1)

    def round(self, section: Section) -> Round:
        """Time every cell; repeat a cell if a core was below its peak before or after it."""
        self._others.begin()
        before = self._peaks()
        seconds, peaks = [], [before]
        for cell in section.cells:
            for _ in range(TURNS):
                taken, after = self._time(cell), self._peaks()
                lower, before = np.minimum(before, after), after
                if (lower >= UNDISTURBED * self._best).all():
                    break
            seconds.append(taken)
            peaks.append(lower)
        return Round(seconds, np.array(peaks), self._others.share())

    def _time(self, cell: Cell) -> float:
        """Return the seconds of a cell, the maximum over its ranks.

        A rank without work sleeps, as spinning would slow down the other rank.
        """
        seconds = 0.0
        with self._cores.used_by(cell.placement):
            mpi.patient_barrier(self._comm)
            if cell.placement.ranks > 1:
                self._comm.Barrier()  # the ranks wake up at different times
            with mpi.agreed(self._comm):
                if cell.work is not None:
                    seconds = self._run(cell.work, cell.steps)
        return mpi.allreduce_max(self._comm, seconds)

    def _run(self, work: Work, steps: int) -> float:
        """Return the seconds of this rank's work."""
        start = perf_counter()
        spent = work.run(steps)
        if spent is None:
            return perf_counter() - start
        self._others.excuse(spent.cpu)
        return spent.seconds

    def _peaks(self) -> Array:
        """Return the FMA peak of each core, measured at the same time, in GFLOP/s (2,)."""
        self._comm.Barrier()
        peaks = mpi.allgather(self._comm, np.array(self._peak.gflops()))
        self._best = np.maximum(self._best, peaks)
        return peaks


def run_rounds(
    watch: Stopwatch, sections: list[Section], wanted: int, keep: Callable[[], Any] | None
) -> None:
    """Time rounds until ``wanted`` of each section are undisturbed; collective.

    Ends after ``TRIES`` times as many rounds; the report counts rounds that were dropped.  One
    rank has a function ``keep``, which it calls after each round, so that no round is lost.
    """
    for attempt in range(1, TRIES * wanted + 1):
        for section in sections:
            before = all_rounds(sections)
            if not before or len(kept(section.rounds, best_peaks(before))) < wanted:
                section.rounds.append(watch.round(section))
        best = best_peaks(all_rounds(sections))
        counts = [len(kept(section.rounds, best)) for section in sections]
        if keep:
            print(f"round {attempt}: {counts} of {wanted} kept", file=sys.stderr, flush=True)
            if min(counts):
                keep()
        if min(counts) >= wanted:
            return
