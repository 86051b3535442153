"""The table of backends says what their modules offer."""

from __future__ import annotations

from importlib import import_module

import pytest

from hpcpgd.kernels.backends.registry import BACKENDS


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_s_module_offers_what_its_row_says(name: str) -> None:
    module, traits = import_module(BACKENDS[name].module), BACKENDS[name]
    assert hasattr(module, "Plan") != traits.scheduled
    assert hasattr(module, "calls") == traits.units
    assert traits.units or not traits.scheduled
    assert traits.own_threads or not traits.worth_a_team
    assert traits.blas or not traits.through_numpy
