"""``hpcpgd.read_run`` and ``hpcpgd.read_study``: the files as trees of xarray, once checked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import hpcpgd
from hpcpgd.errors import DataError, UnavailableError
from hpcpgd.results.runfile import write_run_file
from hpcpgd.study import collect
from hpcpgd.study.studyfile import StudyFile
from tests.helpers.made_run import made_run
from tests.helpers.support import python
from tests.study.test_study_read import OWN


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    write_run_file(tmp_path / "run.h5", made_run())
    return tmp_path / "run.h5"


def test_a_run_is_a_tree_in_memory_with_all_values_of_the_file(run_file: Path) -> None:
    tree = hpcpgd.read_run(str(run_file))
    expected: dict[str, Any] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.id.get_storage_size():
            expected[name] = item.asstr()[...] if item.dtype == object else item[()]

    with h5py.File(run_file) as file:
        file.visititems(take)
        assert tree.attrs["schema"] == file.attrs["schema"]
    run_file.unlink()
    assert len(expected) > 40
    for name, values in expected.items():
        np.testing.assert_array_equal(tree[name].to_numpy(), values, err_msg=name)
    assert tree["test"].sizes == {"true": 2, "predicted": 2}


def test_a_study_is_a_tree(tmp_path: Path) -> None:
    collect.write(tmp_path / "s.h5", StudyFile("s"), [OWN], 1)
    tree = hpcpgd.read_study(tmp_path / "s.h5")
    assert tree["runs/tpe_seconds"].to_numpy().tolist() == [OWN.tpe_seconds]
    assert tree.attrs["kind"] == StudyFile("s").kind


HARM: dict[str, Callable[[h5py.File], Any]] = {
    "x: expected a dataset of this file, found ExternalLink": lambda file: file.update(
        {"x": h5py.ExternalLink("/etc/passwd", "/x")}
    ),
    "again: is a group that has another name, too": lambda file: file.update({"again": file["/"]}),
    "x: shape (1099511627776,) is stated, but no value was": lambda file: file.create_dataset(
        "x", (2**40,), np.float64
    ),
    "is a study file, expected a run file: hpcpgd study report": lambda file: file.attrs.update(
        schema="hpcpgd.study/1"
    ),
}


@pytest.mark.parametrize("says", HARM)
def test_bad_files_are_refused(says: str, run_file: Path) -> None:
    with h5py.File(run_file, "r+") as file:
        HARM[says](file)
    with pytest.raises(DataError) as caught:
        hpcpgd.read_run(run_file)
    assert str(caught.value).startswith(f"{run_file}: {says}")


def test_without_xarray_the_extra_is_named(run_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(UnavailableError, match=r"pip install 'hpcpgd\[report\]'") as caught:
        hpcpgd.read_run(run_file)
    assert caught.value.exit_code == 69


def test_neither_mpi_nor_numba_is_imported(run_file: Path) -> None:
    code = "import sys, hpcpgd; print('xarray' in sys.modules); hpcpgd.read_run('run.h5');"
    code += "print({'mpi4py', 'numba'} & {*sys.modules}, hasattr(hpcpgd, 'read_nothing'))"
    assert python("-c", code, cwd=run_file.parent).out == "False\nset() False\n"
