"""What imports what: the layers, and what starting up must not cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hpcpgd

ROOT = Path(hpcpgd.__file__).parent
HEAVY = ("mpi4py", "numba", "llvmlite", "cupy", "pandas", "matplotlib", "h5py", "scipy")
LOOSE = """
import sys
{}
print(*[name for name in {!r} if name in sys.modules])
"""


@pytest.mark.parametrize(
    "code",
    [
        "import hpcpgd",
        "import hpcpgd.train",
        "import hpcpgd.cli",
        "import hpcpgd.doctor.cli",
        "import hpcpgd.train; sys.stdout = open('/dev/null', 'w');"
        "hpcpgd.train.main(['--help']); sys.stdout = sys.__stdout__",
        "import hpcpgd.doctor.cli; sys.stdout = open('/dev/null', 'w');"
        "hpcpgd.doctor.cli.main(['--help']); sys.stdout = sys.__stdout__",
    ],
)
def test_starting_up_imports_nothing_heavy(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOSE.format(code, HEAVY)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == []


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports at run time (not under TYPE_CHECKING)."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(str(node.module))
    return found


FILES = sorted(p for p in ROOT.rglob("*.py") if "kernels" not in p.parts[len(ROOT.parts) :])
KERNELS = sorted((ROOT / "kernels").glob("*.py"))


def test_kernels_know_only_arrays() -> None:
    allowed = {"numpy", "numba", "llvmlite", "ctypes", "cupy", "hpcpgd"}
    for path in KERNELS:
        for name in imports(path):
            top = name.split(".")[0]
            assert top in allowed or top in sys.stdlib_module_names, f"{path.name}: {name}"
            assert top != "hpcpgd" or name.startswith("hpcpgd.kernels"), f"{path.name}: {name}"


def test_one_module_imports_mpi4py() -> None:
    assert len(FILES) > 20
    users = [p.name for p in FILES if any(n.split(".")[0] == "mpi4py" for n in imports(p))]
    assert users == ["mpi.py"]


def test_lower_layers_do_not_know_the_upper_ones() -> None:
    upper = {
        "hpcpgd.train",
        "hpcpgd.job",
        "hpcpgd.session",
        "hpcpgd.cli",
        "hpcpgd.training",
        "hpcpgd.planning",
    }
    lower = ["data", "results", "reductions"]
    for path in FILES:
        if path.parent.name in lower or path.name in ("mpi.py", "model.py", "config.py"):
            assert not imports(path) & upper, path
