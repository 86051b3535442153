"""Products on tiles: every bit as in the emulation, which is a product of float32 accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcpgd.kernels.core.elementwise import NOTHING, Completion
from hpcpgd.kernels.core.network import aligned_zeros
from hpcpgd.kernels.tiles.tile_product import SPARE, Panels, multiply, panel_bytes
from tests.emulation import tiles

PARTS = [(1, 1), (1, 3), (3, 3)]
# M, N and K: single blocks, ragged ones, several sums along K, several packed pieces.
SHAPES = [
    (1, 1, 1), (32, 64, 32), (33, 10, 47), (70, 37, 130), (5, 40, 2080), (1060, 3, 40),
    (3, 1090, 40), (4, 3, 0),
]  # fmt: skip
needs_amx = pytest.mark.amx


def product(
    left: Any, right: Any, parts: Any, scales: Any = (1.0, 0.0), before: Any = np.nan,
    across: Any = (False, True),
) -> Any:  # fmt: skip
    """Return the product of (M, K) and (K, N) on tiles, from matrices in the given orders."""
    out = np.full((len(left), right.shape[1]), before, np.float32)
    a = np.ascontiguousarray(left.T if across[0] else left)
    b = np.ascontiguousarray(right if across[1] else right.T)
    blocks = aligned_zeros(panel_bytes(max(parts)), np.uint8)
    panels = Panels(blocks, aligned_zeros(SPARE, np.float32))
    how, nothing = ((across[0], not across[1]), scales), Completion(NOTHING, 0, out[0], a, a, 0)
    multiply(panels, parts, how, nothing, a, b, out)
    return out


def assert_same_bits(found: Any, expected: Any) -> None:
    """Compare all bits but those of NaN."""
    first, second = (np.where(np.isnan(x), -1, x.view(np.int32)) for x in (found, expected))
    np.testing.assert_array_equal(first, second)


def factors(m: int, n: int, k: int, exponents: tuple[int, int] = (0, 1)) -> tuple[Any, Any]:
    """Return random matrices (M, K) and (K, N), times random powers of two."""
    random = np.random.default_rng(m + n + k)
    left, right = (
        np.ldexp(random.standard_normal(shape), random.integers(*exponents, shape)).astype("f4")
        for shape in ((m, k), (k, n))
    )
    return left, right


@needs_amx
@pytest.mark.parametrize("across", [(a, b) for a in (False, True) for b in (False, True)])
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_bit(shape: tuple[int, int, int], parts: Any, across: Any) -> None:
    left, right = factors(*shape, (-20, 20))
    before = np.random.default_rng(0).standard_normal(shape[:2]).astype("f4")
    for scales in ((1.0, 0.0), (-0.3, 1.0)):
        found = product(left, right, parts, scales, before, across)
        assert_same_bits(found, tiles.multiply(left, right, parts, scales, before))


@needs_amx
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("exponents", [(-75, -55), (-64, -60), (55, 64)])
def test_every_bit_at_the_ends_of_the_range(exponents: Any, parts: Any) -> None:
    """Denormal numbers are zero, and a sum may overflow."""
    left, right = factors(40, 30, 96, exponents)
    left[3], right[:, 4] = 1e-40, -1e-42
    left[5] = 1.17549e-38  # denormal, but the nearest bfloat16 number is normal
    expected = tiles.multiply(left, right, parts, (1.0, 0.0), np.zeros((40, 30)))
    assert_same_bits(product(left, right, parts), expected)


@needs_amx
def test_a_result_is_zero_if_it_is_denormal_after_rounding() -> None:
    for size, expected in ((0.5, 2.0**-126), (0.625, 0.0)):
        left, right = np.zeros((1, 32), np.float32), np.zeros((32, 1), np.float32)
        left[0, [0, 2]], right[[0, 2], 0] = (2.0**-63, -size * 2.0**-75), (2.0**-63, 2.0**-75)
        assert product(left, right, (1, 1))[0, 0] == expected
        assert tiles.sum_of_products(left, right, (1, 1))[0, 0] == expected


@needs_amx
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3.4e38, "7fffffff", "ff800001"])
def test_nan_and_inf_stay_in_their_rows(bad: Any, parts: Any) -> None:
    left, right = factors(35, 40, 50)
    left[[2, 33], 49] = np.array(int(bad, 16), np.uint32).view("f4") if type(bad) is str else bad
    with np.errstate(invalid="ignore"):
        expected = tiles.multiply(left, right, parts, (1.0, 0.0), np.zeros((35, 40)))
    found = product(left, right, parts)
    assert_same_bits(found, expected)
    assert not np.isfinite(found[[2, 33]]).any()
    assert np.isfinite(np.delete(found, [2, 33], axis=0)).all()


def test_rounding_and_parts() -> None:
    for number, expected in ((1.0, 1.0), (1 + 2**-8, 1.0), (1 + 3 * 2**-8, 1 + 2**-6), (255, 255)):
        assert tiles.rounded(np.array([number], np.float32))[0] == expected
    left, _ = factors(50, 1, 50, (-30, 30))
    assert (sum(part.astype(float) for part in tiles.parts_of(left, 3)) == left).all()


@pytest.mark.parametrize(("parts", "bound"), [((1, 1), 4e-3), ((1, 3), 4e-3), ((3, 3), 3e-7)])
def test_emulation_against_float64(parts: Any, bound: float) -> None:
    left, right = factors(20, 30, 1100)
    exact = left.astype(float) @ right
    found = tiles.multiply(left, right, parts, (1.0, 0.0), np.zeros((20, 30)))
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    assert bound / 10 < error < bound
