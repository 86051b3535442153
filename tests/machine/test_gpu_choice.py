"""Which GPU a rank takes, of those that are visible to it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.device import cupy_device
from hpcpgd.machine import gpu


def visible(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let CuPy see so many devices, as CUDA_VISIBLE_DEVICES decides."""
    runtime = SimpleNamespace(getDeviceCount=lambda: count, CUDARuntimeError=RuntimeError)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    monkeypatch.setattr(cupy_device, "CudaDevice", lambda number: number)


@pytest.mark.parametrize(
    ("count", "taken"),
    [
        (4, [0, 1, 2, 3, 0, 1]),  # all of the node's, as with --gpus-per-node=4
        (1, [0, 0, 0, 0, 0, 0]),  # its own alone, as with --gpus-per-task=1
        (3, [0, 1, 2, 0, 1, 2]),
    ],
)
def test_by_the_rank_on_the_node(
    count: int, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    visible(monkeypatch, count)
    assert [gpu.open_device("cuda", rank) for rank in range(6)] == taken


@pytest.mark.parametrize("hidden", ["", "NoDevFiles"])
def test_all_hidden(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    visible(monkeypatch, 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    with pytest.raises(UnavailableError, match=f"CUDA_VISIBLE_DEVICES='{hidden}'"):
        gpu.open_device("cuda", 0)
