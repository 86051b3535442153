"""Jobs whose products run on tiles, or cannot."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from hpcpgd.kernels.backends.registry import TILE_PARTS
from hpcpgd.kernels.tiles import amx
from tests.helpers.support import ROOT, TRAIN, environment, python

WITHOUT = """
import sys
from hpcpgd.machine import resources
resources.refusal = lambda: "this processor has no AMX with bfloat16"
from hpcpgd.train.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("ranks", [None, 3])
def test_without_tiles_one_line_says_so(ranks: int | None, tmp_path: Path) -> None:
    done = python("-c", WITHOUT, "--matmul-precision", "bf16", ranks=ranks, cwd=tmp_path)
    says = ("bf16: this processor has no AMX", "--matmul-precision float32")
    done.one_line(69, *says, out="")


def test_a_refused_permission_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = SimpleNamespace(syscall=lambda *_: -1)
    features = {"amx-tile": True, "amx-bf16": True, "avx512bf16": True}
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: features)
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: libc)
    assert "refuses AMX" in amx.refusal.__wrapped__()
    features["amx-bf16"] = False
    assert "no AMX" in amx.refusal.__wrapped__()


@pytest.mark.amx
def test_a_stopped_job_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    tiled = ("--matmul-precision", "bf16x6", "--reduction", "reproducible", "--epochs", "2")
    again = ("--checkpoint-dir", "kept", "--max-steps")
    for flags, ranks in ((("--output", "one.h5"), 1), (("--output", "two.h5", *again, "50"), 3)):
        done = python(*TRAIN, *tiled, *flags, ranks=ranks, cwd=tmp_path).good()
        assert "bf16x6 products on AMX tiles" in done.out
    python(*TRAIN, *tiled, "--output", "two.h5", *again[:2], ranks=2, cwd=tmp_path).ended(0)
    with h5py.File(tmp_path / "one.h5") as one, h5py.File(tmp_path / "two.h5") as two:
        assert one.attrs["precision"] == "bf16x6"
        assert len(two["segments/ranks"]) == 2
        assert one.attrs["params_sha256"] == two.attrs["params_sha256"]
        assert one["cost/flops"][0] == 3 * 2 * 64 * 32 * 32  # bytes: three products


@pytest.mark.parametrize("what", ["row", "infinity"])
@pytest.mark.parametrize(
    "precision", ["float32", *(pytest.param(name, marks=pytest.mark.amx) for name in TILE_PARTS)]
)
def test_nan_and_inf_end_a_job_in_their_step(precision: str, what: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((330, 20), np.float32)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(330) % 5)
    done = python(
        "-m", "tests.faults.corrupt", "1", what, "11", "0", str(tmp_path), "--dataset", "d.npz",
        "--train-rows", "275", "--batch-size", "37", "--matmul-precision", precision,
        ranks=3, cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT)),
    )  # fmt: skip
    done.one_line(3, "NaN or Inf in the gradient at epoch 2, step 3 of 8")
