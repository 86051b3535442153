"""The kind of a file that a user has given: a run file, a study file or another."""

from __future__ import annotations

from pathlib import Path

from hpcpgd.data.guard import file_size, refuse_bad_file
from hpcpgd.data.hdf5_heaps import opened
from hpcpgd.data.safe_hdf5 import attribute
from hpcpgd.errors import DataError

HDF5 = b"\x89HDF\r\n\x1a\n"  # how every HDF5 file begins
CHECKPOINT, RUN, STUDY = "a checkpoint", "a run file", "a study file"
SCHEMAS = {
    "hpcpgd.checkpoint": CHECKPOINT,
    "hpcpgd.run": RUN,
    "hpcpgd.study": STUDY,
    "hpcpgd.selection": "the table of a selection",
}


def what_is(path: Path) -> str:
    """Return the kind of a file in words for a message, "" for HDF5 that cannot be read.

    Raises
    ------
    DataError
        If it is missing, is not a regular file, or cannot be opened.
    """
    file_size(path)
    with refuse_bad_file(path), path.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            return "no HDF5 file"
    try:
        with opened(path) as content:
            if "schema" in content.attrs:
                schema = attribute(content, "schema", str)
                return SCHEMAS.get(schema.split("/")[0], f"a file of schema {schema!r:.60}")
            return "a dataset" if "x_train" in content else "an HDF5 file of other programs"
    except DataError:
        return ""
