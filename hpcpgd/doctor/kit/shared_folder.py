"""The folder of a kit that others may read; every file in it is written here."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5netcdf
import h5py

from hpcpgd.results.atomic import write_atomically
from hpcpgd.results.netcdf import TEXT

WEIGHTS = "model"  # the group that is left out: it is large, and params_sha256 identifies it
INSIDE = "hpcpgd-first-contact"  # name of the folder in the archive


class Share:
    """A folder in whose files ``scrub`` has replaced names.

    Parameters
    ----------
    scrub : callable
        Returns a text with its names replaced.
    """

    def __init__(self, folder: Path, scrub: Callable[[str], str]) -> None:
        self.folder, self._scrub = folder, scrub

    def scrubbed(self, value: Any) -> Any:
        """Return a value with names replaced in texts; numbers are not changed."""
        if isinstance(value, bytes):
            value = value.decode("utf-8", "backslashreplace")
        return self._scrub(value) if isinstance(value, str) else value

    def text(self, name: str, content: str) -> None:
        """Write a text.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        data = self._scrub(content).encode("utf-8", "backslashreplace")
        write_atomically(self.folder / name, data)

    def run_file(self, source: Path) -> None:
        """Write a copy of a run file without its weights.

        A text that is changed in place would leave the old text in the HDF5 file.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        image = io.BytesIO()
        with h5netcdf.File(source, "r") as old, h5netcdf.File(image, "w") as new:
            self._copy(old, new)
        with h5py.File(source, "r") as old, h5py.File(image, "r+") as new:
            for name, value in old.attrs.items():
                if not name.startswith("_"):  # netCDF's own
                    new.attrs[name] = self.scrubbed(value)
        (self.folder / "runs").mkdir(exist_ok=True)
        write_atomically(self.folder / "runs" / source.name, image.getbuffer())

    def _copy(self, old: Any, new: Any) -> None:
        new.dimensions = {name: axis.size for name, axis in old.dimensions.items()}
        for name, variable in old.variables.items():
            texts, values = variable.dtype == object, variable[...]
            if texts:
                values[...] = [self.scrubbed(value) for value in values]
            copy = new.create_variable(name, variable.dimensions, TEXT if texts else values.dtype)
            copy[...] = values
            for key, value in variable.attrs.items():
                copy.attrs[key] = self.scrubbed(value)
        for name, group in old.groups.items():
            if name != WEIGHTS:
                self._copy(group, new.create_group(name))

    def pack(self, target: Path) -> None:
        """Write the folder as one archive, without the name of its user.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        image = io.BytesIO()
        with (
            gzip.GzipFile("", "wb", fileobj=image) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            tar.add(self.folder, INSIDE, filter=_nameless)
        write_atomically(target, image.getbuffer())


def _nameless(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def hosts_of(run_file: Path) -> list[str]:
    """Return the hosts of a run's ranks."""
    with h5py.File(run_file) as file:
        return list(dict.fromkeys(file["ranks/segment1/host"].asstr()[...].tolist()))
