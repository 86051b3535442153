"""The one module that imports mpi4py: starting, stopping and the collectives we use.

Every function that takes ``comm`` first and sends messages is collective over it.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np

from hpcpgd import errors
from hpcpgd.cli.launcher import MPI_CURE, mismatch, wait_for_reader
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.environment.memory_limits import shortage
from hpcpgd.kernels.core.freed_memory import forbid
from hpcpgd.kernels.core.network import Array
from hpcpgd.parallel import startup

startup.settle(os.environ)
try:
    import mpi4py

    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = False

    from mpi4py import MPI as MPI  # the settings above must come first; others take it from here
except (ImportError, RuntimeError) as error:
    unloaded = errors.UnavailableError(f"MPI cannot be loaded: {error}: {MPI_CURE}")
    raise shortage(error) or unloaded from None

Comm = MPI.Comm  # for annotations in other modules
PIECE = 2**30  # items of one call: counts stay below 2**31 for every MPI library
LOOK_SECONDS = 0.002  # seconds between two tests while another rank works for seconds
patient_barriers = 0  # how many this process has entered


@dataclass(frozen=True)
class Ranks:
    """A duplicated communicator, and on which nodes its ranks are.

    Attributes
    ----------
    comm : Comm
        Duplicate of the user's communicator.
    node : Comm
        The ranks that share this rank's memory.
    rank, size : int
        This rank and the number of ranks.
    nodes : int
        Number of nodes.
    """

    comm: MPI.Comm
    node: MPI.Comm
    rank: int
    size: int
    nodes: int


def initialise(endings: startup.Endings | None = None) -> MPI.Comm:
    """Initialise MPI unless it is initialised, and return the world communicator.

    The caller calls ``finish`` before the program ends.  ``endings`` says how this process ends
    if MPI does not start.
    """
    if not MPI.Is_initialized():
        startup.initialise(MPI, endings or startup.Endings("hpcpgd"))
    return MPI.COMM_WORLD


def start(program: str = "hpcpgd") -> MPI.Comm:
    """Initialise MPI as ``initialise`` does, under a launcher that fits.

    Raises
    ------
    ConfigError
        If the launcher started several ranks but each is alone.
    """
    world = initialise(startup.Endings(program))
    problem = mismatch(world.size)
    if problem:
        raise errors.ConfigError(problem)
    fault_point("start")
    return world


def start_in_program(comm: MPI.Comm | None) -> MPI.Comm:
    """Return ``comm`` or all ranks; start MPI unless the program has, and end it with Python."""
    if not (comm is None or isinstance(comm, MPI.Comm)):
        raise errors.UsageError(
            f"comm is of type {type(comm).__name__}: expected a communicator of mpi4py, such as "
            "MPI.COMM_WORLD"
        )
    if MPI.Is_finalized():
        raise errors.UnavailableError("MPI is finalised: train before MPI.Finalize is called")
    if not MPI.Is_initialized():
        start()
        atexit.register(_finalise)
    return MPI.COMM_WORLD if comm is None else comm


def _finalise() -> None:
    """End MPI with Python; not ``finish``, whose thread cannot start while Python ends."""
    if not MPI.Is_finalized():
        MPI.Finalize()


def finish() -> None:
    """Finalise MPI, after which nothing here may be called."""
    fault_point("exit")
    if MPI.Is_initialized() and not MPI.Is_finalized():
        startup.finalise(MPI)


def join(comm: MPI.Comm) -> Ranks:
    """Duplicate ``comm`` and find out which of its ranks share a node."""
    own = comm.Dup()
    node = own.Split_type(MPI.COMM_TYPE_SHARED, own.rank)
    leaders = np.array([node.rank == 0], np.int64)
    own.Allreduce(MPI.IN_PLACE, leaders, MPI.SUM)
    return Ranks(own, node, own.rank, own.size, int(leaders[0]))


def split(ranks: Ranks, colour: int) -> Ranks:
    """Return the ranks that passed the same colour as this one; collective."""
    part = ranks.comm.Split(colour, ranks.rank)
    own = join(part)
    part.Free()
    return own


def split_within(comm: MPI.Comm, colour: int | None) -> MPI.Comm | None:
    """Return the communicator of the ranks of one colour, in order; None for no colour."""
    part = comm.Split(MPI.UNDEFINED if colour is None else colour, comm.rank)
    return None if part == MPI.COMM_NULL else part


def same_machine(comm: MPI.Comm, identity: bytes) -> MPI.Comm:
    """Return the communicator of the ranks that passed the same ``identity``; collective.

    A colour has 31 bits.  Two splits by different bits of a hash make it practically impossible
    that two identities get the same colours.
    """
    digest = hashlib.sha256(identity).digest()
    first, second = (int.from_bytes(part, "big") >> 1 for part in (digest[:4], digest[4:8]))
    half = comm.Split(first, comm.rank)
    found = half.Split(second, comm.rank)
    half.Free()
    return found


def leave(ranks: Ranks) -> None:
    """Free the communicators of ``join``."""
    ranks.node.Free()
    ranks.comm.Free()


def abort(comm: MPI.Comm, code: int) -> NoReturn:
    """End every rank of the job with ``code``; not collective."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # whatever fails here must not prevent Abort
            stream.flush()
            wait_for_reader(stream.fileno())  # at Abort the launcher drops unread output
    comm.Abort(code)
    os._exit(code)  # for an MPI whose Abort returns


def abort_with_traceback(comm: MPI.Comm, error: BaseException) -> NoReturn:
    """Print an unexpected error with this rank's number and end the job with 70."""
    text = "".join(traceback.format_exception(error))
    sys.stderr.write(f"hpcpgd: internal error on rank {comm.rank} of {comm.size}\n{text}")
    abort(comm, 70)


def allreduce_sum(comm: MPI.Comm, array: Array) -> None:
    """Replace ``array`` by its sum over the ranks (algorithm 5's join)."""
    flat = array.reshape(-1)
    for begin in range(0, flat.size, PIECE):
        comm.Allreduce(MPI.IN_PLACE, flat[begin : begin + PIECE], MPI.SUM)


def iallreduce_sum(comm: MPI.Comm, array: Array) -> MPI.Request:
    """Start to replace ``array`` by its sum over the ranks; return the request."""
    return comm.Iallreduce(MPI.IN_PLACE, array, MPI.SUM)


def progress(requests: list[MPI.Request]) -> None:
    """Let MPI progress these requests; not collective."""
    for request in requests:
        request.Test()


def allgatherv(comm: MPI.Comm, own: Array, counts: list[int], out: Array) -> None:
    """Fill ``out`` with every rank's ``own``, in rank order; rank r has ``counts[r]`` numbers."""
    places = [sum(counts[:rank]) for rank in range(comm.size)]
    kind = MPI._typedict[own.dtype.char]
    comm.Allgatherv([own, kind], [out, counts, places, kind])


def shared_bytes(comm: MPI.Comm, nbytes: int) -> tuple[Array, MPI.Win]:
    """Return zeroed memory that all ranks of ``comm``, on one node, share; and its window."""
    window = MPI.Win.Allocate_shared(
        nbytes if comm.rank == 0 else 0, 1, comm=cast(MPI.Intracomm, comm)
    )
    buffer: Any = window.Shared_query(0)[0]
    memory = np.frombuffer(buffer, np.uint8, nbytes)
    window.Lock_all()
    if comm.rank == 0:
        memory[:] = 0
    window.Sync()
    comm.Barrier()
    window.Sync()
    return memory, window


def free_window(window: MPI.Win) -> None:
    """Free shared memory, which no rank may read any more; collective."""
    buffer: Any = window.Shared_query(0)[0]
    address, nbytes = buffer.address, buffer.nbytes
    window.Unlock_all()
    window.Free()
    forbid(address, nbytes)


def allreduce_min(comm: MPI.Comm, array: Array) -> None:
    """Replace ``array`` by its elementwise minimum over the ranks."""
    comm.Allreduce(MPI.IN_PLACE, array, MPI.MIN)


def allreduce_max(comm: MPI.Comm, value: float) -> float:
    """Return the largest of the ranks' values."""
    box = np.array([value])
    comm.Allreduce(MPI.IN_PLACE, box, MPI.MAX)
    return float(box[0])


def gather(comm: MPI.Comm, row: Array) -> Array | None:
    """Return every rank's ``row`` stacked on rank 0, None elsewhere."""
    out = np.empty((comm.size, *row.shape), row.dtype) if comm.rank == 0 else None
    comm.Gather(row, out, root=0)
    return out


def allgather(comm: MPI.Comm, row: Array) -> Array:
    """Return every rank's ``row`` stacked, on every rank."""
    out = np.empty((comm.size, *row.shape), row.dtype)
    comm.Allgather(row, out)
    return out


def bcast(comm: MPI.Comm, array: Array, root: int = 0) -> None:
    """Fill ``array`` on every rank with that of ``root``, in pieces."""
    flat = array.reshape(-1).view(np.uint8)
    for begin in range(0, flat.size, PIECE):
        comm.Bcast(flat[begin : begin + PIECE], root=root)


def bcast_bytes(comm: MPI.Comm, data: bytes | memoryview, root: int = 0) -> bytes:
    """Return ``root``'s ``data`` on every rank."""
    length = np.array([len(data)], np.int64)
    comm.Bcast(length, root=root)
    box = np.zeros(int(length[0]), np.uint8)
    if comm.rank == root:
        box[:] = np.frombuffer(data, np.uint8)
    bcast(comm, box, root)
    return box.tobytes()


def allgather_texts(comm: MPI.Comm, text: str) -> list[str]:
    """Return every rank's ``text``, on every rank."""
    data = text.encode()
    longest = np.array([len(data)], np.int64)
    comm.Allreduce(MPI.IN_PLACE, longest, MPI.MAX)
    row = np.zeros(max(int(longest[0]), 1), np.uint8)
    row[: len(data)] = np.frombuffer(data, np.uint8)
    return [bytes(r).rstrip(b"\0").decode() for r in allgather(comm, row)]


def threads_may_call() -> bool:
    """Return whether several threads of a rank may call MPI at once."""
    return bool(MPI.Query_thread() == MPI.THREAD_MULTIPLE)


def isend_bytes(comm: MPI.Comm, data: bytes, to: int) -> MPI.Request:
    """Start to send ``data`` to a rank, which need not receive it; return the request."""
    return comm.Isend(np.frombuffer(data, np.uint8), dest=to)


def poll_bytes(comm: MPI.Comm) -> tuple[int, bytes] | None:
    """Return the sender and the content of a message that has arrived; None if none has."""
    status = MPI.Status()
    if not comm.Iprobe(status=status):
        return None
    box = np.zeros(status.Get_count(MPI.BYTE), np.uint8)
    comm.Recv(box, source=status.source)
    return status.source, box.tobytes()


def patient_barrier(comm: MPI.Comm) -> None:
    """Wait for all ranks, and sleep meanwhile: spinning would slow down a rank that works."""
    global patient_barriers
    patient_barriers += 1
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(LOOK_SECONDS)


def raised_on_all(comm: MPI.Comm, error: BaseException) -> bool:
    """Return whether every rank raises ``error``: all may then call collectives, none waits."""
    return comm.size == 1 or (isinstance(error, errors.HpcpgdError) and error.agreed)


@contextmanager
def agreed(comm: MPI.Comm) -> Iterator[None]:
    """Run the body on every rank; an expected error on any, or too little memory, is raised on all.

    Raises
    ------
    HpcpgdError
        That of the lowest rank that failed, of the same class, with its message.
    """
    error: errors.HpcpgdError | None = None
    try:
        yield
    except errors.HpcpgdError as caught:
        error = caught
    except Exception as caught:
        error = shortage(caught)
        if error is None:  # not an expected error
            raise
    patient_barrier(comm)
    first = np.array([comm.size if error is None else comm.rank], np.int64)
    allreduce_min(comm, first)
    root = int(first[0])
    if root == comm.size:
        return
    text = f"{type(error).__name__}\n{error}" if comm.rank == root else ""
    # File names in messages need not be UTF-8.
    data = bcast_bytes(comm, text.encode("utf-8", "surrogateescape"), root)
    name, message = data.decode("utf-8", "surrogateescape").split("\n", 1)
    if root > 0:
        message = f"rank {root}: {message}"
    raise getattr(errors, name)(message, agreed=True) from error


def try_sum(comm: MPI.Comm, array: Any) -> bool:
    """Sum ``array`` in place over the ranks; False if MPI reports an error."""
    try:
        allreduce_sum(comm, array)
    except MPI.Exception:
        return False
    return True


def exchange_and_add(comm: MPI.Comm, array: Any, total: Any, moved: Any) -> None:
    """Send ``array`` to this rank itself, into ``moved``, and add it to ``total``."""
    comm.Sendrecv(array, dest=comm.rank, recvbuf=moved, source=comm.rank)
    MPI.SUM.Reduce_local(array, total)


def implementation() -> str:
    """Return the MPI library's name and version, one line."""
    return " ".join(MPI.Get_library_version().strip("\0").split("\n")[0].split())
