"""The rooms of the package: every module lies in one, and imports point down."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

import hpcpgd

# From the top: a room imports those after it in this table, and no other.
ROOMS = (
    "doctor", "study", "info", "compile", "estimators", "predict", "train", "checkpoint", "results",
    "reductions", "engines", "machine", "parallel", "config", "data", "cli", "environment",
    "kernels.backends", "kernels.device", "kernels.schedule", "kernels.tiles", "kernels.blas",
    "kernels.core",
)  # fmt: skip
# What every room may import; the command ``python -m hpcpgd`` stands above all.
FLAT = ("hpcpgd", "hpcpgd.errors", "hpcpgd.version", "hpcpgd.kernels")
TOP = "hpcpgd.__main__"
# The same thing in every room that has one.
OFTEN = ("__main__", "cli")


@cache
def modules() -> dict[str, Path]:
    """Return every module of the package by its name, those behind the symbolic link too."""
    root = Path(hpcpgd.__file__).parent
    found = {}
    for folder in (root, root / "kernels"):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(root.parent).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def imports() -> dict[str, set[str]]:
    """Return the modules of the package that each one imports, wherever in its text."""
    return {name: _imports(path) - {name} for name, path in modules().items()}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules() else str(node.module))
    return found & set(modules())


def room(module: str) -> str:
    """Return the room of a module, "" for those that lie flat."""
    inner = module.removeprefix("hpcpgd.")
    return next((name for name in ROOMS if f"{inner}.".startswith(f"{name}.")), "")


def test_every_module_lies_in_a_room() -> None:
    assert len(modules()) > 150
    assert sorted(name for name in modules() if not room(name)) == sorted((*FLAT, TOP))
    assert {room(name) for name in modules()} == {*ROOMS, ""}


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_those_below_it(name: str) -> None:
    below = {*ROOMS[ROOMS.index(name) :], ""}
    upwards = [
        f"{module} imports {other}"
        for module, others in imports().items()
        if room(module) == name
        for other in sorted(others)
        if room(other) not in below or other == TOP
    ]
    assert upwards == []


@pytest.mark.parametrize("name", FLAT)
def test_what_lies_flat_imports_no_room(name: str) -> None:
    assert {room(other) for other in imports()[name]} <= {""}


def test_no_files_import_each_other_in_a_circle() -> None:
    left = {name: set(others) for name, others in imports().items()}
    # A package's own file is imported before its modules, which may use its names.
    while free := {name for name, others in left.items() if not others & set(left)}:
        for name in free:
            del left[name]
    assert left == {}


def test_a_name_of_a_file_says_one_thing() -> None:
    places = defaultdict(list)
    for name, path in modules().items():
        if path.name != "__init__.py":
            places[path.stem].append(name)
    assert {s: p for s, p in places.items() if len(p) > 1 and s not in OFTEN} == {}
    folders = Counter(name.rpartition(".")[2] for name in ROOMS)
    assert folders.most_common(1)[0][1] == 1


def test_every_room_says_what_lives_there_and_what_it_may_import() -> None:
    for name in ROOMS:
        text = ast.get_docstring(ast.parse(modules()[f"hpcpgd.{name}"].read_text())) or ""
        assert "import" in text, name
        assert len(text.splitlines()) <= 9, name
