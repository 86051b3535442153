"""What workers are given and what they report: the same names in Python and in compiled code.

A ctypes structure lies over the memory of a NumPy record.  Python sets its fields at the cost
of an array's elements, and compiled code reads the record's fields of the same names.
"""

from __future__ import annotations

from ctypes import Structure, c_double, c_int64
from typing import NamedTuple

import numpy as np

# What a command asks for: phases of a schedule; the update of a whole vector, or of packed
# units; the end of the binding.
PROPAGATE, DESCEND, APPLY, LEAVE = range(4)


class Command(Structure):
    """What all workers of a process carry out next.

    Attributes
    ----------
    number : int
        Grows with each command.  Threads wait for that, so it has a cache line alone.
    opcode : int
    begin, end : int
        Phases, the first and one after the last.
    count : int
        Rows of the pass.
    parity : int
        Which of two statuses the workers report in.
    learn, packed, load, stop : int
        Whether deltas are needed; whether the target is packed; whether rows are gathered
        first; whether this process asks all to stop.
    load_begin, load_end, position, epoch : int
        As in ``Rows``.
    scale, before : float
        A gradient becomes ``scale * sum + before * what stood there``; the rate of an update
        is ``scale``.
    """

    _fields_ = [
        ("number", c_int64),
        ("_line", c_int64 * 7),
        *[
            (name, c_int64)
            for name in (
                "opcode", "begin", "end", "count", "parity", "learn", "packed", "load", "stop",
                "load_begin", "load_end", "position", "epoch",
            )
        ],
        ("scale", c_double),
        ("before", c_double),
        ("_rest", c_int64),
    ]  # fmt: skip


class Status(Structure):
    """What a worker reports of a command, on a cache line of its own.

    Attributes
    ----------
    stop, bad : int
        Whether its process asked to stop, and whether it met NaN or Inf in a gradient.
    waited, loaded : int
        Nanoseconds at barriers, and in gathering rows.
    """

    _fields_ = [
        *[(name, c_int64) for name in ("stop", "bad", "waited", "loaded")],
        ("_timespec", c_int64 * 2),  # where the system puts the time
        ("_rest", c_int64 * 2),
    ]


COMMAND, STATUS = np.dtype(Command), np.dtype(Status)
TIMESPEC: int = Status._timespec.offset
# A phase as compiled code takes it; ``sync`` says whether workers meet after it.
PHASE = np.dtype([(name, np.int64) for name in ("kind", "layer", "parts", "tiles", "sync")])


class PassResult(NamedTuple):
    """What a command came to, the same for all workers but for the times.

    Attributes
    ----------
    stops, bad : int
        Workers whose process asked to stop, and workers that met NaN or Inf in a gradient.
    waited, loaded : float
        Seconds that this process's thread 0 was at barriers, and gathered rows.
    """

    stops: int
    bad: int
    waited: float
    loaded: float
