"""A watchdog for collectives that do not return.

Each rank has a thread that looks about once a second at where the rank's main thread is.  If
the main thread has waited in one collective for longer than its phase allows, this rank calls
all ranks.  Each rank that still runs prints its Python stacks and answers.  The lowest one names
the ranks that do not answer, or are not in the collective, and ends the job.
"""

from __future__ import annotations

import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from hpcpgd.cli.launcher import complain
from hpcpgd.config.run_config import HANG_TIMES
from hpcpgd.errors import WatchdogError
from hpcpgd.parallel import mpi
from hpcpgd.parallel.hang_report import RankReport, location_of, roll_call, stacks

TICK = 1.0  # seconds between looks, less where a limit is short

NO_THREADS = "this MPI lets one thread alone call it: no watchdog looks for ranks that hang"

FAREWELL = 600.0  # seconds in which MPI_Finalize must return

Heartbeat = tuple[Any, bool]  # what changes while a rank works; whether it waits in compiled code


def _no_heartbeat() -> Heartbeat:
    return None, False


@contextmanager
def farewell(program: str) -> Iterator[None]:
    """End this process with 71 if the body, in which MPI ends, does not return.

    The other ranks cannot be called any more.  What the run wrote is complete.
    """
    error = WatchdogError(f"the work is done, but MPI does not end in {FAREWELL:.0f} s")

    def end() -> None:
        complain(program, error, True)
        os._exit(error.exit_code)

    timer = threading.Timer(FAREWELL, end)
    timer.daemon = True
    with suppress(RuntimeError):  # no memory for a thread, which is why MPI ends
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with suppress(RuntimeError):  # it was not started
            timer.join()


class Watchdog:
    """Watches the thread that makes it, until ``close``.  Construction is collective.

    Parameters
    ----------
    program : str
        What begins the line that says why the job ended.
    limits : mapping of str to float
        Seconds that a collective may take in each phase; the first is ``loading``.
    """

    def __init__(self, program: str, comm: mpi.Comm, limits: Mapping[str, float]) -> None:
        self._heartbeat: Callable[[], Heartbeat] = _no_heartbeat
        self._asking = threading.Lock()
        self._program = program
        self._limits = limits
        self._phase = next(iter(limits))
        self._watched = threading.get_ident()
        self._closing = threading.Event()
        self._comm = comm.Dup()  # with messages of its own
        self._hosts = mpi.allgather_texts(comm, f"{socket.gethostname()}, process {os.getpid()}")
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
        if comm.size > 1 and mpi.threads_may_call():
            self._thread.start()
        elif comm.size > 1 and comm.rank == 0:
            print(f"{program}: warning: {NO_THREADS}", file=sys.stderr, flush=True)

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Let the limit of ``phase`` hold for the body."""
        before, self._phase = self._phase, phase
        try:
            yield
        finally:
            self._phase = before

    @contextmanager
    def asking(self, heartbeat: Callable[[], Heartbeat]) -> Iterator[None]:
        """Ask ``heartbeat`` in the body about waits in compiled code, which no stack shows.

        It reads memory that may be freed as soon as the body has ended.
        """
        with self._asking:
            self._heartbeat = heartbeat
        try:
            yield
        finally:
            with self._asking:
                self._heartbeat = _no_heartbeat

    def close(self) -> None:
        """End the watch; collective.  No rank leaves while another may still call it."""
        mpi.patient_barrier(self._comm)
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._comm.Free()

    def _watch(self) -> None:
        tick = min(TICK, min(self._limits.values()) / 10)
        before, waited, mark = time.monotonic(), 0.0, None
        while not self._closing.wait(tick):
            where, waits, seen = self._look()
            now = time.monotonic()
            # While a job is suspended as a whole, the clock runs and no rank waits.
            waited = waited + min(now - before, 2 * tick) if seen == mark else 0.0
            before, mark = now, seen if waits else None
            received = mpi.poll_bytes(self._comm)
            if waited > self._limits[self._phase] or received is not None:
                self._end(RankReport(where, waits, self._phase, waited), received)

    def _look(self) -> tuple[str, bool, Any]:
        """Return where the watched thread is, whether it waits, and what identifies this wait."""
        frame = sys._current_frames()[self._watched]
        with self._asking:
            count, waits = self._heartbeat()
        # A patient barrier tests and sleeps in turn: all of that is one wait.
        patient = frame.f_code is mpi.patient_barrier.__code__
        line = mpi.patient_barriers if patient else frame.f_lasti
        return *location_of(frame, waits), (id(frame), patient, line, count)

    def _end(self, own: RankReport, received: tuple[int, bytes] | None) -> None:
        """Call all ranks, name those that the others wait for, and end the job."""
        rank, size = self._comm.rank, self._comm.size
        where = f"{self._program}: rank {rank} of {size} ({self._hosts[rank]})"
        sys.stderr.write(f"{where}: {own.describe()}; its stacks:\n{stacks(self._watched)}")
        sys.stderr.flush()
        answers = roll_call(self._comm, own, self._hosts, received)
        error = WatchdogError(self._reason(answers.worst) + answers.culprits())
        complain(self._program, error, True)
        mpi.abort(self._comm, error.exit_code)

    def _reason(self, worst: RankReport) -> str:
        limit = self._limits[worst.phase]
        times = "" if HANG_TIMES[worst.phase] == 1 else f"{HANG_TIMES[worst.phase]} times "
        allowed = "" if math.isinf(limit) else f", {limit:g} s are allowed ({times}--hang-limit)"
        return f"a collective did not return in {worst.waited:.0f} s of {worst.phase}{allowed}: "
