"""Hostile datasets in HDF5."""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np
from hypothesis.strategies import SearchStrategy

from tests.faults.hostile.format import Files
from tests.faults.hostile.hdf5 import harmed


def _image(libver: str, **packing: Any) -> bytes:
    place = io.BytesIO()
    with h5py.File(place, "w", libver=libver) as file:
        x = np.arange(12.0).reshape(4, 3)
        file.create_dataset("x_train", data=x, **packing)
        file["y_train"] = np.array([0, 1, 2, 0])
        if packing:
            file["x_test"], file["y_test"] = x[:2].astype("f4"), np.eye(3)[:2]
    return place.getvalue()


def _people(libver: str) -> bytes:
    """Return an image with groups, texts, scales of dimensions and arrays that nobody needs."""
    place = io.BytesIO()
    with h5py.File(place, "w", libver=libver) as file:
        file["train/images"] = np.arange(12, dtype="i4").reshape(4, 3) * 9
        file["train/labels"] = ["cat", "dog", "owl", "cat"]
        file["class_names"] = np.array([b"a", b"b", b"c"])
        file["row"] = np.arange(4)
        file["row"].make_scale("row")
        file["train/images"].dims[0].attach_scale(file["row"])
    return place.getvalue()


def cases() -> SearchStrategy[Files]:
    """Return one file each."""
    images = (
        _image("earliest"), _image("latest"), _image("earliest", compression="gzip", shuffle=True),
        _image("latest", chunks=(1, 3), compression="lzf"), _image("v108", chunks=(2, 2),
        maxshape=(None, None)), _people("earliest"), _people("latest"),
    )  # fmt: skip
    return harmed(images).map(lambda data: {"data.h5": data})
