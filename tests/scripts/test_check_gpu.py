"""scripts/check_gpu.py on emulated GPUs, and how it judges."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scripts.gpu.claims import claims
from scripts.gpu.kernels import Finding
from scripts.gpu.report import claims_table, findings_table, timing_table
from scripts.gpu.timing import Cell
from tests.emulation.build import compiler
from tests.helpers.support import ROOT, environment, python, script


@pytest.mark.long(
    reason="a script's quick form of a minute; the kernels and jobs it runs are tested alone"
)
@pytest.mark.skipif(compiler() is None, reason="no C++ compiler to emulate a GPU with")
def test_everything_runs_and_is_compared(tmp_path: Path) -> None:
    env = environment(EMULATED_MPI="staged", PYTHONPATH=str(ROOT))
    words = ("scripts.check_gpu", "--quick", "--output", "found.json")
    done = python("-m", "tests.emulation.script", *words, env=env, cwd=tmp_path, timeout=240)
    done.ended(0)
    assert "kernels: 20 of 20 comparisons with reference are right" in done.out
    assert "timing: 39 of 39 comparisons with reference are right" in done.out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["machine"]["gpu_model"] == "emulated"
    what = [finding["what"] for finding in found["correctness"]]
    assert all(finding["error"] <= finding["bound"] for finding in found["correctness"])
    assert sum("weights of 4 ranks" in text for text in what) == 3
    assert sum("loss on mnist" in text for text in what) == 5
    float32, tf32 = found["timing"][:2]
    assert {"cuda", "cuda-loops", "cuBLAS alone"} <= set(float32["seconds"])
    assert float32["errors"]["cuda"] < 1e-5
    assert 1e-5 < tf32["errors"]["cuda"] < 1e-2


def cell(network: str, batch: int, **times: float) -> Cell:
    made = Cell(network, batch, "float32", 10**6)
    made.seconds = {name.replace("_", " "): [t, 2 * t, t] for name, t in times.items()}
    return made


def test_claims_are_judged_by_the_rounds_ratios() -> None:
    found = claims([cell("net-1h", 128, cuda=1.0, PyTorch=1.5, JAX=1.1)])
    assert [(c.value, c.asked, c.holds) for c in found] == [(1.1, 1.2, False)]
    found = claims([cell("net-1h", 16384, cuda=1.0, JAX=0.97, PyTorch=3.0, cuBLAS_alone=0.8)])
    assert [c.holds for c in found] == [True, True]
    one = claims([cell("net-1h", 128, cuda=1.0, PyTorch=9.0)])
    assert [c.verdict() for c in one] == ["not measured"]
    absent = claims([cell("net-1h", 32, cuda=1.0)])
    assert [c.verdict() for c in absent] == ["not measured"]
    wide = claims([cell("net-1h", 128, cuda=1.0), cell("784-1000-10", 128, cuda=1.2)])
    assert [(c.value, c.holds) for c in wide[1:]] == [(pytest.approx(1.2), False)]
    assert "does not hold" in claims_table(wide)


def test_what_is_wrong_or_not_a_number_is_said() -> None:
    good, bad, nan = Finding("a", 1e-9, 1e-6), Finding("b", 1e-3, 1e-6), Finding("c", np.nan, 1e-6)
    text = findings_table([good, bad, nan])
    assert "WRONG b" in text
    assert "WRONG c" in text
    assert "1 of 3" in text


def test_the_table_names_who_is_absent() -> None:
    one = cell("net-1h", 32, cuda=1e-3)
    one.absent["JAX"] = "ModuleNotFoundError: No module named 'jax'"
    text = timing_table([one])
    assert "JAX: ModuleNotFoundError" in text
    assert "1.875" in text


class Broken:
    """A contestant whose gradient is wrong."""

    def __init__(self, setting: object) -> None:
        pass

    def run(self, steps: int) -> None:
        raise AssertionError

    def gradient(self) -> list[np.ndarray]:
        return [np.zeros((784, 4)), np.zeros(4), np.zeros((4, 10)), np.zeros(10)]


def failing(setting: object) -> Broken:
    raise RuntimeError("cannot\ncapture")


def test_a_peer_s_failure_is_named_and_ours_is_never_excused() -> None:
    from hpcpgd.kernels.core.network import Network
    from hpcpgd.parallel import mpi
    from scripts.bench.setting import Setting, load_data
    from scripts.gpu.timing import make_runners

    mpi.start()
    setting = Setting(mpi.MPI.COMM_SELF, load_data(), Network((784, 4, 10)), 8, None)
    one = Cell("net-1h", 8, "float32", 1)
    runners, found = make_runners(one, setting, {"JAX": failing, "PyTorch": Broken, "cuda": Broken})
    assert runners == {}
    assert one.absent["JAX"] == "RuntimeError: cannot capture"
    assert "wrong: relative error 1.0e+00" in one.absent["PyTorch"]
    assert [(f.what, f.right) for f in found] == [("cuda float32 gradient, net-1h batch 8", False)]
    with pytest.raises(RuntimeError, match="cannot"):
        make_runners(one, setting, {"cuda": failing})


def test_several_ranks_are_refused(tmp_path: Path) -> None:
    script("check_gpu", ranks=2, cwd=tmp_path).one_line(2, "start one")
