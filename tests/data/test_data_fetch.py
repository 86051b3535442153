"""Fetching from real HTTP servers on this machine: good, wrong, down and interrupted."""

from __future__ import annotations

import hashlib
import re
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hpcpgd.data import fetch as module
from hpcpgd.data.cli import main
from hpcpgd.data.fetch import MNIST_SHA256, default_folder, fetch
from hpcpgd.errors import DataError, OutputError

pytest.importorskip("pooch", reason="pooch is not installed")

FILES = {"a.gz": b"first file" * 1000, "b.gz": b"second"}
SUMS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


class Handler(BaseHTTPRequestHandler):
    """Serves `FILES` under folders that say how: good, wrong, short."""

    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        _, how, name = self.path.split("/")
        data = FILES.get(name)
        if data is None or how not in ("good", "wrong", "short"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        cut = len(data) // 2 if how == "short" else len(data)
        self.wfile.write(data[:cut] if how != "wrong" else bytes(len(data)))

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.requests = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_good_files_and_no_second_download(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    fetch(folder, [f"{server}/good"], SUMS)
    assert contents(folder) == FILES
    assert Handler.requests == ["/good/a.gz", "/good/b.gz"]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir())
    (folder / "b.gz").write_bytes(b"damaged")
    fetch(folder, [f"{server}/good/"], SUMS)
    assert contents(folder) == FILES
    assert Handler.requests == ["/good/a.gz", "/good/b.gz", "/good/b.gz"]


@pytest.mark.parametrize("first", ["wrong", "short", "absent"])
def test_the_next_mirror_is_tried(server: str, tmp_path: Path, first: str) -> None:
    fetch(tmp_path, [f"{server}/{first}", f"{server}/good"], SUMS)
    assert contents(tmp_path) == FILES


def test_first_mirror_down(server: str, closed_port: str, tmp_path: Path) -> None:
    fetch(tmp_path, [closed_port, f"{server}/good"], SUMS)
    assert contents(tmp_path) == FILES


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("wrong", f"wrong file: its SHA-256 is not {SUMS['a.gz']}"),
        ("short", ""),
        ("absent", "HTTP status 404"),
    ],
)
def test_nothing_wrong_is_left(server: str, tmp_path: Path, how: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        fetch(tmp_path, [f"{server}/{how}"], SUMS)
    message = str(caught.value)
    assert message.startswith(f"cannot fetch a.gz: {server}/{how}: {reason}")
    assert "\n" not in message
    assert contents(tmp_path) == {}


def test_every_mirror_is_named(server: str, closed_port: str, tmp_path: Path) -> None:
    mirrors = [closed_port, f"{server}/wrong", "nonsense", "ftp://host", "http://["]
    with pytest.raises(DataError) as caught:
        fetch(tmp_path, mirrors, SUMS)
    assert all(f"{mirror}: " in str(caught.value) for mirror in mirrors)
    assert str(caught.value).count("wrong file") == 1


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        fetch(tmp_path / "file", ["http://127.0.0.1:9"], SUMS)
    with pytest.raises(OutputError, match="cannot be written"):
        fetch(tmp_path / "file" / "below", ["http://127.0.0.1:9"], SUMS)


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HPCPGD_DATA", raising=False)
    assert default_folder() == tmp_path / "hpcpgd" / "mnist"
    monkeypatch.setenv("HPCPGD_DATA", "/somewhere")
    assert default_folder() == Path("/somewhere/mnist")


def test_command_line(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    to = ["--to", str(tmp_path)]
    assert main(["fetch", "mnist", "--mirror", f"{server}/good", *to]) == 65
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"hpcpgd data: error: cannot fetch train-images-idx3-ubyte.gz: .*\n", err)
    monkeypatch.setattr(module, "MNIST_SHA256", SUMS)
    mirrors = ["--mirror", f"{server}/wrong", "--mirror", f"{server}/good"]
    assert main(["fetch", "mnist", *mirrors, *to]) == 0
    out, err = capsys.readouterr()
    assert out == f"mnist: 2 files in {tmp_path}, checksums right\n"
    assert err == ""
    assert contents(tmp_path) == FILES


def test_without_pooch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert main(["fetch", "mnist", "--to", str(tmp_path)]) == 69
    assert "pip install pooch" in capsys.readouterr().err


def test_the_published_sums() -> None:
    assert len(MNIST_SHA256) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", known) for known in MNIST_SHA256.values())
