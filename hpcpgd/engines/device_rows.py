"""Copy a dataset to a GPU's memory as it is stored: pixels stay bytes."""

from __future__ import annotations

from hpcpgd.data import Dataset
from hpcpgd.data.dataset import SPLITS
from hpcpgd.engines.loader import scaling_of
from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.core.permutation import width
from hpcpgd.kernels.device.cupy_device import Buffer, Device
from hpcpgd.kernels.device.device_plan import DeviceRows
from hpcpgd.machine.gpu import Gpu

SLACK_BYTES = 512 * 2**20  # of a CUDA context, its kernels and cuBLAS


def upload(device: Device, dataset: Dataset, dtype: str) -> dict[str, DeviceRows]:
    """Copy the rows of each split to ``device``; a plan scales them to ``dtype`` later."""
    scaling, placed = scaling_of(dataset, dtype), {}
    for name in SPLITS:
        split = getattr(dataset, name)
        copies = _copy(device, split.features), _copy(device, split.labels)
        placed[name] = DeviceRows(split.rows, *copies, *scaling, width(split.rows))
    return placed


def _copy(device: Device, array: Array) -> Buffer:
    buffer = device.buffer(array.size, array.dtype)
    device.write(buffer, array)
    return buffer


def ensure_room(gpu: Gpu, network: Network, dataset: Dataset, capacity: int) -> None:
    """Refuse a run that does not fit on the GPU together with those of ranks that share it.

    Raises
    ------
    UnavailableError
        With the bytes that are needed and those that are free.
    """
    splits = [getattr(dataset, name) for name in SPLITS]
    data = sum(split.features.nbytes + split.labels.nbytes for split in splits)
    model = 2 * network.size * network.itemsize + capacity * network.bytes_per_row()
    needed = gpu.sharing * (data + model + SLACK_BYTES)
    if needed > gpu.free_bytes:
        raise UnavailableError(
            f"{gpu.model}: {gpu.sharing} ranks on one GPU need {needed / 2**30:.1f} GiB of its "
            f"memory, {gpu.free_bytes / 2**30:.1f} GiB are free: the dataset takes "
            f"{data / 2**30:.1f} GiB per rank; use fewer ranks per GPU, or --train-rows"
        )
