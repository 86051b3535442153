"""How much memory a process may take, and the message where it was too little.

This covers ``ulimit`` and the node's memory; ``cgroup`` covers the limits of containers and jobs.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.environment import cgroup
from hpcpgd.errors import ShortageError

PACKAGE = Path(__file__).parents[1]
KIB = 2**10
MIB = 2**20
GIB = 2**30
PROCESS = Path("/proc/self/statm")  # pages: all, resident, shared, code, 0, data and stack
# Memory that Python, the libraries and a run on the digits take before any data are read.
LEAST = {"-v": 600 * MIB, "-d": 200 * MIB}
# Limits that allow a run but may be too low for MPI: shared memory files and open files.
FEW = {"-f": (resource.RLIMIT_FSIZE, 64 * MIB), "-n": (resource.RLIMIT_NOFILE, 64)}
# How the loader of libraries, the start of a thread and MPI report too little memory.
SHORT = re.compile(
    r"failed to map segment|annot allocate memory|can't start new thread|out of memory"
    r"|MPI_ERR_NO_MEM|Unable to allocate",
    re.IGNORECASE,
)
NUMBERS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Limit:
    """A limit of this process's memory.

    Attributes
    ----------
    option : str
        Of the shell's ``ulimit``.
    nbytes, used : int
        Bytes that it allows, and bytes that are taken.
    """

    option: str
    nbytes: int
    used: int

    @property
    def free(self) -> int:
        """Bytes that this process may still take."""
        return max(self.nbytes - self.used, 0)

    def describe(self) -> str:
        """Return the limit as a phrase for a message."""
        return f"{size(self.used)} of {size(self.nbytes)} are taken (ulimit {self.option})"


def _pages(process: Path) -> list[int]:
    try:
        return [int(word) for word in process.read_text().split()]
    except OSError:  # another system, which does not report what is taken
        return [0] * 7


def taken(process: Path = PROCESS) -> int:
    """Return the bytes of memory that this process has for itself."""
    pages = _pages(process)
    return (pages[1] - pages[2]) * os.sysconf("SC_PAGE_SIZE")


def limits(process: Path = PROCESS) -> list[Limit]:
    """Return the memory limits that are set for this process; most systems set none."""
    pages, page = _pages(process), os.sysconf("SC_PAGE_SIZE")
    kinds = (("-v", resource.RLIMIT_AS, pages[0]), ("-d", resource.RLIMIT_DATA, pages[5]))
    set_ones = ((option, resource.getrlimit(kind)[0], used) for option, kind, used in kinds)
    return [
        Limit(option, allowed, used * page)
        for option, allowed, used in set_ones
        if allowed != resource.RLIM_INFINITY
    ]


def tightest() -> Limit | None:
    """Return the limit that leaves this process the least, None without one."""
    return min(limits(), key=lambda limit: limit.free, default=None)


def too_little() -> str:
    """Say which limit leaves no room for any run, and what to do; "" if none does."""
    for limit in limits():
        if limit.nbytes < LEAST[limit.option]:
            return (
                f"ulimit {limit.option} allows {size(limit.nbytes)}, and Python, MPI and the "
                f"compiler take {size(LEAST[limit.option])} before there are any data: "
                f"ulimit {limit.option} unlimited"
            )
    return ""


def few() -> str:
    """Say which other limits may be too low for MPI; "" if none is."""
    allowed = {option: resource.getrlimit(kind)[0] for option, (kind, _) in FEW.items()}
    low = {option: count for option, count in allowed.items() if 0 <= count < FEW[option][1]}
    shown = {option: str(n) if option == "-n" else size(n) for option, n in low.items()}
    return ", ".join(f"ulimit {option} is {text}" for option, text in shown.items())


def shortage(error: BaseException) -> ShortageError | None:
    """Return an error with a message if ``error`` comes from too little memory, else None."""
    for cause in _causes(error):
        number = cause.errno if isinstance(cause, OSError) else None
        if isinstance(cause, MemoryError) or number in NUMBERS or SHORT.search(str(cause)):
            wanted = f"{type(cause).__name__}: {cause}" if str(cause) else _where(cause)
            if number in (errno.EMFILE, errno.ENFILE):
                return ShortageError(f"{wanted}: {few() or 'raise ulimit -n'}")
            return ShortageError(f"too little memory: {wanted}: {there()}")
    return None


def physical_memory() -> int:
    """Return the memory in bytes that this machine has or this job may use, the smaller."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limited = [int(words[0]) for words in cgroup.limits("memory.max") if words != ["max"]]
    return min([installed, *limited])


def there() -> str:
    """Return how much memory there is, and what to do if it is too little."""
    limit = tightest()
    if limit is not None:
        return f"{limit.describe()}; take a smaller problem, or raise the limit"
    has = f"this machine, or job, has {size(physical_memory())}"
    return f"{has}; take a smaller problem, or fewer ranks a node"


def _where(error: BaseException) -> str:
    """Return which function of this package asked for more memory."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if PACKAGE in Path(frame.filename).parents]
    if not ours:
        return "none is left"
    return f"{ours[-1].name} ({Path(ours[-1].filename).name}) wanted more"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        earlier = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or earlier


def size(nbytes: int) -> str:
    """Return a number of bytes in words."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB")):
        if nbytes >= 10 * unit:
            return f"{nbytes / unit:.0f} {name}"
    return f"{nbytes / KIB:.0f} KiB"
