"""The usual names of IDX files, and which files of a folder belong together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hpcpgd.data import guard
from hpcpgd.errors import DataError

# MNIST's names; EMNIST has a prefix before them and test for t10k; others write a dot.
_NAME = re.compile(
    r"(?P<prefix>.*?)(?P<part>train|t10k|test)[-_.](?P<what>images|labels)[-_.]idx[13][-_.]ubyte"
    r"(?P<packed>\.gz)?",
    re.IGNORECASE,
)
RAW = ("raw", "MNIST/raw", "FashionMNIST/raw", "EMNIST/raw", "KMNIST/raw", "QMNIST/raw")

Pair = tuple[Path, Path]


def pairs(folder: Path, prefix: str | None = None) -> dict[str, Pair]:
    """Return the files of images and labels of each split in a folder.

    Parameters
    ----------
    folder : Path
        The folder itself, or one with a subfolder of `RAW`, as torchvision makes it.
    prefix : str, optional
        How the files' names begin, such as ``emnist-letters``; required if the folder holds
        several datasets, unless one of them has no prefix.

    Raises
    ------
    DataError
        If there are no such files, images lack labels or the reverse, or the dataset is
        ambiguous.
    """
    files, place = _files(folder)
    if not files:
        raise DataError(
            f"{folder}: has no IDX files: expected train-images-idx3-ubyte and"
            " train-labels-idx1-ubyte, plain or with .gz"
        )
    prefixes = sorted({_prefix(match) for match in files})
    if prefix is None:
        prefix = "" if "" in prefixes else prefixes[0]  # MNIST's names are preferred
        if prefix and len(prefixes) > 1:
            choices = " or ".join(str(place / p) for p in prefixes)
            raise DataError(f"{folder}: holds IDX files of several datasets: expected {choices}")
    return _paired(place, [match for match in files if _prefix(match) == prefix])


def _prefix(match: re.Match[str]) -> str:
    return match["prefix"].rstrip("-_.")


def _files(folder: Path) -> tuple[list[re.Match[str]], Path]:
    """Return the IDX files of a folder, or of a subfolder of `RAW`, and the folder they are in."""
    with guard.refuse_bad_file(folder):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder of IDX files")
        for place in (folder, *(folder / inner for inner in RAW)):
            if not place.is_dir():
                continue
            names = sorted(path.name for path in place.iterdir())
            matches = [match for name in names if (match := _NAME.fullmatch(name))]
            if matches:
                return matches, place
    return [], folder


def _paired(place: Path, files: Iterable[re.Match[str]]) -> dict[str, Pair]:
    by_kind: dict[tuple[str, str], Path] = {}
    for match in files:  # sorted: if both forms are there, the plain one is first and is taken
        part = "train" if match["part"].lower() == "train" else "test"
        by_kind.setdefault((part, match["what"].lower()), place / match[0])
    paired: dict[str, Pair] = {}
    for part in ("train", "test"):
        images, labels = by_kind.get((part, "images")), by_kind.get((part, "labels"))
        if images is None and labels is None and part == "test":
            continue
        if images is None or labels is None:
            present, what = (labels, "images") if images is None else (images, "labels")
            beside = f"beside {present.name}" if present else f"of the {part}ing set"
            expected = _partner(present.name) if present else _expected(part, what)
            raise DataError(f"{place}: has no file of {what} {beside}: expected {expected}")
        paired[part] = (images, labels)
    return paired


def _expected(part: str, what: str) -> str:
    first, number = ("train" if part == "train" else "t10k"), 3 if what == "images" else 1
    name = f"{first}-{what}-idx{number}-ubyte"
    return f"{name} or {name}.gz"


def _partner(name: str) -> str:
    """Return the name of the labels that belong to images, or of the images to labels."""
    if "images" in name:
        return name.replace("images", "labels").replace("idx3", "idx1")
    return name.replace("labels", "images").replace("idx1", "idx3")


def split_prefix(path: Path) -> tuple[Path, str | None]:
    """Return the folder and the prefix that a path means; the prefix is None for all files.

    The path is a folder, one of its IDX files, or a folder and the prefix of some of its files,
    such as ``gzip/emnist-letters``.
    """
    match = _NAME.fullmatch(path.name)
    if match:
        return path.parent, _prefix(match)
    with guard.refuse_bad_file(path):
        if path.is_dir() or not path.parent.is_dir():
            return path, None
        files, _ = _files(path.parent)
    named = any(_prefix(match) == path.name for match in files)
    return (path.parent, path.name) if named else (path, None)


def is_idx(name: str) -> bool:
    """Return whether a file name is that of an IDX file."""
    return _NAME.fullmatch(name) is not None
