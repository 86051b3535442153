"""Threads that execute commands together with the thread that gives them, the leader.

Between commands they wait in compiled code: they spin briefly, then sleep.  While steps follow
each other, giving a command takes well under a microsecond.  No BLAS threads compete with these,
as the BLAS computes with one thread here.
"""

from __future__ import annotations

import os
import threading
import traceback
from typing import Any

import numpy as np

from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array, aligned_zeros
from hpcpgd.kernels.schedule.barrier import (
    LINE,
    address_of,
    exchange,
    fetch_add,
    load,
    make_barrier,
    wait_with_backoff,
)
from hpcpgd.kernels.schedule.command import COMMAND, LEAVE, Command
from hpcpgd.kernels.schedule.execute import Work, execute

LEAD = -1  # in place of a command's number: this is the leader
INTERNAL_ERROR = 70  # exit code of the program


@compiled()
def _work(work: Work, commands: Array, box: Array, worker: int, seen: int) -> Any:
    """As leader give and execute one command; as another thread execute all until ``LEAVE``.

    Both share this function, so that ``execute``, by far the largest of all compiled functions,
    is compiled only once.

    Parameters
    ----------
    commands : ndarray of COMMAND, shape (1,)
    box : ndarray of int64, shape (2,)
        For this thread only.
    seen : int
        Number of the last command that this thread executed; ``LEAD`` for the leader.

    Returns
    -------
    tuple of int
        For the leader ``PassResult`` with times in nanoseconds; for other threads the number
        of the command ``LEAVE``, and zeros.
    """
    leads = seen == LEAD
    command = commands[0]
    number = address_of(commands, 0)
    if leads:
        # Sequentially consistent: a thread that sees the number also sees the command's fields.
        exchange(number, load(number) + 1)
    while True:
        if not leads:
            seen = wait_with_backoff(work.barrier, number, seen, box)
            if command.opcode == LEAVE:
                return seen, 0, 0, 0
        # The leader cannot change the command while a thread reads it: ``execute`` ends with a
        # barrier, which the leader passes only after all threads have arrived.
        execute(work, command, worker)
        if leads:
            break
    # Workers of other processes report in the same memory, so all leaders get the same sums.
    stops, bad = 0, 0
    for w in range(work.memory.status.shape[1]):
        status = work.memory.status[command.parity, w]
        stops += status.stop
        bad += status.bad
    leader = work.memory.status[command.parity, worker]
    return stops, bad, leader.waited, leader.loaded


@compiled()
def _await(barrier: Any, words: Array, old: int, box: Array) -> int:
    return wait_with_backoff(barrier, address_of(words, 0), old, box)


@compiled()
def _publish(words: Array) -> None:
    exchange(address_of(words, 0), load(address_of(words, 0)) + 1)


class WorkerPool:
    """``size`` threads, including the caller, from the first binding to ``close``.

    Attributes
    ----------
    command : Command
        The command that `lead` gives; the caller sets its fields.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._commands = aligned_zeros(1, COMMAND)
        self.command = Command.from_buffer(self._commands.data)
        self._words = self._commands.view(np.int64)  # the first is the command's number
        # A list of one element, shared with the threads, which read it after each binding.
        self._bound: list[Work | None] = [None]
        self._seen = aligned_zeros(LINE, np.int64)
        self._box = np.zeros(2, np.int64)
        self._wait = make_barrier(1)  # no thread waits at it: waits use its spins and functions
        self._threads: list[threading.Thread] = []
        self._closed = False

    def close(self) -> None:
        """End the threads and wait for them; only then may the memory that was bound be freed."""
        # This wait always ends, even if other processes have failed.  The caller executes every
        # command and has returned from the last one, so it has passed that command's last barrier.
        # The barrier opened when all workers had arrived, and it stays open.  So the threads of
        # this pool have arrived, too; at most they have not yet read the word, for which they
        # need no other worker.  If another process fails during a command, the caller does not
        # get here: it waits in ``lead``, with all memory in place, until the job is aborted.
        self._closed = True
        self._bound[0] = None
        self.command.opcode = LEAVE
        if self._threads:
            _publish(self._words)
        for thread in self._threads:
            thread.join()

    def bind(self, work: Work) -> None:
        """Let the next commands work on ``work``; the first call starts the threads."""
        if self._closed:
            raise RuntimeError("a closed pool has no threads")
        if work is self._bound[0]:
            return
        if self.size > 1:
            self._load(work)
        if len(self._threads) < self.size - 1:
            self._start()
        self._bound[0] = work
        # Threads leave compiled code, read the new binding in Python, and count themselves.
        # Without this wait, a fast leader could give a command before a thread has read the
        # binding, and the thread would execute the command on the old memory.
        self.command.opcode = LEAVE
        target = int(self._seen[0]) + self.size - 1
        _publish(self._words)
        _await(self._wait, self._seen, target - 1, self._box)

    def _load(self, work: Work) -> None:
        """Compile or load what threads run here, where an exception reaches the caller."""
        passed, leave = np.ones(1, np.int64), np.zeros(1, COMMAND)
        _note(passed)
        _publish(passed)
        _await(self._wait, passed, 0, self._box)
        leave["number"], leave["opcode"] = 1, LEAVE
        _work(work, leave, self._box, work.layout.first, 0)

    def _start(self) -> None:
        shared = (self._wait, self._commands, self._seen, self._bound)
        for member in range(1, self.size):
            # Daemons, so that a process that ends without ``close`` does not wait for them.
            thread = threading.Thread(
                target=_live, args=(*shared, member), daemon=True, name=f"pool {member}"
            )
            thread.start()
            self._threads.append(thread)

    def lead(self) -> tuple[int, int, int, int]:
        """Execute the command with all threads and return its result (see ``_work``)."""
        work = self._bound[0]
        if work is None:
            raise RuntimeError("a pool must be bound before a command is given")
        result: tuple[int, int, int, int] = _work(
            work, self._commands, self._box, work.layout.first, LEAD
        )
        return result


def _live(wait: Any, commands: Array, seen: Array, bound: list[Work | None], member: int) -> None:
    """Execute commands on each binding in turn, until the binding is None."""
    box = np.zeros(2, np.int64)
    try:
        number = _await(wait, commands.view(np.int64), 0, box)
        while (work := bound[0]) is not None:
            _note(seen)
            number, *_ = _work(work, commands, box, work.layout.first + member, number)
            del work  # it may hold large arrays
    except BaseException:  # other workers wait at a barrier, where no exception reaches them
        traceback.print_exc()
        os._exit(INTERNAL_ERROR)


@compiled()
def _note(seen: Array) -> None:
    fetch_add(address_of(seen, 0), 1)
