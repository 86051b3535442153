"""What starting up must not import, and the libraries that only some modules may."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import hpcpgd
from tests.helpers.support import python

ROOT = Path(hpcpgd.__file__).parent
HEAVY = (
    *("mpi4py", "numba", "llvmlite", "cupy", "pandas", "matplotlib", "h5py", "scipy"),
    *("pooch", "requests"),
)
LOOSE = """
import sys
{}
print(*[name for name in {!r} if name in sys.modules])
"""


@pytest.mark.parametrize(
    "code",
    [
        "import hpcpgd",
        "import hpcpgd; hpcpgd.fit",
        "import hpcpgd.data, hpcpgd.data.cli",
        "import hpcpgd.train.cli",
        "import hpcpgd.cli.console",
        "import hpcpgd.doctor.cli",
        "import hpcpgd.info.cli",
        "import hpcpgd.predict.cli, hpcpgd.predict.export",
        "import hpcpgd.train.cli; sys.stdout = open('/dev/null', 'w');"
        "hpcpgd.train.cli.main(['--help']); sys.stdout = sys.__stdout__",
        "import hpcpgd.doctor.cli; sys.stdout = open('/dev/null', 'w');"
        "hpcpgd.doctor.cli.main(['--help']); sys.stdout = sys.__stdout__",
    ],
)
def test_starting_up_imports_nothing_heavy(code: str) -> None:
    done = python("-c", LOOSE.format(code, HEAVY))
    assert (done.code, done.out.split()) == (0, [])


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
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))


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
