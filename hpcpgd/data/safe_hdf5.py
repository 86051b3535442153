"""Datasets and attributes of an HDF5 file that are wholly in it, and no larger than it can hold."""

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
# Of the registry of filters; h5repack without their plugin drops what it cannot read.
_OTHERS = {
    1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset",
    307: "bzip2", 32000: "lzf", 32001: "blosc", 32004: "lz4", 32008: "bitshuffle",
    32013: "zfp", 32015: "zstd", 32017: "sz", 32026: "blosc2",
}  # fmt: skip
_ANEW = (
    "python -c \"import h5py, hdf5plugin; a = h5py.File({!r}); b = h5py.File('new.h5', 'w');"
    " [b.create_dataset(k, data=a[k][()], compression='gzip') for k in a]\""
)
_AT_ONCE = 16  # texts


def dataset(file: h5py.Group, path: str, source: str) -> h5py.Dataset:
    """Return a dataset after the checks that its values are in this file, and not too many.

    Raises
    ------
    DataError
        Naming ``source`` and what it is instead.
    """
    *groups, name = path.split("/")
    here = file
    for group in groups:
        here = _linked(here, group, source)
        if not isinstance(here, h5py.Group):
            raise DataError(f"{source}: {group} is no group")
    found = _linked(here, name, source)
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{source}: expected a dataset, found {type(found).__name__}")
    if found.is_virtual or found.external:
        kind = "a virtual dataset" if found.is_virtual else "external storage"
        raise DataError(f"{source}: expected values in this file, found {kind}")
    if found.shape is None:
        raise DataError(f"{source}: has no shape, expected one row for each example")
    _check_packing(found, source)
    _check_size(found, source)
    return found


def _linked(group: h5py.Group, name: str, source: str) -> Any:
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        kind = "nothing" if link is None else type(link).__name__
        raise DataError(f"{source}: expected a dataset of this file, found {kind}")
    return group[name]


def _check_packing(found: h5py.Dataset, source: str) -> None:
    """Refuse filters whose output has no bound: two packings one upon the other are a bomb."""
    plist = found.id.get_create_plist()
    numbers = [plist.get_filter(n)[0] for n in range(plist.get_nfilters())]
    packings = [number for number in numbers if number not in _HARMLESS]
    if len(packings) > 1 or not set(packings) <= set(_PACKINGS):
        listed = ", ".join(f"{n} ({_OTHERS[n]})" if n in _OTHERS else str(n) for n in numbers)
        raise DataError(
            f"{source}: has HDF5 filters {listed}, expected shuffle, fletcher32 and one of"
            f" {' and '.join(_PACKINGS.values())} at most: pip install hdf5plugin and write the"
            f" file anew: {_ANEW.format(source.partition(': ')[0])}"
        )


def nbytes(found: h5py.Dataset) -> int:
    """Return the bytes that reading takes: the values, and one chunk unpacked."""
    chunk = math.prod(found.chunks) if found.chunks else 0
    return int((math.prod(found.shape) + chunk) * found.dtype.itemsize)


def _check_size(found: h5py.Dataset, source: str) -> None:
    stored, there = found.id.get_storage_size(), found.file.id.get_filesize()
    if found.size and not stored:
        raise DataError(f"{source}: shape {found.shape} is stated, but no value was ever written")
    if stored > there:
        raise DataError(f"{source}: states {stored} bytes of values, the whole file has {there}")
    if found.size and nbytes(found) > 2 * DEFLATE_LIMIT * stored:  # twice: the values, and a chunk
        raise DataError(
            f"{source}: shape {found.shape} claims {nbytes(found)} bytes,"
            f" more than {stored} stored bytes can hold"
        )


def texts(found: h5py.Dataset) -> Iterator[str]:
    """Yield the texts of a dataset (n,); all together are no longer than the file.

    Raises
    ------
    DataError
        If it has no texts, or many that are the same place of the file.
    """
    if h5py.check_string_dtype(found.dtype) is None or found.ndim != 1:
        raise DataError(f"{found.name}: has dtype {found.dtype}, expected a list of texts")
    left = found.file.id.get_filesize()
    for start in range(0, found.size, _AT_ONCE):  # a few: each may be as long as the file
        for text in found[start : start + _AT_ONCE]:
            left -= len(text)
            if left < 0:
                raise DataError(f"{found.name}: claims more text than the file holds")
            yield text.decode() if isinstance(text, bytes) else str(text)


def attribute(file: h5py.File, name: str, kind: type[str] | type[int]) -> Any:
    """Return an attribute of the file: one text, or one whole number.

    Raises
    ------
    DataError
        If it is missing or something else.
    """
    if name not in file.attrs:
        raise DataError(f"has no attribute {name!r}")
    if file.attrs.get_id(name).get_space().get_simple_extent_type() != h5py.h5s.SCALAR:
        raise DataError(f"attribute {name!r} is no single value")
    value = file.attrs[name]
    if not isinstance(value, str if kind is str else np.integer):
        raise DataError(f"attribute {name!r} is {value!r:.60}, expected {kind.__name__}")
    return kind(value)
