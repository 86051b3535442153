"""Bad input gives one line, once, the documented exit code, and no file, on 1 rank and on 3.

Three ranks try every case, all in one job.  Jobs of their own show that the launcher passes the
codes on, and that one rank says the same: they try the first case of each exit code.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.many import Case, together
from tests.helpers.support import MINI, TRAIN, Done, python

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def folder(tmp: Path) -> Path:
    """Return a copy of the small MNIST that a test may damage."""
    target = tmp / "idx"
    shutil.copytree(MINI, target)
    return target


def spoil(name: str, change: Callable[[bytes], bytes], zipped: bool = True) -> Callable[..., str]:
    """Return a case that rewrites one IDX file."""

    def case(tmp: Path) -> str:
        file = folder(tmp) / name
        content = change(gzip.decompress(file.read_bytes()))
        file.write_bytes(gzip.compress(content) if zipped else content)
        return str(tmp / "idx")

    return case


def missing(tmp: Path) -> str:
    (folder(tmp) / LABELS).unlink()
    return str(tmp / "idx")


def truncated_gzip(tmp: Path) -> str:
    file = folder(tmp) / IMAGES
    file.write_bytes(file.read_bytes()[:-1000])
    return str(tmp / "idx")


def gzip_bomb(tmp: Path) -> str:
    """300 images as the header says, then 200 MB of zeros in 200 kB."""
    file = folder(tmp) / IMAGES
    with gzip.open(file, "wb") as stream:
        stream.write(struct.pack(">IIII", 0x803, 300, 28, 28))
        for _ in range(200):
            stream.write(bytes(1_000_000))
    return str(tmp / "idx")


def npz(tmp: Path, x: Any, y: Any) -> str:
    np.savez(tmp / "data.npz", x_train=x, y_train=y)
    return str(tmp / "data.npz")


def pickled(tmp: Path) -> str:
    """An object array whose unpickling would leave a file behind."""

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp / "sprung"),))

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (1,)}
    )
    with zipfile.ZipFile(tmp / "data.npz", "w") as archive:
        archive.writestr("x_train.npy", header.getvalue() + pickle.dumps([Trap()]))
        archive.writestr("y_train.npy", header.getvalue() + pickle.dumps([Trap()]))
    return str(tmp / "data.npz")


def nan_pixels(tmp: Path) -> str:
    x = np.ones((6, 4), np.float32)
    x[3, 2] = np.nan
    return npz(tmp, x, [0, 1, 0, 1, 0, 1])


DATA: dict[str, tuple[Callable[[Path], str], str]] = {
    "no such file": (lambda tmp: str(tmp / "none.npz"), "none.npz"),
    "missing labels": (missing, "train-labels"),
    "truncated": (spoil(IMAGES, lambda b: b[:-1]), IMAGES),
    "truncated gzip": (truncated_gzip, IMAGES),
    "oversized": (spoil(IMAGES, lambda b: b + b"x"), IMAGES),
    "wrong magic": (spoil(IMAGES, lambda b: b"\1" + b[1:]), IMAGES),
    "labels where images belong": (spoil(IMAGES, lambda b: b"\0\0\x08\x01" + b[4:]), IMAGES),
    "other count": (
        spoil(LABELS, lambda b: b[:4] + struct.pack(">I", 299) + b[8:-1]),
        "has 299 labels",
    ),
    "gzip bomb": (gzip_bomb, IMAGES),
    "pickled objects": (pickled, "object"),
    "NaN pixels": (nan_pixels, "row 3"),
    "a label between numbers": (lambda tmp: npz(tmp, np.ones((3, 2)), [0, 1, 1.5]), "1.5"),
}


def check(done: Done, code: int, word: str, tmp: Path) -> None:
    """Check code, one line, no traceback and no file left."""
    lines = done.err.splitlines()
    assert done.code == code, done.err
    assert len(lines) == 1, lines
    assert lines[0].startswith("hpcpgd train: error: ")
    assert word in lines[0]
    left = [p for p in tmp.rglob("*") if p.suffix == ".tmp" or p.name.startswith(("out", "hpcpgd"))]
    assert left == []
    assert not (tmp / "sprung").exists()


OTHER = {
    "batch size 0": (["--batch-size", "0"], 2, "--batch-size"),
    "misspelt dataset": (["--dataset", "mnsit"], 2, "did you mean 'mnist'"),
    "unknown flag": (["--epoch", "3"], 2, "did you mean '--epochs'"),
    "unknown key": (["--config", "unknown.toml"], 78, "did you mean 'epochs'"),
    "wrong type": (["--config", "type.toml"], 78, "epochs"),
    "no config": (["--config", "none.toml"], 78, "none.toml"),
    "shared without phases": (
        ["--reduction", "shared", "--backend", "loops"],
        78,
        "allreduce or reproducible",
    ),
    "overlap on one example at a time": (
        ["--reduction", "overlap", "--backend", "gemv"],
        78,
        "backend gemm or cuda",
    ),
    "reproducible in the reference": (
        ["--reduction", "reproducible", "--backend", "reference"],
        78,
        "gemm or loops or gemv",
    ),
    "reproducible loops with threads": (
        ["--reduction", "reproducible", "--backend", "loops", "--threads", "2"],
        78,
        "one thread",
    ),
    "shards of nothing": (["--shards", "8"], 78, "--reduction reproducible"),
    "groups of allreduce": (
        ["--reduction", "allreduce", "--group-size", "2"],
        78,
        "shared and reproducible",
    ),
    "no group": (["--group-size", "0"], 2, "--group-size"),
    "more rows than there are": (["--train-rows", "2000"], 78, "1500"),
    "output folder missing": (["--output", "none/out.h5"], 74, "there is no folder none"),
    "output in a file": (["--output", "type.toml/out.h5"], 74, "type.toml is a file, expected a"),
    "output exists": (["--output", "type.toml"], 74, "--overwrite"),
    "output is a folder": (["--output", "."], 74, "is a folder"),
    "output not writable": (["--output", "/proc/out.h5"], 74, "/proc/out.h5"),
}
FIRST = {code: case for case, (_, code, _) in reversed(OTHER.items())}
CASES = [*DATA, *OTHER]


def prepare(case: str, tmp: Path) -> tuple[tuple[str, ...], int, str]:
    """Make the files of a case; return its flags, its exit code and a word of its line."""
    if case in DATA:
        make, word = DATA[case]
        return ("--dataset", make(tmp), "--output", str(tmp / "out.h5")), 65, word
    (tmp / "unknown.toml").write_text("[train]\nepoch = 3\n")
    (tmp / "type.toml").write_text('[train]\nepochs = "3"\n')
    arguments, code, word = OTHER[case]
    return tuple(arguments), code, word


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Done, int, str, Path]]:
    """Return each case's outcome on three ranks, the expected code and word, and the folder."""
    due, jobs = {}, {}
    for case in CASES:
        tmp = tmp_path_factory.mktemp("case")
        flags, code, word = prepare(case, tmp)
        due[case], jobs[case] = (code, word, tmp), Case(("train", *flags), str(tmp), 3)
    done = together(jobs)
    return {case: (done[case], *due[case]) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_on_three_ranks(case: str, outcomes: dict[str, tuple[Done, int, str, Path]]) -> None:
    check(*outcomes[case])


@pytest.mark.parametrize(
    ("case", "ranks"),
    [
        *((case, 1) for case in ("no such file", *FIRST.values())),
        ("no such file", 3),
        (FIRST[2], 3),
    ],
)
def test_in_a_job_of_its_own(case: str, ranks: int, tmp_path: Path) -> None:
    flags, code, word = prepare(case, tmp_path)
    check(python(*TRAIN, *flags, ranks=ranks, cwd=tmp_path), code, word, tmp_path)
