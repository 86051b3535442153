"""Compile a CUDA source for the CPU, with a function for each kernel that takes ``void**``."""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILT = HERE / "built"
KERNEL = re.compile(
    r'extern "C" __global__ void __launch_bounds__\([^{]*?\)\s+(\w+)\(([^)]*)\)\s*\{'
)
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-w", "-U_FORTIFY_SOURCE")
# Else the loader would give all libraries the shared memory of the first.
PRIVATE = ("-fvisibility=hidden", "-fno-gnu-unique")
EXPORTED = 'extern "C" __attribute__((visibility("default")))'


@dataclass(frozen=True)
class Library:
    """A compiled source: ``launch``, and the C types of each kernel's parameters."""

    handle: Any
    parameters: dict[str, list[str]]


def compiler() -> str | None:
    """Return a C++ compiler, None if there is none."""
    return next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)


def kernels(source: str) -> dict[str, list[str]]:
    """Return the C type of each parameter of each kernel in ``source``."""
    found = {}
    for name, parameters in KERNEL.findall(source):
        texts = [" ".join(text.split()) for text in parameters.split(",")]
        found[name] = [re.sub(r"\s*\w+$", "", text) for text in texts]
    return found


def _entry(name: str, types: list[str]) -> str:
    arguments = ", ".join(f"*({t}*)arguments[{i}]" for i, t in enumerate(types))
    return (
        f"static void call_{name}(void** arguments) {{ {name}({arguments}); }}\n"
        f"{EXPORTED} const char* launch_{name}("
        "void** arguments, unsigned blocks, unsigned threads, int order) {\n"
        f"    return emulation::launch(call_{name}, arguments, blocks, threads, order);\n}}\n"
    )


REPORT = f"""
{EXPORTED} void take_report(long long* out) {{
    out[0] = emulation::report.warp_accesses;
    out[1] = emulation::report.conflicts;
    out[2] = emulation::report.barriers;
    emulation::report = {{}};
}}
"""


@cache
def build(source: str, watched: bool, definitions: tuple[tuple[str, str], ...]) -> Library:
    """Compile the text of a CUDA source, or take what an earlier run compiled."""
    types = kernels(source)
    assert types, "no kernel was found"
    unit = '#include "cuda_host.h"\n' + source + "\n"
    unit += "".join(_entry(name, parameters) for name, parameters in types.items()) + REPORT
    flags = [*FLAGS, *PRIVATE, *(f"-D{name}={value}" for name, value in definitions)]
    flags += ["-DWATCHED"] if watched else []
    header = (HERE / "cuda_host.h").read_text()
    digest = hashlib.sha256("\0".join((header, unit, *flags)).encode()).hexdigest()[:24]
    library = BUILT / f"{digest}.so"
    if not library.exists():
        _compile(unit, flags, library)
    return Library(ctypes.CDLL(str(library)), types)


def _compile(unit: str, flags: list[str], library: Path) -> None:
    the_compiler = compiler()
    assert the_compiler is not None
    BUILT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILT) as folder:
        path = Path(folder) / "unit.cpp"
        path.write_text(unit)
        made = path.with_suffix(".so")
        command = [the_compiler, *flags, f"-I{HERE}", str(path), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        made.replace(library)  # other ranks may compile the same
