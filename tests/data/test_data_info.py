"""``python -m hpcpgd.data`` as a user meets it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from hpcpgd.data import cli, load
from hpcpgd.data.cli import main
from hpcpgd.data.dataset import sha256
from tests.helpers.support import MINI, python, run


def facts(text: str) -> dict[str, str]:
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in text.splitlines()}


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(MINI)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    table = facts(out)
    assert table["dataset"] == str(MINI)
    assert (table["train"], table["test"]) == ("300 rows", "100 rows")
    assert (table["inputs"], table["dtype"], table["classes"]) == ("784", "uint8", "10")
    assert float(table["scale"]) == pytest.approx(1 / 255)
    assert table["sha256"] == sha256(load(str(MINI), seed=0))
    assert table["class"].split() == ["train", "test"]
    assert all(table[str(k)].split() == ["30", "10"] for k in range(10))
    assert "validation" not in table


def test_many_classes_are_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "synthetic:1000x4x500"]) == 0
    out = capsys.readouterr().out
    counts = np.bincount(load("synthetic:1000x4x500", seed=0).train.labels, minlength=500)
    assert f"in train      {counts.min()} to {counts.max()} rows a class" in out
    assert len(out.splitlines()) < 12


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        ([], 2, "the following arguments are required: COMMAND"),
        (["inof"], 2, "unknown command 'inof': expected fetch, info; did you mean 'info'?"),
        (["info"], 2, "required"),
        (["info", "mnsit"], 2, "unknown dataset 'mnsit'"),
        (["info", "digits", "--verbose"], 2, "unrecognized arguments: --verbose"),
        (["info", "a\nb"], 2, r"unknown dataset 'a\nb'"),
        (["info", "no/where"], 65, "no/where: no such folder of IDX files"),
        (["info", "no\nwhere.csv"], 65, "no where.csv: no such file"),
        (["info", "/dev/null.npz"], 65, "/dev/null.npz: no such file"),
        (["fetch"], 2, "required"),
        (["fetch", "mnsit"], 2, "cannot fetch 'mnsit': expected mnist; did you mean 'mnist'?"),
        (["fetch", "mnist", "--mirr", "x"], 2, "unrecognized arguments: --mirr x"),
    ],
)
def test_errors_are_one_line(
    capsys: pytest.CaptureFixture[str], argv: list[str], code: int, message: str
) -> None:
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"hpcpgd data: error: [^\n]+\n", err)
    assert message in err


@pytest.mark.parametrize(
    ("trouble", "code", "word"),
    [(KeyboardInterrupt(), 130, ""), (ZeroDivisionError("ours"), 70, "ZeroDivisionError: ours")],
)
def test_what_is_no_error_of_the_user(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    trouble: BaseException,
    code: int,
    word: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise trouble

    monkeypatch.setattr(cli, "load", fail)
    assert main(["info", "digits"]) == code
    assert word in capsys.readouterr().err


def test_as_a_program() -> None:
    done = python("-m", "hpcpgd.data", "info", str(MINI)).good()
    assert "300 rows" in done.out
    python("-m", "hpcpgd.data", "inof").one_line(2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_output_that_cannot_be_written() -> None:
    command = f"exec {sys.executable} -m hpcpgd.data info {MINI} >/dev/full"
    done = run(["bash", "-c", command], 60)
    error = "hpcpgd data: error: standard output: No space left on device\n"
    assert (done.code, done.err) == (74, error)
