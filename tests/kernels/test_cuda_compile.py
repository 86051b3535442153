"""The CUDA sources compile with NVRTC for two generations of GPUs, and stay in registers."""

from __future__ import annotations

import ctypes
import re
from importlib.metadata import PackageNotFoundError, files
from importlib.resources import files as resources
from typing import Any

import pytest

from hpcpgd.kernels.backends.cuda_loops import MICROS
from hpcpgd.kernels.device import cuda_source
from hpcpgd.kernels.device.cupy_device import C_TYPES
from tests.emulation.build import kernels

PACKAGE = "nvidia-cuda-nvrtc"


def the_nvrtc() -> Any:
    """Return the library that CuPy compiles with, from NVIDIA's package."""
    try:
        found = [f for f in files(PACKAGE) or () if re.match(r"libnvrtc\.so", f.name)]
    except PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed")
    return ctypes.CDLL(str(found[0].locate()))


def compile_source(
    source: str, architecture: str, definitions: dict[str, str]
) -> tuple[str, bytes]:
    """Return the compiler's log and the machine code."""
    nvrtc, program = the_nvrtc(), ctypes.c_void_p()
    text = cuda_source.read(source).encode()
    assert (
        nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, source.encode(), 0, None, None) == 0
    )
    options = [f"--gpu-architecture={architecture}"]
    options += ["--std=c++17", "--ptxas-options=-v", "-ftz=true"]
    options += [f"-D{name}={value}" for name, value in definitions.items()]
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert not failed, log.value.decode()
    assert nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)) == 0
    code = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, code)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode(), code.raw


def variants() -> list[tuple[str, dict[str, str]]]:
    """Return every source with every set of definitions that a plan compiles it with."""
    found = []
    for dtype, micros in MICROS.items():
        real = {"REAL": C_TYPES[dtype]}
        found += [(source, real) for source in ("output.cu", "update.cu", "cuda.cu")]
        found += [("gather.cu", {**real, "FEATURE": feature}) for feature in C_TYPES.values()]
        found += [("cuda_loops.cu", {**real, "MICRO": str(micro)}) for micro in micros]
    return found


older = pytest.mark.long(reason="the older of two generations; the newer always runs")


@pytest.mark.parametrize("architecture", [pytest.param("sm_80", marks=older), "sm_90"])
@pytest.mark.parametrize(("source", "definitions"), variants(), ids=str)
def test_compiles_without_spills(
    source: str, definitions: dict[str, str], architecture: str
) -> None:
    log, code = compile_source(source, architecture, definitions)
    assert "warning" not in log.lower()
    names = kernels(cuda_source.read(source))
    assert names
    frames = re.findall(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill", log
    )
    assert frames == [("0", "0", "0")] * len(names)
    for name in names:
        assert name.encode() in code


def test_every_source_is_compiled_above() -> None:
    files = resources("hpcpgd.kernels.device").iterdir()
    sources = {file.name for file in files if file.name.endswith(".cu")}
    assert sources == {source for source, _ in variants()}


def test_includes_are_put_in_once() -> None:
    text = cuda_source.read("gather.cu")
    assert "#include" not in text
    assert text.count("typedef REAL real;") == 1
    assert "feistel(" in text
