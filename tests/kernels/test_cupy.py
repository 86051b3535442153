"""CuPy as ``kernels/device.py`` uses it, as far as that can be seen without a GPU."""

from __future__ import annotations

import ctypes
import re
from importlib.resources import files
from typing import Any

import pytest

from hpcpgd.kernels.device.cublas import Cublas, CublasError
from tests.helpers.support import TRAIN, python

cupy: Any = pytest.importorskip("cupy", reason="CuPy is not installed")
cupy.cuda.cublas  # noqa: B018  (loads libcublas, as opening a handle does)


def test_every_name_exists() -> None:
    """Names behind ``cupy.``, and those of what it returns."""
    machine = files("hpcpgd.machine")
    text = "".join((machine / name).read_text() for name in ("gpu.py", "gpu_probe.py"))
    text += (files("hpcpgd.kernels.device") / "cupy_device.py").read_text()
    names = set(re.findall(r"\bcupy\.([\w.]*\w)", text)) | set(
        re.findall(r"self\._cupy\.([\w.]*\w)", text)
    )
    assert len(names) > 10
    for name in names:
        found = cupy
        for part in name.split("."):
            found = getattr(found, part)
    runtime = cupy.cuda.runtime
    for name in ("memcpyAsync", "memsetAsync", "memcpyHostToDevice", "memcpyDeviceToHost"):
        assert hasattr(runtime, name)
    for name in ("begin_capture", "end_capture", "synchronize"):
        assert hasattr(cupy.cuda.Stream, name)
    for name in ("launch", "upload"):
        assert hasattr(cupy.cuda.Graph, name)
    for name in ("use", "pci_bus_id", "mem_info"):
        assert hasattr(cupy.cuda.Device, name)
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)
    assert issubclass(runtime.CUDARuntimeError, RuntimeError)


def test_the_library_that_cupy_loads_has_the_functions() -> None:
    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    library = ctypes.CDLL(f"libcublas.so.{major}")
    for name in ("cublasCreate_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasGemmEx"):
        assert getattr(library, name)


@pytest.mark.skipif("cupy.cuda.runtime.driverGetVersion() > 0", reason="there is a driver")
def test_without_a_driver_cublas_says_which_call_failed() -> None:
    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    with pytest.raises(CublasError, match=r"cublasCreate_v2 returned status \d"):
        Cublas(f"libcublas.so.{major}", 0, None)


@pytest.mark.skipif("cupy.cuda.runtime.driverGetVersion() > 0", reason="there is a driver")
def test_without_a_driver_the_program_says_so(tmp_path: Any) -> None:
    done = python(*TRAIN, "--backend", "cuda", ranks=2, cwd=tmp_path)
    done.one_line(69, "no CUDA device is visible")
