"""A run file or a study file as xarray's DataTree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

from hpcpgd.data.guard import ensure_fits
from hpcpgd.data.safe_hdf5 import dataset, nbytes, texts
from hpcpgd.environment.extras import library
from hpcpgd.errors import DataError
from hpcpgd.results.identify import RUN, STUDY
from hpcpgd.results.result_reader import opened_result

if TYPE_CHECKING:
    from xarray import DataTree

NO_VARIABLE = "b'This is a netCDF dimension but not a netCDF variable"  # a scale without values


def read_run(path: str | Path) -> DataTree:
    """Return a run file as xarray's DataTree, in memory.

    Raises
    ------
    DataError
        If it is missing, damaged, or not a run file.
    UnavailableError
        If xarray is not installed.
    """
    return _read(Path(path), RUN)


def read_study(path: str | Path) -> DataTree:
    """Return a study file as xarray's DataTree, in memory; see `read_run`."""
    return _read(Path(path), STUDY)


def _read(path: Path, kind: str) -> DataTree:
    open_datatree = library("xarray", "report").open_datatree
    with opened_result(path, kind):
        # xarray reads whatever links and filters lead to, so everything is checked first.
        with h5py.File(path, "r") as file:
            ensure_fits(sum(map(_checked, _datasets(file, {file["/"]}))), path)
        with open_datatree(path, engine="h5netcdf") as tree:
            for node in tree.subtree:
                node.to_dataset(inherit=False).load()  # in place
            return tree  # type: ignore[no-any-return]  # library() has no types


def _datasets(group: h5py.Group, seen: set[h5py.Group]) -> Iterator[h5py.Dataset]:
    """Yield all datasets of a group; links to other places, and circles, are refused."""
    for name in group:
        place = f"{group.name}/{name}".lstrip("/")
        kind = group.get(name, getclass=True, getlink=True)
        item = group[name] if kind is h5py.HardLink else None
        if isinstance(item, h5py.Group):
            if item in seen:
                raise DataError(f"{place}: is a group that has another name, too")
            seen.add(item)
            yield from _datasets(item, seen)
        elif item is None or not str(item.attrs.get("NAME", "")).startswith(NO_VARIABLE):
            yield dataset(group, name, place)


def _checked(values: h5py.Dataset) -> int:
    """Return the bytes that reading a dataset takes, after a check of its texts."""
    if h5py.check_string_dtype(values.dtype) is not None:
        return sum(map(len, texts(values)))
    return nbytes(values)
