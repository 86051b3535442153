"""The layout of the flat vector and the count of work, against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hpcpgd.kernels.core.network import Network


def test_net_1h_by_hand() -> None:
    net = Network((784, 1024, 10))
    assert net.n_parameters == 784 * 1024 + 1024 + 1024 * 10 + 10
    forward = 2 * (784 * 1024 + 1024 * 10)
    assert net.flops_per_example == forward + forward + 2 * 1024 * 10


def test_net_2h_by_hand() -> None:
    net = Network((784, 1024, 1024, 10))
    products = 784 * 1024 + 1024 * 1024 + 1024 * 10
    assert net.flops_per_example == 4 * products + 2 * (1024 * 1024 + 1024 * 10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("widths", [(1, 1), (3, 5, 2), (17, 33, 1, 10)])
def test_views_are_aligned_and_cover_every_parameter_once(
    widths: tuple[int, ...], dtype: str
) -> None:
    net = Network(widths, dtype)
    flat = net.zeros()
    assert flat.shape == (net.size,)
    for view in net.parts(flat).values():
        assert view.ctypes.data % 64 == 0
        assert np.shares_memory(view, flat)
        view += 1
    assert flat.sum() == net.n_parameters
    assert set(np.unique(flat)) <= {0, 1}
