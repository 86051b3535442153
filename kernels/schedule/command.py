"""Commands to workers and their reports, with the same names in Python and in compiled code.

A ctypes structure uses the memory of a NumPy record.  Python sets the structure's fields as
fast as elements of an array, and compiled code reads the record's fields of the same names.
"""

from __future__ import annotations

from ctypes import Structure, c_double, c_int64
from typing import NamedTuple

import numpy as np

# Opcodes: run phases of a schedule; update a whole vector; update from packed units; leave the
# binding.
PROPAGATE, DESCEND, APPLY, LEAVE = range(4)


class Command(Structure):
    """The command that all workers of a process execute next.

    Attributes
    ----------
    number : int
        Grows with each command.  Threads spin on it, so no other field is on its cache line.
    opcode : int
    begin, end : int
        Phases, the first and one after the last.
    count : int
        Rows of the pass.
    parity : int
        Which of two statuses the workers report in, 0 or 1.
    learn, packed, load, stop : int
        Whether deltas are needed; whether the target is packed; whether rows are gathered
        first; whether this process requests a stop of all.
    load_begin, load_end, position, epoch : int
        As in ``Rows``.
    scale, before : float
        The target becomes ``scale * gradient + before * target``.
    rule, rate, decay, keep, momentum, correction
        Of an update, together with ``scale``: see ``optimisers.Update``.
    """

    _fields_ = [
        ("number", c_int64),
        ("_line", c_int64 * 7),
        *[
            (name, c_int64)
            for name in (
                "opcode", "begin", "end", "count", "parity", "learn", "packed", "load", "stop",
                "load_begin", "load_end", "position", "epoch", "rule",
            )
        ],
        *[
            (name, c_double)
            for name in ("scale", "before", "rate", "decay", "keep", "momentum", "correction")
        ],
        ("_rest", c_int64 * 3),
    ]  # fmt: skip


class Status(Structure):
    """A worker's report on a command, which fills one cache line.

    Attributes
    ----------
    stop, bad : int
        Whether its process requests a stop; whether the worker saw NaN or Inf in a gradient.
    waited, loaded : int
        Nanoseconds at barriers; nanoseconds of gathering rows.
    """

    _fields_ = [
        *[(name, c_int64) for name in ("stop", "bad", "waited", "loaded")],
        ("_timespec", c_int64 * 2),  # clock_gettime writes here
        ("_rest", c_int64 * 2),
    ]


COMMAND, STATUS = np.dtype(Command), np.dtype(Status)
TIMESPEC: int = Status._timespec.offset
# A phase, for compiled code; ``sync`` says whether a barrier follows it.
PHASE = np.dtype([(name, np.int64) for name in ("kind", "layer", "parts", "tiles", "sync")])


class PassResult(NamedTuple):
    """The result of a command, the same in all processes except for the times.

    Attributes
    ----------
    stops, bad : int
        Number of processes that request a stop; number of workers that saw NaN or Inf in a
        gradient.
    waited, loaded : float
        Seconds that thread 0 of this process spent at barriers; seconds of gathering rows.
    """

    stops: int
    bad: int
    waited: float
    loaded: float
