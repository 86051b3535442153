"""Downloading MNIST as published, checked against known SHA-256 sums."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from hpcpgd.data import locate
from hpcpgd.errors import DataError, OutputError, UnavailableError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}
_TIMEOUT_S = 30


def default_folder() -> Path:
    """Return the folder for MNIST: ``$HPCPGD_DATA/mnist`` or one in the user's cache.

    Raises
    ------
    OutputError
        If ``HPCPGD_DATA`` is not set and the user has no home folder.
    """
    folders = locate.user_folders("mnist")
    if not folders:
        raise OutputError("no home folder for the data: set HPCPGD_DATA or give --to DIR")
    return folders[0]


def fetch(
    folder: Path, mirrors: Sequence[str] = MIRRORS, sums: Mapping[str, str] = MNIST_SHA256
) -> None:
    """Download the files that are not already there and correct.

    Parameters
    ----------
    folder : Path
        Destination, created if it does not exist.
    mirrors : sequence of str
        URLs of folders, tried in order for each file.
    sums : mapping of str to str
        Hexadecimal SHA-256 of each file.

    Raises
    ------
    DataError
        If no mirror has the right file; nothing wrong is left in the folder.
    OutputError
        If the folder cannot be written.
    UnavailableError
        If pooch is not installed.
    """
    pooch = _import_pooch()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, known in sums.items():
            path = folder / name
            if not path.is_file() or pooch.file_hash(str(path)) != known:
                with tempfile.TemporaryFile(dir=folder):
                    pass  # if the folder is not writable, this fails before any download
                _from_any(pooch, folder, name, known, mirrors)
                # pooch leaves the mode 0600 of a temporary file, but other users share the data.
                path.chmod(0o644)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _import_pooch() -> ModuleType:
    try:
        import pooch
    except ImportError:
        raise UnavailableError(
            "fetch needs the package pooch, which is not installed: pip install pooch"
        ) from None
    pooch.get_logger().setLevel("WARNING")
    return pooch  # type: ignore[no-any-return]  # pooch has no types


def _from_any(
    pooch: ModuleType, folder: Path, name: str, known: str, mirrors: Sequence[str]
) -> None:
    reasons = []
    for mirror in mirrors:
        reason = _from_one(pooch, folder, name, known, mirror.rstrip("/") + "/" + name)
        if reason is None:
            return
        reasons.append(f"{mirror}: {reason}")
    raise DataError(f"cannot fetch {name}: {'; '.join(reasons)}")


def _from_one(pooch: ModuleType, folder: Path, name: str, known: str, url: str) -> str | None:
    """Download one file; return why it failed, or None."""
    import requests  # pooch depends on it

    download = pooch.HTTPDownloader(timeout=_TIMEOUT_S)
    try:
        pooch.retrieve(url, f"sha256:{known}", fname=name, path=folder, downloader=download)
    except requests.RequestException as error:
        if error.response is not None:
            return f"HTTP status {error.response.status_code}"
        return type(error).__name__
    except ValueError:
        return f"wrong file: its SHA-256 is not {known}"
    return None
