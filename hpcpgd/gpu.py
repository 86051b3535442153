"""The GPU of this rank: which one, who shares it, and how its sums go over MPI."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcpgd import mpi
from hpcpgd.errors import UnavailableError
from hpcpgd.launch import without_launcher

# How a gradient is summed over the ranks.
ALONE = "none"  # not at all: one rank
HOST = "host"  # backends without a GPU
DIRECT = "device"  # by GPU-aware MPI
STAGED = "staged"  # through pinned host memory
PROBE_SECONDS = 120.0
NAME_BYTES = 128  # of host and bus, which tell GPUs apart


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
    """

    device: Any
    model: str
    sharing: int
    free_bytes: int
    transport: str

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
            STAGED: ", gradients summed through pinned host memory",
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
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        cause = "CuPy is not installed" if missing else f"CuPy cannot be loaded: {error}"
        raise UnavailableError(
            f"backend {backend}: {cause}: pip install 'hpcpgd[gpu13]' (CUDA 13) or "
            "'hpcpgd[gpu]' (CUDA 12), never both; backend gemm needs no GPU"
        ) from None
    from hpcpgd.kernels.device import CudaDevice

    try:
        count = cupy.cuda.runtime.getDeviceCount()
        if count == 0:
            raise UnavailableError(_no_device(backend, "0 devices"))
        return CudaDevice(node_rank % count)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise UnavailableError(_no_device(backend, str(error))) from None


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
    found: list[Any] = []
    with mpi.agreed(ranks.comm):
        found.append(open_device(backend, ranks.node.rank))
    device = found[0]
    free = device.free_bytes()
    sharing = _sharing(ranks, device)  # collective: nobody allocates before all have looked
    return Gpu(device, device.name, sharing, free, _transport(ranks, device))


def _sharing(ranks: mpi.Ranks, device: Any) -> int:
    """Return the most ranks that any GPU of the job has; collective."""
    name = np.zeros(NAME_BYTES, np.uint8)
    text = device.bus_id.encode()[:NAME_BYTES]
    name[: len(text)] = np.frombuffer(text, np.uint8)
    same = (mpi.all_rows(ranks.node, name) == name).all(axis=1)
    return int(mpi.largest(ranks.comm, float(same.sum())))


def _transport(ranks: mpi.Ranks, device: Any) -> str:
    """Find out whether MPI sums what lies on GPUs, and shows it on all ranks; collective."""
    if ranks.size == 1:
        return ALONE
    works = 1.0
    if ranks.node.rank == 0:
        works = float(mpi_is_gpu_aware())
    if -mpi.largest(ranks.comm, -works) < 1:
        return STAGED
    buffer = device.buffer(3, np.float32)
    device.write(buffer, np.array([1, ranks.rank, 0.5], np.float32))
    device.synchronize()
    mpi.sum_in_place(ranks.comm, device.exposed(buffer))
    size = ranks.size
    right = device.read(buffer, 3).tolist() == [size, size * (size - 1) / 2, size / 2]
    return DIRECT if -mpi.largest(ranks.comm, -float(right)) == 1 else STAGED


def mpi_is_gpu_aware() -> bool:
    """Try MPI on device memory in a process of its own: where it does not work it crashes."""
    command = [sys.executable, "-m", "hpcpgd.gpu_probe"]
    try:
        done = subprocess.run(
            command,
            env=without_launcher(os.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
