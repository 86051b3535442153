"""Threads that execute commands together with the one that gives them.

Between commands they wait in compiled code, first spinning, soon asleep.  A command costs well
under a microsecond while steps follow each other, and no second pool spins against that of
a BLAS, which computes with one thread here.
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

LEAD = -1  # in place of a number: the thread that gives the commands
INTERNAL_ERROR = 70  # the program's exit code for it


@compiled()
def _work(work: Work, commands: Array, box: Array, worker: int, seen: int) -> Any:
    """Give one command and execute it with the other threads, or serve until one says to leave.

    Leader and threads share this function: ``execute`` is by far the largest of all compiled
    functions, and so it is compiled once.

    Parameters
    ----------
    commands : ndarray of COMMAND, shape (1,)
    box : ndarray of int64, shape (2,)
        This thread's own.
    seen : int
        Number of the last command that this thread executed; ``LEAD`` for the leader.

    Returns
    -------
    tuple of int
        For the leader ``PassResult`` with times in nanoseconds; else the number of the
        command to leave, and zeros.
    """
    leads = seen == LEAD
    command = commands[0]
    number = address_of(commands, 0)
    if leads:
        # Sequentially consistent: threads that see the number see the command's fields, too.
        exchange(number, load(number) + 1)
    while True:
        if not leads:
            seen = wait_with_backoff(work.barrier, number, seen, box)
            if command.opcode == LEAVE:
                return seen, 0, 0, 0
        # The leader cannot change the command under a thread that reads it: ``execute`` ends at
        # a barrier, which the leader passes only after all threads came there.
        execute(work, command, worker)
        if leads:
            break
    # Workers of other processes report in the same memory: all leaders see the same sums.
    stops, bad = 0, 0
    for w in range(work.memory.status.shape[1]):
        status = work.memory.status[command.parity, w]
        stops += status.stop
        bad += status.bad
    mine = work.memory.status[command.parity, worker]
    return stops, bad, mine.waited, mine.loaded


@compiled()
def _await(barrier: Any, words: Array, old: int, box: Array) -> int:
    return wait_with_backoff(barrier, address_of(words, 0), old, box)


@compiled()
def _publish(words: Array) -> None:
    exchange(address_of(words, 0), load(address_of(words, 0)) + 1)


class WorkerPool:
    """``size`` threads, the caller among them, from the first binding to ``close``.

    Attributes
    ----------
    command : Command
        What `lead` has executed.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._commands = aligned_zeros(1, COMMAND)
        self.command = Command.from_buffer(self._commands.data)
        self._words = self._commands.view(np.int64)  # the first is the command's number
        # A list of one: threads look into it after each binding, and share it with the pool.
        self._bound: list[Work | None] = [None]
        self._seen = aligned_zeros(LINE, np.int64)
        self._box = np.zeros(2, np.int64)
        self._wait = make_barrier(1)  # nobody meets there: its functions are what waits
        self._threads: list[threading.Thread] = []
        self._closed = False

    def close(self) -> None:
        """Let the threads end and wait for them: nobody reads any more what was bound.

        Its memory may be freed only after this.
        """
        # This wait ends, whatever befell other processes.  The caller has a part in every command
        # and is back from it, so it has passed the command's last barrier, which opened when all
        # workers of all processes had come, and which stays open.  The threads have come there,
        # too; at most they have not yet looked, which takes nobody but themselves.  A caller
        # whose command nobody can complete, as another process has failed, does not come here: it
        # stands in ``lead``, with all memory in place, until the whole job is aborted.
        self._closed = True
        self._bound[0] = None
        self.command.opcode = LEAVE
        if self._threads:
            _publish(self._words)
        for thread in self._threads:
            thread.join()

    def bind(self, work: Work) -> None:
        """Let the commands to come be about ``work``."""
        if self._closed:
            raise RuntimeError("a pool that is closed has no threads")
        if work is self._bound[0]:
            return
        if self.size > 1:
            self._load(work)
        if len(self._threads) < self.size - 1:
            self._start()
        self._bound[0] = work
        # Threads leave compiled code, take up the new binding in Python, and count themselves.
        # Without this wait a fast leader could give a command before a thread knows the memory
        # that it is about; the thread would execute it on the memory of before.
        self.command.opcode = LEAVE
        target = int(self._seen[0]) + self.size - 1
        _publish(self._words)
        _await(self._wait, self._seen, target - 1, self._box)

    def _load(self, work: Work) -> None:
        """Compile or load here what threads run: an error there could reach nobody."""
        passed, leave = np.ones(1, np.int64), np.zeros(1, COMMAND)
        _note(passed)
        _publish(passed)
        _await(self._wait, passed, 0, self._box)
        leave["number"], leave["opcode"] = 1, LEAVE
        _work(work, leave, self._box, work.layout.first, 0)

    def _start(self) -> None:
        shared = (self._wait, self._commands, self._seen, self._bound)
        for member in range(1, self.size):
            # Daemons: a process that dies by another way than ``close`` waits for no thread.
            thread = threading.Thread(
                target=_live, args=(*shared, member), daemon=True, name=f"pool {member}"
            )
            thread.start()
            self._threads.append(thread)

    def lead(self) -> tuple[int, int, int, int]:
        """Have the command executed; return what it came to (see ``_work``)."""
        work = self._bound[0]
        if work is None:
            raise RuntimeError("a pool must be bound before it is led")
        result: tuple[int, int, int, int] = _work(
            work, self._commands, self._box, work.layout.first, LEAD
        )
        return result


def _live(wait: Any, commands: Array, seen: Array, bound: list[Work | None], member: int) -> None:
    """Serve whatever is bound, until nothing is."""
    box = np.zeros(2, np.int64)
    try:
        number = _await(wait, commands.view(np.int64), 0, box)
        while (work := bound[0]) is not None:
            _note(seen)
            number, *_ = _work(work, commands, box, work.layout.first + member, number)
            del work  # what it holds may be large
    except BaseException:  # the others wait at a barrier, where no exception reaches them
        traceback.print_exc()
        os._exit(INTERNAL_ERROR)


@compiled()
def _note(seen: Array) -> None:
    fetch_add(address_of(seen, 0), 1)
