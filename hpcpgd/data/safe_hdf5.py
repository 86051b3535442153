"""Datasets and attributes of an HDF5 file, checked to be in it and no larger than it can hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from hpcpgd.data.guard import DEFLATE_LIMIT
from hpcpgd.errors import DataError

_PACKINGS = {h5py.h5z.FILTER_DEFLATE: "gzip", h5py.h5z.FILTER_LZF: "lzf"}
_HARMLESS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
# From the registry of filters.  Without a filter's plugin h5repack drops the dataset.
_OTHERS = {
    1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset",
    307: "bzip2", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle",
    32013: "zfp", 32015: "zstd", 32017: "sz", 32026: "blosc2",
}  # fmt: skip
_REWRITE = (
    "python -c \"import h5py, hdf5plugin; a = h5py.File({!r}); b = h5py.File('new.h5', 'w');"
    " [b.create_dataset(k, data=a[k][()], compression='gzip') for k in a]\""
)
_AT_ONCE = 16  # texts read at a time


def dataset(file: h5py.Group, path: str, source: str) -> h5py.Dataset:
    """Return a dataset after checks that its values are in this file and that it can hold them.

    Raises
    ------
    DataError
        If a check fails; the message begins with ``source``.
    """
    *groups, name = path.split("/")
    parent = file
    for group in groups:
        parent = _linked(parent, group, source)
        if not isinstance(parent, h5py.Group):
            raise DataError(f"{source}: {group} is not a group")
    dset = _linked(parent, name, source)
    if not isinstance(dset, h5py.Dataset):
        raise DataError(f"{source}: expected a dataset, found {type(dset).__name__}")
    if dset.is_virtual or dset.external:
        kind = "a virtual dataset" if dset.is_virtual else "external storage"
        raise DataError(f"{source}: expected values in this file, found {kind}")
    if dset.shape is None:
        raise DataError(f"{source}: has no shape, expected one row for each example")
    _check_packing(dset, source)
    _check_size(dset, source)
    return dset


def _linked(group: h5py.Group, name: str, source: str) -> Any:
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        kind = "nothing" if link is None else type(link).__name__
        raise DataError(f"{source}: expected a dataset of this file, found {kind}")
    return group[name]


def _check_packing(dset: h5py.Dataset, source: str) -> None:
    """Refuse filters whose output has no bound, such as a compression of compressed values."""
    plist = dset.id.get_create_plist()
    numbers = [plist.get_filter(n)[0] for n in range(plist.get_nfilters())]
    packings = [number for number in numbers if number not in _HARMLESS]
    if len(packings) > 1 or not set(packings) <= set(_PACKINGS):
        listed = ", ".join(f"{n} ({_OTHERS[n]})" if n in _OTHERS else str(n) for n in numbers)
        raise DataError(
            f"{source}: has HDF5 filters {listed}, expected shuffle, fletcher32 and one of"
            f" {' and '.join(_PACKINGS.values())} at most: pip install hdf5plugin and write the"
            f" file again: {_REWRITE.format(source.partition(': ')[0])}"
        )


def nbytes(dset: h5py.Dataset) -> int:
    """Return the bytes of memory that reading takes: all values, and one unpacked chunk."""
    chunk = math.prod(dset.chunks) if dset.chunks else 0
    return int((math.prod(dset.shape) + chunk) * dset.dtype.itemsize)


def _check_size(dset: h5py.Dataset, source: str) -> None:
    stored, whole = dset.id.get_storage_size(), dset.file.id.get_filesize()
    if dset.size and not stored:
        raise DataError(f"{source}: shape {dset.shape} is stated, but no value was ever written")
    if stored > whole:
        raise DataError(f"{source}: states {stored} bytes of values, the whole file has {whole}")
    if dset.size and nbytes(dset) > 2 * DEFLATE_LIMIT * stored:  # twice: the values, and a chunk
        raise DataError(
            f"{source}: shape {dset.shape} claims {nbytes(dset)} bytes,"
            f" more than {stored} stored bytes can hold"
        )


def texts(dset: h5py.Dataset) -> Iterator[str]:
    """Yield the texts of a dataset (n,); together they are no longer than the file.

    Raises
    ------
    DataError
        If it holds no texts, or if their total length exceeds the file: many texts may share
        one place in a malicious file.
    """
    if h5py.check_string_dtype(dset.dtype) is None or dset.ndim != 1:
        raise DataError(f"{dset.name}: has dtype {dset.dtype}, expected a list of texts")
    left = dset.file.id.get_filesize()
    for start in range(0, dset.size, _AT_ONCE):  # few, as each may be as long as the file
        for text in dset[start : start + _AT_ONCE]:
            left -= len(text)
            if left < 0:
                raise DataError(f"{dset.name}: claims more text than the file holds")
            yield text.decode() if isinstance(text, bytes) else str(text)


def attribute(file: h5py.File, name: str, kind: type[str] | type[int]) -> Any:
    """Return an attribute of the file: one text, or one whole number.

    Raises
    ------
    DataError
        If it is missing or of another type.
    """
    if name not in file.attrs:
        raise DataError(f"has no attribute {name!r}")
    if file.attrs.get_id(name).get_space().get_simple_extent_type() != h5py.h5s.SCALAR:
        raise DataError(f"attribute {name!r} is not a single value")
    value = file.attrs[name]
    if not isinstance(value, str if kind is str else np.integer):
        raise DataError(f"attribute {name!r} is {value!r:.60}, expected {kind.__name__}")
    return kind(value)
