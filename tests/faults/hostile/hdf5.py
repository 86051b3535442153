"""Harm done to HDF5 files: links, layouts, shapes, types, cycles, and damage to bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.faults.hostile.damage import damaged, weighted

HUGE = (2**20, 2**31, 2**40, 2**60)
TYPES: tuple[Any, ...] = (
    "u1", ">f4", "f8", ">i8", "f2", "f16", "?", "S9", "V5", "c16", h5py.string_dtype(),
    h5py.ref_dtype,
    h5py.regionref_dtype, h5py.vlen_dtype("f4"), h5py.enum_dtype({"a": 0}, "i4"), ("f4", (3,)),
    [("a", "f4"), ("b", "i8")], [("a", h5py.string_dtype())], [("a", h5py.ref_dtype)],
    h5py.opaque_dtype(np.dtype("M8[s]")), h5py.string_dtype("ascii", 7),
)  # fmt: skip

Harm = Callable[[h5py.File, str, int], None]

# Nobody can make it, not even root: HDF5 would fill a file that it can open.
OUTSIDE = "/nonexistent/outside"


def _plain(found: Any) -> bool:
    """Return whether reading is harmless: an earlier harm may be deadly to us already."""
    return (
        isinstance(found, h5py.Dataset) and found.size is not None and found.size < 2**16
        and not found.is_virtual and found.id.get_create_plist().get_nfilters() == 0
    )  # fmt: skip


def _take(file: h5py.File, name: str) -> Any:
    """Return the values of a dataset and remove it."""
    found = file.get(name)
    values = found[...] if _plain(found) else np.zeros(4)
    if name in file:
        del file[name]
    return values


def _soft(file: h5py.File, name: str, how: int) -> None:
    file["aside"] = _take(file, name)
    file[name] = h5py.SoftLink(("/aside", name, "/", "/nowhere", "..")[how % 5])


def _external(file: h5py.File, name: str, how: int) -> None:
    _take(file, name)
    file[name] = h5py.ExternalLink((OUTSIDE, "other.h5", "", ".", "\x1b[2J")[how % 5], "/" + name)


def _hard(file: h5py.File, name: str, how: int) -> None:
    """Let a name be another thing of this file: a group above it too, which is a cycle."""
    _take(file, name)
    found: list[str] = ["/"]
    file.visit(found.append)
    file[name] = file[found[how % len(found)]]


def _cycle(file: h5py.File, name: str, how: int) -> None:
    group = name.split("/")[0]
    _take(file, group)
    file[group] = file["/"]


def _virtual(file: h5py.File, name: str, how: int) -> None:
    values = np.asarray(_take(file, name))
    shape = values.shape or (1,)
    layout = h5py.VirtualLayout(shape, "f8")
    layout[...] = h5py.VirtualSource((OUTSIDE, ".", "x%b.h5")[how % 3], name, shape)
    file.create_virtual_dataset(name, layout)


def _outside(file: h5py.File, name: str, how: int) -> None:
    _take(file, name)
    count = (8, 2**20, 2**40)[how % 3]
    file.create_dataset(name, (count,), "u1", external=[(OUTSIDE, 0, count)], fill_time="never")


def _retyped(file: h5py.File, name: str, how: int) -> None:
    shape = np.shape(_take(file, name))
    file.create_dataset(name, shape if how & 1 else (), TYPES[how // 2 % len(TYPES)])


def _objects(file: h5py.File, name: str, how: int) -> None:
    _take(file, name)
    values: Any = ("text", ["a\nb", "\x1b[2J"], b"x" * 9, [file.ref] * 4, h5py.Empty("f4"))[how % 5]
    file.create_dataset(name, data=values, dtype=h5py.ref_dtype if how % 5 == 3 else None)


def _group(file: h5py.File, name: str, how: int) -> None:
    _take(file, name)
    file.create_group(name)


def _named_type(file: h5py.File, name: str, how: int) -> None:
    _take(file, name)
    file[name] = np.dtype("f8")


def _gone(file: h5py.File, name: str, how: int) -> None:
    parts = name.split("/")
    del file["/".join(parts[: 1 + how % len(parts)])]


def _added(file: h5py.File, name: str, how: int) -> None:
    file[("x_validation", "y_test", "a\nb", "\x1b[2J", "é" * 3000, "extra")[how % 6]] = np.zeros(4)


def _huge(file: h5py.File, name: str, how: int) -> None:
    """Claim much, write one chunk or nothing."""
    rank = max(1, np.ndim(_take(file, name)))
    shape = (HUGE[how % 4],) + (HUGE[how // 4 % 4] if how & 64 else 2,) * (rank - 1)
    chunks, packing = (1,) * rank, {"compression": "gzip"} if how & 16 else {}
    try:
        data = file.create_dataset(
            name, shape, ("f8", "u1", "i8")[how % 3], chunks=chunks, **packing
        )
    except (ValueError, OSError):  # more than HDF5 can say
        return
    if how & 32:
        data[(0,) * rank] = 1


def _chunked(file: h5py.File, name: str, how: int) -> None:
    values = np.asarray(_take(file, name))
    values = values if values.ndim else values[None]
    packings: tuple[dict[str, Any], ...] = (
        {"compression": "gzip"}, {"compression": "lzf"}, {"scaleoffset": 0},
        {"fletcher32": True}, {"shuffle": True, "compression": "gzip"},
        {"maxshape": (None,) * values.ndim}, {"chunks": True},
    )  # fmt: skip
    if values.size:
        file.create_dataset(name, data=values, **packings[how % len(packings)])


def _filtered(file: h5py.File, name: str, how: int) -> None:
    """Store a chunk as it came, with filters that were not applied to it: bombs and rubbish."""
    import zlib

    values = np.asarray(_take(file, name))
    shape = values.shape if values.ndim and values.size else (4,)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(shape)
    chains = ((1,), (1, 1), (1, 2, 1), (6,), (5,), (4,), (32000,), (32001,), (1, 1, 1))
    options = ((), (2**31, 4, 1), (4, 2**32 - 1, 2**32 - 1))[how // 9 % 3]
    for number in chains[how % 9]:
        plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL, options)
    type_, space = h5py.h5t.py_create(np.dtype("f8")), h5py.h5s.create_simple(shape)
    data = h5py.h5d.create(file.id, name.encode(), type_, space, plist, _parents())
    body = zlib.compress(bytes(2 ** (10, 16, 20)[how % 3]), 9)
    data.write_direct_chunk((0,) * len(shape), zlib.compress(body, 9) if how & 1 else body)


def _parents() -> Any:
    plist = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    plist.set_create_intermediate_group(True)
    return plist


def _compact(file: h5py.File, name: str, how: int) -> None:
    values = np.asarray(_take(file, name))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    space = (
        h5py.h5s.create_simple(values.shape) if values.ndim else h5py.h5s.create(h5py.h5s.SCALAR)
    )
    type_ = h5py.h5t.py_create(values.dtype, logical=True)
    data = h5py.h5d.create(file.id, name.encode(), type_, space, plist, _parents())
    h5py.Dataset(data)[...] = values


def _attribute(file: h5py.File, name: str, how: int) -> None:
    """Change an attribute of the file, or give a dataset one of netCDF's."""
    names = [*file.attrs, "schema"]
    packing = ("scale_factor", "add_offset", "_FillValue", "missing_value")
    value: Any = (1, -1, 0, 2**63, 1.5, np.nan, "", "a\nb", "\x1b[2J", np.arange(3), [1], ["a",
    "b"], h5py.Empty("f4"),
                  file.ref, np.zeros(1000), "1", [[4]], b"\xff", True)[how % 19]  # fmt: skip
    file.attrs[names[how // 19 % len(names)]] = value
    if _plain(data := file.get(name)):
        data.attrs[packing[how // 19 % 4]] = value


def _unset(file: h5py.File, name: str, how: int) -> None:
    if names := list(file.attrs):
        del file.attrs[names[how % len(names)]]


def _values(file: h5py.File, name: str, how: int) -> None:
    """Other values of the same shape and type."""
    data = file.get(name)
    if _plain(data) and data.dtype.kind in "iuf":
        value = (0, 1, -1, 2**31, 1e300, np.nan, np.inf)[how % 7]
        with np.errstate(all="ignore"):
            data[...] = np.full(data.shape, value).astype(data.dtype)


def _reshaped(file: h5py.File, name: str, how: int) -> None:
    values = np.asarray(_take(file, name))
    file[name] = (values.reshape(-1), values[None], values[:0] if values.ndim else values,
                  values[..., None], values[:1] if values.ndim else values)[how % 5]  # fmt: skip


HARMS: tuple[Harm, ...] = (
    _soft, _external, _hard, _hard, _cycle, _virtual, _outside, _retyped, _retyped, _objects,
    _group, _named_type,
    _gone, _added, _huge, _huge, _chunked, _filtered, _filtered, _compact, _attribute, _attribute,
    _unset, _values,
    _values, _reshaped,
)  # fmt: skip
_harm = st.tuples(st.sampled_from(HARMS), st.integers(0, 63), st.integers(0, 255))


def _harmed(image: bytes, harms: list[tuple[Harm, int, int]]) -> bytes:
    """Return a file after what was done to it; what HDF5 itself refuses to do is left out."""
    if not harms:
        return image
    place = io.BytesIO(image)
    with h5py.File(place, "r+") as file:
        names: list[str] = []
        file.visititems(
            lambda name, found: names.append(name) if isinstance(found, h5py.Dataset) else None
        )
        for harm, which, how in harms:
            try:
                harm(file, names[which % len(names)], how)
            except Exception:  # HDF5's own refusals are of many types
                continue
    return place.getvalue()


def harmed(images: tuple[bytes, ...], most: int = 2) -> SearchStrategy[bytes]:
    """Return files with harm, damage to bytes, or both."""
    good = st.sampled_from(images)
    spoilt = st.builds(_harmed, good, st.lists(_harm, min_size=1, max_size=most))
    return weighted((3, spoilt), (5, damaged(good, 4, 9)), (1, damaged(spoilt, 2, 9)))
