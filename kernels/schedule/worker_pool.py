"""Threads that carry out commands together with the one that gives them.

Between commands they wait in compiled code, first spinning, soon asleep: a command costs well
under a microsecond while steps follow each other, and no second pool spins against that of
a BLAS, which computes with one thread here.
"""

from __future__ import annotations

import os
import threading
import traceback
from dataclasses import dataclass
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
from hpcpgd.kernels.schedule.execute import (
    BAD,
    COMMAND_WORDS,
    LEAVE,
    NUMBER,
    OPCODE,
    PARITY,
    STOP,
    execute,
)

LEAD = -1  # in place of a number: the thread that gives the commands
INTERNAL_ERROR = 70  # the program's exit code for it


@compiled()
def _work(
    library: Any,
    barrier: Any,
    layout: Any,
    memory: Any,
    source: Any,
    command: Array,
    scales: Array,
    box: Array,
    worker: int,
    seen: int,
) -> int:
    """Give one command and carry it out with the other threads, or serve until one says to leave.

    Leader and threads share this function: what a command is carried out with is by far
    the largest of all compiled functions, and is compiled once.

    Parameters
    ----------
    box : ndarray of int64, shape (2,)
        This thread's own.
    seen : int
        Number of the last command that this thread carried out; ``LEAD`` for the leader.

    Returns
    -------
    int
        The number of the command to leave; for the leader how many workers raise the flags:
        those of ``STOP``, and 2**32 times those of ``BAD``.
    """
    leads = seen == LEAD
    number = address_of(command, NUMBER)
    if leads:
        exchange(number, load(number) + 1)
    while True:
        if not leads:
            seen = wait_with_backoff(barrier, number, seen, box)
            if command[OPCODE] == LEAVE:
                return seen
        execute(library, barrier, layout, memory, source, command, scales, worker)
        if leads:
            break
    status = memory.status[command[PARITY]]
    flags = 0
    for w in range(status.shape[0]):
        flags += status[w, STOP] + (status[w, BAD] << 32)
    return flags


@compiled()
def _await(barrier: Any, words: Array, index: int, old: int, box: Array) -> int:
    return wait_with_backoff(barrier, address_of(words, index), old, box)


@compiled()
def _publish(words: Array, index: int) -> None:
    exchange(address_of(words, index), load(address_of(words, index)) + 1)


@dataclass(frozen=True)
class Binding:
    """What commands are carried out on; the compiled code's arguments, made once.

    Attributes
    ----------
    arguments : tuple
        Library, barrier, layout, memory and source.
    first : int
        Worker that is thread 0 here.
    """

    arguments: tuple[Any, ...]
    first: int


class WorkerPool:
    """``size`` threads, the caller among them, from the first binding to ``close``.

    Attributes
    ----------
    command : ndarray of int64, shape (COMMAND_WORDS,)
        What ``lead`` has carried out.
    scales : ndarray of float64, shape (2,)
        Factors of the command.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.command = aligned_zeros(COMMAND_WORDS, np.int64)
        self.scales = np.zeros(2)
        self._bound: list[Binding | None] = [None]
        self._seen = aligned_zeros(LINE, np.int64)
        self._box = np.zeros(2, np.int64)
        self._wait = make_barrier(1)
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
        self.command[OPCODE] = LEAVE
        if self._threads:
            _publish(self.command, NUMBER)
        for thread in self._threads:
            thread.join()

    def bind(self, binding: Binding) -> None:
        """Let the commands to come be about ``binding``."""
        if self._closed:
            raise RuntimeError("a pool that is closed has no threads")
        if binding is self._bound[0]:
            return
        if self.size > 1:
            self._load(binding)
        if len(self._threads) < self.size - 1:
            self._start()
        self._bound[0] = binding
        self.command[OPCODE] = LEAVE
        target = int(self._seen[0]) + self.size - 1
        _publish(self.command, NUMBER)
        _await(self._wait, self._seen, 0, target - 1, self._box)

    def _load(self, binding: Binding) -> None:
        """Compile or load here what threads run: an error there could reach nobody."""
        passed, leave = np.ones(LINE, np.int64), np.zeros(COMMAND_WORDS, np.int64)
        _note(passed)
        _publish(passed, 0)
        _await(self._wait, passed, 0, 0, self._box)
        leave[NUMBER], leave[OPCODE] = 1, LEAVE
        _work(*binding.arguments, leave, self.scales, self._box, binding.first, 0)

    def _start(self) -> None:
        shared = (self._wait, self.command, self.scales, self._seen, self._bound)
        for member in range(1, self.size):
            # Daemons: a process that dies by another way than ``close`` waits for no thread.
            thread = threading.Thread(
                target=_live, args=(*shared, member), daemon=True, name=f"pool {member}"
            )
            thread.start()
            self._threads.append(thread)

    def lead(self) -> int:
        """Have the command carried out; return the flags (see ``_work``)."""
        binding = self._bound[0]
        if binding is None:
            raise RuntimeError("a pool must be bound before it is led")
        flags: int = _work(
            *binding.arguments, self.command, self.scales, self._box, binding.first, LEAD
        )
        return flags


def _live(
    wait: Any, command: Array, scales: Array, seen: Array, bound: list[Binding | None], member: int
) -> None:
    """Serve binding after binding, until there is none."""
    box = np.zeros(2, np.int64)
    try:
        number = _await(wait, command, NUMBER, 0, box)
        while (binding := bound[0]) is not None:
            _note(seen)
            number = _work(*binding.arguments, command, scales, box, binding.first + member, number)
            del binding  # what it holds may be large
    except BaseException:  # the others wait at a barrier, where no exception reaches them
        traceback.print_exc()
        os._exit(INTERNAL_ERROR)


@compiled()
def _note(seen: Array) -> None:
    fetch_add(address_of(seen, 0), 1)
