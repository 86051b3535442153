"""The GPU of this rank: which one, who shares it, and how its sums go over MPI."""

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
ALONE = "none"  # not at all: one rank
HOST = "host"  # backends without a GPU
DIRECT = "device"  # by GPU-aware MPI
STAGED = "staged"  # through pinned host memory
PROBE_SECONDS = 120.0
CHECKED = 2**20  # numbers of a first sum on the GPUs: as large as a gradient
NAME_BYTES = 64  # of what tells the GPUs of a node apart


@dataclass(frozen=True)
class Gpu:
    """What a rank computes on.

    Attributes
    ----------
    device : Device
    model : str
    sharing : int
        Ranks on one GPU, the largest number of any GPU of the job.
    free_bytes : int
        Of its memory, before the job took any.
    transport : str
        ``ALONE``, ``DIRECT`` or ``STAGED``, the same on all ranks.
    reason : str
        Why it is ``STAGED``, on rank 0.
    """

    device: Any
    model: str
    sharing: int
    free_bytes: int
    transport: str
    reason: str = ""

    @property
    def place(self) -> str:
        """Name model and bus."""
        return f"{self.model} {self.device.bus_id}"

    def describe(self) -> str:
        """Say in words what the ranks compute on and how they sum."""
        shared = f", {self.sharing} ranks share one" if self.sharing > 1 else ""
        ways = {
            ALONE: "",
            DIRECT: ", gradients summed on the GPUs by GPU-aware MPI",
            STAGED: f", gradients summed through pinned host memory ({self.reason})",
        }
        return f"GPU {self.model}{shared}{ways[self.transport]}"


def open_device(backend: str, node_rank: int) -> Any:
    """Open the GPU for the ``node_rank``-th rank of a node, in turns if there are fewer.

    SLURM or the user may have hidden some or all but one with ``CUDA_VISIBLE_DEVICES``:
    what is visible is counted.

    Raises
    ------
    UnavailableError
        Without CuPy, without a driver, or if no device is visible.
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
    """Turn what goes wrong in CuPy, its compiler, CUDA or cuBLAS into one line.

    Raises
    ------
    UnavailableError
        In place of their exceptions; it begins with ``what``.
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
    """Return whether CuPy or NVIDIA's packages raised it: their own, or from within them."""
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
    """Open this rank's GPU and find out how gradients are summed; collective.

    Raises
    ------
    UnavailableError
        On every rank, if some rank has no GPU.
    """
    with mpi.agreed(ranks.comm):
        device = open_device(backend, ranks.node.rank)
    free = device.free_bytes()
    sharing = _sharing(ranks, device)  # collective: nobody allocates before all have looked
    return Gpu(device, device.name, sharing, free, *_transport(ranks, device))


def _sharing(ranks: mpi.Ranks, device: Any) -> int:
    """Return the most ranks that any GPU of the job has; collective."""
    name = np.zeros(NAME_BYTES, np.uint8)
    text = device.identity.encode()[:NAME_BYTES]
    name[: len(text)] = np.frombuffer(text, np.uint8)
    same = (mpi.allgather(ranks.node, name) == name).all(axis=1)
    return int(mpi.allreduce_max(ranks.comm, float(same.sum())))


def _transport(ranks: mpi.Ranks, device: Any) -> tuple[str, str]:
    """Find out whether MPI sums what lies on GPUs, and shows it on all ranks; collective.

    Returns
    -------
    transport : str
    reason : str
        Why not ``DIRECT``, from the first rank of this node.
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
    """Try MPI on device memory in a process of its own: where it does not work it crashes.

    Returns
    -------
    str
        What went wrong, "" if it works.
    """
    command = [sys.executable, "-m", "hpcpgd.machine.gpu_probe"]
    try:
        done = run_program(command, PROBE_SECONDS, without_launcher(os.environ))
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"MPI's probe: {error}"
    if done.returncode == 0:
        return ""
    said = [" ".join(line.split()) for line in done.stderr.splitlines() if line.strip()]
    last = f": {said[-1][:120]}" if said else ""
    return f"MPI is not GPU-aware: its probe ended with {done.returncode}{last}"
