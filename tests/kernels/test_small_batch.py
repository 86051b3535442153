"""Products with few rows of a minibatch: float64 is the reference; division changes no bit.

The blocks are compiled for any processor, though the backend uses them with AVX-512 alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcpgd.kernels.blas.small_batch import FEW, FEW_SUMMED, RATIO, is_small, multiply
from hpcpgd.machine.resources import find_blas

# How both factors are transposed, and alpha and beta: forward, gradient, update, back.
KINDS = {
    "forward": ((False, False), (1.0, 0.0)), "gradient": ((True, False), (0.5, 0.0)),
    "update": ((True, False), (-0.3, 1.0)), "back": ((False, True), (1.0, 0.0)),
}  # fmt: skip
# M, N and K: heights of 8, 4, 2 and 1, widths of 3, 2 and 1 vectors, columns that fill none.
SHAPES = [
    (1, 16, 16), (15, 112, 47), (32, 37, 130), (8, 48, 64), (7, 100, 1), (33, 10, 200), (3, 16, 0),
]  # fmt: skip
DTYPES = {"float32": 5e-7, "float64": 1e-15}


def product(transposed: Any, scales: Any, a: Any, b: Any, c: Any) -> Any:
    """Return the product as the kernels compute it, in columns of a larger matrix."""
    blas = find_blas("gemm").routines(str(c.dtype))
    whole = np.full((c.shape[0] + 1, c.shape[1] + 32), 7, c.dtype)
    part = whole[:-1, 16:-16]
    part[:] = c
    multiply(blas, transposed, scales, a, b, part)
    assert (whole[-1] == 7).all()
    assert (whole[:, :16] == 7).all()
    assert (whole[:, -16:] == 7).all()
    return part.copy()


def operands(shape: Any, transposed: Any, dtype: str) -> list[Any]:
    """Return random factors and an output, which are (M, K), (K, N) and (M, N) if applied."""
    m, n, k = shape
    random = np.random.default_rng(sum(shape))
    shapes = ((k, m) if transposed[0] else (m, k)), ((n, k) if transposed[1] else (k, n)), (m, n)
    return [random.standard_normal(size).astype(dtype) for size in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_products(kind: str, shape: Any, dtype: str) -> None:
    transposed, scales = KINDS[kind]
    a, b, c = operands(shape, transposed, dtype)
    left, right = (x.T if t else x for x, t in zip((a, b), transposed, strict=True))
    exact = scales[0] * (left.astype(float) @ right) + scales[1] * c.astype(float)
    if not scales[1]:
        c[:] = np.nan  # beta 0 overwrites whatever the buffer holds
    found = product(transposed, scales, a, b, c)
    assert np.linalg.norm(found - exact) <= DTYPES[dtype] * np.linalg.norm(exact)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_nan_and_inf_stay_in_their_rows(kind: str, bad: float) -> None:
    transposed, scales = KINDS[kind]
    a, b, c = operands((20, 40, 70), transposed, "float32")
    (a.T if transposed[0] else a)[3, 69] = bad
    found = product(transposed, scales, a, b, c)
    assert not np.isfinite(found[3]).any()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_any_division_gives_the_same_bits(kind: str) -> None:
    """By rows, and by columns at multiples of 16, as units are."""
    transposed, scales = KINDS[kind]
    a, b, c = operands((29, 112, 150), transposed, "float32")
    whole = product(transposed, scales, a, b, c)
    for rows in (slice(0, 13), slice(13, 29)):
        for columns in (slice(0, 16), slice(16, 80), slice(80, 112)):
            left = a[:, rows] if transposed[0] else a[rows]
            right = b[columns] if transposed[1] else b[:, columns]
            part = product(transposed, scales, left, right, c[rows, columns])
            assert part.tobytes() == whole[rows, columns].tobytes()


def test_which_products_are_small() -> None:
    """Those with few rows of the minibatch, and a vector along N, or a long K."""
    for kind, most, least in (
        ("forward", FEW, 16), ("update", FEW_SUMMED, 16),
        ("back", FEW, RATIO * FEW), ("back", 3, 16),
    ):  # fmt: skip
        transposed = KINDS[kind][0]
        cases = [(most, least, True), (most, least - 1, False)]
        cases += [(most + 1, 2 * least, False)] if most != 3 else []
        for rows, width, small in cases:
            m, n, k = {
                "forward": (rows, width, 300), "back": (rows, 300, width),
                "update": (300, width, rows),
            }[kind]  # fmt: skip
            a, _, c = operands((m, n, k), transposed, "float32")
            assert is_small(transposed, a, c) is small
