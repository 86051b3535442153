"""The GPU of this rank: which one it is, how many ranks share it, and how MPI sums its data."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any

import numpy as np

from hpcpgd.cli.launcher import without_launcher
from hpcpgd.environment.programs import run_program
from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.device.cublas import CublasError
from hpcpgd.parallel import mpi

# How a gradient is summed over the ranks.
ALONE = "none"  # no sum: there is one rank
HOST = "host"  # in the host's memory, for backends without a GPU
DIRECT = "device"  # by GPU-aware MPI
STAGED = "staged"  # through pinned host memory
PROBE_SECONDS = 120.0
CHECKED = 2**20  # numbers in the first sum on the GPUs: about as many as a gradient has
NAME_BYTES = 64  # length of the identity of a GPU within its node


@dataclass(frozen=True)
class Gpu:
    """The GPU that a rank computes on.

    Attributes
    ----------
    sharing : int
        Ranks on one GPU: the largest number on any GPU of the job.
    free_bytes : int
        Free memory before the job allocated any.
    transport : str
        ``ALONE``, ``DIRECT`` or ``STAGED``, the same on all ranks.
    reason : str
        Why the transport is ``STAGED``, on rank 0.
    """

    device: Any
    model: str
    sharing: int
    free_bytes: int
    transport: str
    reason: str = ""

    @property
    def place(self) -> str:
        """The model and the bus of the GPU."""
        return f"{self.model} {self.device.bus_id}"

    def describe(self) -> str:
        """Return as a phrase what the ranks compute on and how they sum gradients."""
        shared = f", {self.sharing} ranks share one" if self.sharing > 1 else ""
        ways = {
            ALONE: "",
            DIRECT: ", gradients summed on the GPUs by GPU-aware MPI",
            STAGED: f", gradients summed through pinned host memory ({self.reason})",
        }
        return f"GPU {self.model}{shared}{ways[self.transport]}"


def open_device(backend: str, node_rank: int) -> Any:
    """Open the GPU for rank ``node_rank`` of a node; with more ranks than GPUs, ranks share them.

    Only visible GPUs are counted: ``CUDA_VISIBLE_DEVICES``, set by SLURM or the user, may hide
    some.

    Raises
    ------
    UnavailableError
        If CuPy or the driver is missing, or if no device is visible.
    """
    try:
        import cupy
    except (ImportError, OSError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        cause = "CuPy is not installed" if missing else f"CuPy cannot be loaded: {error}"
        raise UnavailableError(
            f"backend {backend}: {cause}: pip install 'hpcpgd[gpu13]' (CUDA 13) or "
            "'hpcpgd[gpu]' (CUDA 12), never both; backend gemm needs no GPU"
        ) from None
    from hpcpgd.kernels.device.cupy_device import CudaDevice

    try:
        count = cupy.cuda.runtime.getDeviceCount()
        if count == 0:
            raise UnavailableError(_no_device(backend, "0 devices"))
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise UnavailableError(_no_device(backend, str(error))) from None
    with device_errors(f"backend {backend}: GPU {node_rank % count} of {count}"):
        return CudaDevice(node_rank % count)


@contextmanager
def device_errors(what: str) -> Iterator[None]:
    """Turn an exception of CuPy, its compiler, CUDA or cuBLAS into an error of one line.

    Raises
    ------
    UnavailableError
        In place of the exception.  Its message begins with ``what``.
    """
    try:
        yield
    except Exception as error:
        kinds = MemoryError | CublasError | ImportError  # the last: a library of CUDA is missing
        if not (isinstance(error, kinds) or _from_cupy(error)):
            raise
        text = " ".join(str(error).split())[:400]
        raise UnavailableError(f"{what}: {type(error).__name__}: {text}") from error


def _from_cupy(error: Exception) -> bool:
    """Return whether CuPy or NVIDIA's packages raised or defined the exception."""
    places = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    names = (type(error).__module__, places[-1] if places else "")
    return any(name.split(".")[0] in ("cupy", "cupy_backends", "cuda") for name in names)


def _no_device(backend: str, cause: str) -> str:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    shown = "" if hidden is None else f" (CUDA_VISIBLE_DEVICES={hidden!r})"
    return (
        f"backend {backend}: no CUDA device is visible on {socket.gethostname()}{shown}: {cause}; "
        "run where nvidia-smi lists a GPU, or take backend gemm"
    )


def claim_gpu(ranks: mpi.Ranks, backend: str) -> Gpu:
    """Open this rank's GPU and decide how gradients are summed; collective.

    Raises
    ------
    UnavailableError
        On every rank, if some rank has no GPU.
    """
    with mpi.agreed(ranks.comm):
        device = open_device(backend, ranks.node.rank)
    free = device.free_bytes()
    sharing = _sharing(ranks, device)  # collective: all have read it before any allocates
    return Gpu(device, device.name, sharing, free, *_transport(ranks, device))


def _sharing(ranks: mpi.Ranks, device: Any) -> int:
    """Return the largest number of ranks on any GPU of the job; collective."""
    name = np.zeros(NAME_BYTES, np.uint8)
    text = device.identity.encode()[:NAME_BYTES]
    name[: len(text)] = np.frombuffer(text, np.uint8)
    same = (mpi.allgather(ranks.node, name) == name).all(axis=1)
    return int(mpi.allreduce_max(ranks.comm, float(same.sum())))


def _transport(ranks: mpi.Ranks, device: Any) -> tuple[str, str]:
    """Test whether MPI sums arrays on GPUs with the right result on all ranks; collective.

    Returns
    -------
    transport : str
    reason : str
        Why it is not ``DIRECT``, as the first rank of this node saw it.
    """
    if ranks.size == 1:
        return ALONE, ""
    problem = why_mpi_is_not_gpu_aware() if ranks.node.rank == 0 else ""
    if mpi.allreduce_max(ranks.comm, float(bool(problem))) > 0:
        return STAGED, problem or "MPI is not GPU-aware on another node"
    buffer = device.buffer(CHECKED, np.float32)
    device.write(buffer, np.full(CHECKED, 1 + ranks.rank, np.float32))
    device.synchronize()
    worked = mpi.try_sum(ranks.comm, device.exposed(buffer))
    total = ranks.size * (ranks.size + 1) / 2
    right = worked and bool((device.read(buffer, CHECKED) == total).all())
    if mpi.allreduce_max(ranks.comm, float(not right)) > 0:
        return STAGED, "a sum on the GPUs came out wrong"
    return DIRECT, ""


def why_mpi_is_not_gpu_aware() -> str:
    """Try MPI on device memory in a process of its own, because MPI may crash there.

    Returns
    -------
    str
        Why it failed, "" if it works.
    """
    command = [sys.executable, "-m", "hpcpgd.machine.gpu_probe"]
    try:
        done = run_program(command, PROBE_SECONDS, without_launcher(os.environ))
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"MPI's probe: {error}"
    if done.returncode == 0:
        return ""
    lines = [" ".join(line.split()) for line in done.stderr.splitlines() if line.strip()]
    last = f": {lines[-1][:120]}" if lines else ""
    return f"MPI is not GPU-aware: its probe ended with {done.returncode}{last}"
