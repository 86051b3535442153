"""Write checkpoints during a run, and the run file, which says how the run ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpcpgd.checkpoint.run_files import RunFiles
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.parallel import mpi
from hpcpgd.parallel.watchdog import Watchdog
from hpcpgd.results.record import RunRecord
from hpcpgd.results.runfile import write_run_file
from hpcpgd.train.recording import make_state
from hpcpgd.train.training_loop import Trainer


@dataclass
class Writer:
    """Writes on rank 0 for all; each method is collective and raises a failure on every rank.

    Attributes
    ----------
    record : RunRecord
        The content of the run file.
    facts : dict of str to str
        The facts on which the bits of results depend, for the checkpoints.
    newest : Path or None
        On rank 0, the last checkpoint written.
    """

    comm: mpi.Comm
    watch: Watchdog
    files: RunFiles
    record: RunRecord
    facts: dict[str, str]
    newest: Path | None = None

    def write(self) -> None:
        """Write the run file, if the run has one.

        Raises
        ------
        OutputError
        """
        if not self.record.config.output:
            return
        fault_point("run file", self.record.status)
        with self.watch.during("checkpoint"), mpi.agreed(self.comm):
            if self.comm.rank == 0:
                write_run_file(self.files.run_file, self.record)

    def checkpoint(self, trainer: Trainer) -> None:
        """Write a checkpoint between two steps, then the run file.

        Raises
        ------
        OutputError
        """
        totals = trainer.engine.totals()
        mpi.allreduce_sum(self.comm, totals)
        states = trainer.reduction.states()
        self.record.segments[-1].last_step = trainer.engine.steps
        with self.watch.during("checkpoint"), mpi.agreed(self.comm):
            if self.comm.rank == 0:
                state = make_state(trainer, self.record, totals, states, self.facts)
                self.newest = self.files.checkpoints.save(state)
        self.write()

    def end(self, trainer: Trainer, status: str) -> None:
        """Write the run file with the ``status`` in which the run ended.

        Raises
        ------
        OutputError
        """
        self.record.status, self.record.best = status, trainer.best
        self.record.segments[-1].last_step = trainer.steps_done
        self.record.segments[-1].hidden_share = trainer.reduction.hidden_share
        self.write()
