"""The tables of backends and reductions say what their modules offer, and a row is enough."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.resolve import resolve
from hpcpgd.errors import ConfigError
from hpcpgd.kernels.backends.registry import BACKENDS
from tests.helpers.support import python

# A backend that is a row, under a name that nothing else uses.
NEW = """
import sys
from hpcpgd.kernels.backends.registry import BACKENDS
BACKENDS["new"] = BACKENDS["loops"]
from hpcpgd.train.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_s_module_offers_what_its_row_says(name: str) -> None:
    module, traits = import_module(BACKENDS[name].module), BACKENDS[name]
    assert hasattr(module, "Plan") != traits.scheduled
    assert hasattr(module, "calls") == traits.units
    assert traits.units or not traits.scheduled
    assert traits.own_threads or not traits.worth_a_team
    assert traits.blas or not traits.through_numpy


@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_reduction_has_a_module_and_backends(name: str) -> None:
    assert callable(import_module(REDUCTIONS[name].module).make)
    assert REDUCTIONS[name].backends


@pytest.mark.parametrize("reduction", ["allreduce", "reproducible"])
def test_a_new_backend_needs_no_more_than_its_row(reduction: str, tmp_path: Path) -> None:
    flags = ("--backend", "new", "--reduction", reduction, "--epochs", "1", "--quiet")
    python("-c", NEW, *flags, ranks=2, cwd=tmp_path).good()


def test_messages_name_what_the_tables_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "new", replace(BACKENDS["cuda"], precisions=("float64", "tf32")))
    assert resolve({"backend": "new"}, {}).dtype == "float64"
    monkeypatch.setitem(REDUCTIONS, "more", REDUCTIONS["shared"])
    for wrong, text in (
        ({"backend": "gemm", "matmul_precision": "tf32"}, "gemm: it needs backend cuda or new$"),
        ({"backend": "loops", "matmul_precision": "bf16"}, "loops: it needs backend gemm$"),
        ({"dtype": "float64", "matmul_precision": "bf16x6"}, "float64: it needs dtype float32$"),
        ({"backend": "loops", "reduction": "overlap"}, "or backend gemm or cuda or new$"),
        ({"backend": "new", "reduction": "more"}, "use reduction allreduce or overlap, or backend"),
        ({"reduction": "allreduce", "group_size": 2}, "shared and reproducible and more .now"),
    ):
        with pytest.raises(ConfigError, match=text):
            resolve({}, wrong)
