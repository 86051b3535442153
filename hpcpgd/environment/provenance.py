"""Where a run was made and with what: host, processor, libraries, source revision."""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from hpcpgd.environment.programs import answer_of

ASK_SECONDS = 10.0
DRIVER = Path("/proc/driver/nvidia/version")


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    elif sys.platform == "darwin":
        command = ("sysctl", "-n", "machdep.cpu.brand_string")
        return answer_of(command, ASK_SECONDS).strip() or platform.machine()
    return platform.processor() or platform.machine()


def has_driver() -> bool:
    """Return whether NVIDIA's driver is here."""
    return DRIVER.exists() or shutil.which("nvidia-smi") is not None


def git_revision() -> str:
    """Return the commit of the checkout that this package runs from, "" outside of one.

    ``-dirty`` follows when tracked files differ from it.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    options = ("--always", "--dirty", "--abbrev=40", "--exclude=*")
    return answer_of(("git", "-C", str(root), "describe", *options), ASK_SECONDS).strip()


def hash_of_sources(folder: Path) -> str:
    """Return the hexadecimal SHA-256 of the names and texts of a package's modules."""
    digest = hashlib.sha256()
    # In a checkout the kernels are behind a symbolic link, into which rglob does not go.
    for path in sorted({*folder.rglob("*.py"), *(folder / "kernels").rglob("*.py")}):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def blas_pool(path: str) -> dict[str, Any]:
    """Return threadpoolctl's entry for the BLAS library at ``path``, empty if it has none."""
    from threadpoolctl import threadpool_info

    name = Path(path).name
    pools = (pool for pool in threadpool_info() if Path(pool["filepath"]).name == name)
    return next(pools, {})


def blas_library(blas: Any, kernel: bool = True) -> str:
    """Name the BLAS that ``blas`` calls: version, file, and the kernel that it has chosen."""
    if blas is None:
        return "none"
    name, pool = Path(blas.path).name, blas_pool(blas.path)
    if not pool:
        return name
    chosen = (blas.mkl or pool.get("architecture")) if kernel else None
    parts = (pool["internal_api"], pool["version"], chosen)
    return " ".join(str(part) for part in parts if part) + f" ({name})"
