"""The CUDA sources, run on the CPU by tests/emulation, against ``reference``."""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

import numpy as np
import pytest

from hpcpgd.kernels.backends import cuda_loops
from hpcpgd.kernels.core.permutation import key, permutation, permuted_range, width
from hpcpgd.kernels.device import cuda_source
from hpcpgd.kernels.device.cupy_device import NULL
from hpcpgd.kernels.device.device_plan import DeviceRows
from tests.emulation.build import build, compiler
from tests.emulation.device import EmulatedDevice
from tests.helpers.problems import FUNCTIONS, Problem, upload

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler to emulate a GPU with")

BACKENDS = ["cuda-loops", "cuda"]
WIDTHS = [1, 31, 33, 1000, 1023, 1024]


def compare(problem: Problem, backend: str, dtype: str, device: EmulatedDevice) -> None:
    """Compare gradient, accumulated gradient and totals with the reference."""
    seen, totals = problem.require_right_on(device, backend, dtype)
    # If two outputs are equal in float32, either of them may be the prediction.
    assert abs(seen[1] - totals[1]) <= (0 if dtype == "float64" else 2)


@pytest.mark.parametrize("rows", [1, 7, 128])
@pytest.mark.parametrize("hidden", WIDTHS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_width_without_races_and_bank_conflicts(backend: str, hidden: int, rows: int) -> None:
    """Each width is a fan_out and a fan_in; all accesses to shared memory are checked."""
    device = EmulatedDevice(watched=True)
    compare(Problem((hidden, hidden, 10), rows, FUNCTIONS[0]), backend, "float32", device)
    assert device.warp_accesses > 0
    assert device.conflicts == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hidden", [33, 1000])
def test_float64_without_races_and_bank_conflicts(backend: str, hidden: int) -> None:
    device = EmulatedDevice(watched=True)
    compare(Problem((hidden, hidden, 10), 7, FUNCTIONS[0]), backend, "float64", device)
    assert (device.conflicts, device.warp_accesses > 0) == (0, True)


@pytest.mark.parametrize("rows", [600, 1025, 2600])
@pytest.mark.parametrize("backend", BACKENDS)
def test_many_rows(backend: str, rows: int) -> None:
    """More chunks of rows than a block has lines, small chunks and large ones."""
    compare(Problem((20, 40, 10), rows, FUNCTIONS[0]), backend, "float64", EmulatedDevice())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [1, 7, 33])
def test_rows_beyond_the_count_are_left_alone(backend: str, rows: int) -> None:
    device = EmulatedDevice()
    problem = Problem((9, 17, 5), rows, FUNCTIONS[0])
    plan, table = problem.device_plan(backend, "float32", device)
    for buffer in (plan._activations, plan._deltas):
        device.write(buffer, np.full(buffer.size, 123, np.float32))
    problem.device_gradient(plan, table)
    for layer, width_of in enumerate(plan.network.widths):
        begin = int(plan.table[layer, 3])
        beyond = slice(begin + rows * width_of, begin + plan.capacity * width_of)
        assert (device.view(plan._activations)[beyond] == 123).all()
        if layer:
            first = int(plan.table[1, 3])
            here = slice(beyond.start - first, beyond.stop - first)
            assert (device.view(plan._deltas)[here] == 123).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("functions", FUNCTIONS)
def test_nan_is_never_swallowed(backend: str, functions: tuple[str, str, str]) -> None:
    """One NaN in one weight of the first layer: it must be in every gradient that depends on it."""
    device = EmulatedDevice()
    problem = Problem((6, 4, 3, 2), 5, functions)
    problem.parts[0][0][2, 1] = np.nan
    plan, rows = problem.device_plan(backend, "float32", device)
    parts, _ = problem.device_gradient(plan, rows)
    expected, _ = problem.gradient(problem.plan("reference", "float64"))
    for part, exact in zip(parts, expected, strict=True):
        assert np.isnan(part).any() == np.isnan(exact).any()
    assert np.isnan(parts[0]).any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("functions", FUNCTIONS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_functions_and_losses(backend: str, functions: tuple[str, str, str], dtype: str) -> None:
    compare(Problem((13, 17, 11, 5), 37, functions), backend, dtype, EmulatedDevice())


@pytest.mark.parametrize(
    ("dtype", "micro"), [(d, m) for d, micros in cuda_loops.MICROS.items() for m in micros]
)
def test_every_size_of_tile(dtype: str, micro: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes that fill tiles, leave a rest, or need many."""
    monkeypatch.setitem(cuda_loops.MICROS, dtype, (micro,))
    for widths, rows in (((16 * micro, 16 * micro, 5), 64), ((150, 131, 33), 140), ((3, 2), 1)):
        device = EmulatedDevice(watched=True)
        compare(Problem(widths, rows, FUNCTIONS[0]), "cuda-loops", dtype, device)
        assert device.conflicts == 0


def test_tiles_are_smaller_where_multiprocessors_would_be_idle() -> None:
    for multiprocessors, micro in ((1, 8), (16, 4), (100, 2)):
        device = EmulatedDevice(multiprocessors=multiprocessors)
        problem = Problem((200, 200), 200, FUNCTIONS[0])
        plan, rows = problem.device_plan("cuda-loops", "float32", device)
        used: list[int] = []
        for size, module in plan._modules.items():
            module.launch = partial(lambda size, used, *_: used.append(size), size, used)
        plan.forward(upload(device, problem.parameters(plan.network)), rows.rows)
        assert used == [micro]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_order_of_threads_and_blocks_is_not_seen(backend: str) -> None:
    """The bits are the same, so no barrier is missing."""
    problem = Problem((65, 130, 33, 10), 600, FUNCTIONS[1])
    results = []
    for order in (0, 1, 2, 3):
        plan, rows = problem.device_plan(backend, "float32", EmulatedDevice(order=order))
        parts, totals = problem.device_gradient(plan, rows)
        results.append([*parts, totals])
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert np.array_equal(first, second)


BARRIER = "__syncthreads();"


def without_barrier(source: str, number: int) -> str:
    """Remove the ``number``-th barrier of a source."""
    parts = source.split(BARRIER)
    parts[number : number + 2] = [parts[number] + parts[number + 1]]
    return BARRIER.join(parts)


# Of cuda.cu's three the second orders global memory between blocks, which run one after
# the other here: only a device can miss it.
BARRIERS = {"gather.cu": (0,), "cuda_loops.cu": (0, 1), "cuda.cu": (0, 2)}


@pytest.mark.parametrize(("source", "number"), [(s, n) for s, ns in BARRIERS.items() for n in ns])
def test_a_missing_barrier_is_noticed(source: str, number: int) -> None:
    """The emulation must notice a removed barrier: else its checks would be worthless."""
    text = cuda_source.read(source)
    assert text.count(BARRIER) == BARRIERS[source][-1] + 1

    def edit(other: str) -> str:
        return without_barrier(text, number) if other == text else other

    backend = "cuda" if source == "cuda.cu" else "cuda-loops"
    device = EmulatedDevice(watched=True, edit=edit)
    with pytest.raises(AssertionError, match=r"without a barrier|before it is written"):
        compare(Problem((33, 65, 10), 40, FUNCTIONS[0]), backend, "float32", device)


def test_a_bank_conflict_is_noticed() -> None:
    """Without the padding of rows the words of a warp are in few banks."""
    padding = "TILE + (WORDS > DEPTH ? WORDS / DEPTH : 1)"

    def edit(source: str) -> str:
        return source.replace(padding, "TILE")

    assert padding in cuda_source.read("cuda_loops.cu")
    device = EmulatedDevice(watched=True, edit=edit)
    compare(Problem((64, 64), 64, FUNCTIONS[0]), "cuda-loops", "float32", device)
    assert device.conflicts > 1000


def test_a_write_beyond_an_array_is_noticed() -> None:
    device = EmulatedDevice(edit=lambda source: source.replace("row < count &&", ""))
    with pytest.raises(AssertionError, match="written beyond"):
        compare(Problem((4, 8), 7, FUNCTIONS[0]), "cuda-loops", "float32", device)


@pytest.mark.parametrize("rows", [1, 5, 64, 65, 1000, 1797])
def test_the_device_permutes_rows_as_the_host_does(rows: int) -> None:
    """Row numbers are gathered as features, slice after slice, without a call of the host."""
    device = EmulatedDevice()
    problem = Problem((1, 1), rows, FUNCTIONS[0])
    plan, _ = problem.device_plan("cuda", "float64", device)
    numbers = np.arange(rows, dtype=np.float64)
    buffers = upload(device, numbers), upload(device, numbers.astype(np.int32))
    table = DeviceRows(rows, *buffers, np.float64(1), np.float64(0), width(rows))
    parameters, out = device.buffer(2 * 8, "float64"), device.buffer(2 * 8, "float64")
    plan.seek(key(11, 3, 2), 0, 0)
    seen: list[float] = []
    while len(seen) < rows:
        count = min(37, rows - len(seen))
        plan.load_next(table, count)
        seen += device.read(plan._activations, count).tolist()
        assert np.array_equal(device.read(plan._labels, count), seen[-count:])
        plan.gradient(parameters, count, out, False)
    device.synchronize()
    assert np.array_equal(seen, permutation(rows, 11, 3, 2))


PERMUTE = """
extern "C" __global__ void __launch_bounds__(1) permute(
    unsigned long long key, long long start, long long rows, int bits, long long* out) {
    out[blockIdx.x] = permuted(key, start + blockIdx.x, rows, bits);
}
"""


@pytest.mark.parametrize("rows", [2**31 + 11, 2**33 - 5, 2**40 + 1])
def test_more_rows_than_32_bits_count(rows: int) -> None:
    library = build(cuda_source.read("permutation.cuh") + PERMUTE, False, ())
    for start in (0, 2**31, rows - 50):
        expected = np.zeros(50, np.int64)
        permuted_range(rows, 5, 3, 2, start, expected)
        out = np.zeros(50, np.int64)
        arguments = [
            np.array([value], kind)
            for value, kind in (
                (key(5, 3, 2), np.uint64), (start, np.int64), (rows, np.int64),
                (width(rows), np.int32), (out.ctypes.data, np.uint64),
            )
        ]  # fmt: skip
        pointers = (ctypes.c_void_p * 5)(*(cell.ctypes.data for cell in arguments))
        library.handle.launch_permute(pointers, 50, 1, 0)
        assert np.array_equal(out, expected)


@pytest.mark.parametrize("feature", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width_in", [150, 784, 1])
def test_features_are_scaled_as_on_the_host(feature: str, dtype: str, width_in: int) -> None:
    device = EmulatedDevice()
    problem = Problem((width_in, 2), 9, FUNCTIONS[0])
    plan, _ = problem.device_plan("cuda", dtype, device)
    x = np.random.default_rng(0).integers(0, 255, (9, width_in)).astype(feature)
    real = np.dtype(dtype).type
    labels = upload(device, np.zeros(9, np.int32))
    rows = DeviceRows(9, upload(device, x), labels, real(1 / 255), real(0.25), width(9))
    plan.load(rows, 2, 6)
    seen = device.read(plan._activations, 6 * width_in).reshape(6, width_in)
    bound = 1e-15 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(seen, x[2:8].astype(np.float64) / 255 + 0.25, rtol=0, atol=bound)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 1023, 1024, 2047])
def test_the_update_remembers_the_first_step_that_was_not_finite(value: float, place: int) -> None:
    device = EmulatedDevice()
    problem = Problem((63, 32), 4, FUNCTIONS[0])
    plan, rows = problem.device_plan("cuda", "float32", device)
    size = plan.network.size
    assert size == 2048
    start = np.linspace(-1, 1, size, dtype=np.float32)
    parameters, gradient = upload(device, start), upload(device, start[::-1].copy())
    bad = start.copy()
    bad[place] = value
    scratch = device.buffer(size, "float32")
    for step in range(4):
        plan.load_next(rows, 1)
        plan.gradient(parameters, 1, scratch, False)
        plan.update(parameters, gradient if step != 2 else upload(device, bad), 0.5)
        if step == 0:
            expected = start - np.float32(0.5) * start[::-1]
            np.testing.assert_allclose(device.read(parameters, size), expected, atol=1e-6)
        assert plan.first_bad() == (None if step < 2 else 2)


def test_predictions_take_the_first_of_equal_outputs_and_survive_nan() -> None:
    device = EmulatedDevice()
    outputs = np.zeros((6, 70), np.float32)
    outputs[1, 3] = outputs[1, 65] = 2
    outputs[2, 69] = 1
    outputs[3] = np.nan
    outputs[4] = -np.inf
    outputs[5, 40] = np.inf
    problem = Problem((70, 70), 6, ("linear", "linear", "mse"))
    problem.x, problem.labels = outputs.astype(np.float64), np.array([0, 3, 69, 0, 0, 40])
    problem.parts = [(np.eye(70), np.zeros(70))]
    plan, rows = problem.device_plan("cuda-loops", "float32", device)
    parameters = upload(device, problem.parameters(plan.network))
    plan.load(rows, 0, 6)
    plan.evaluate(parameters, 3)
    assert plan.predicted(3).tolist() == [0, 3, 69]
    # The products turn Inf into NaN; put the outputs there as they are.
    device.synchronize()
    last = device.view(plan._activations)[int(plan.table[1, 3]) :][: 6 * 70]
    last[:] = outputs.reshape(-1)
    plan.take_totals(3)
    plan._finish(parameters, 6, NULL, None)
    assert plan.predicted(6).tolist() == [0, 3, 69, 0, 0, 40]
    assert plan.take_totals(6)[1] == 6


def test_tf32_rounds_the_products_and_nothing_else() -> None:
    """Its error lies between float32's and what 10 bits of mantissa allow."""
    problem = Problem((300, 200, 10), 64, FUNCTIONS[0])
    expected, _ = problem.gradient(problem.plan("reference", "float64"))

    def error(precision: str) -> float:
        plan, rows = problem.device_plan("cuda", "float32", EmulatedDevice(), precision)
        parts, _ = problem.device_gradient(plan, rows)
        pairs = zip(parts, expected, strict=True)
        return max(float(np.linalg.norm(p - e) / np.linalg.norm(e)) for p, e in pairs)

    assert error("float32") < 2e-6
    assert 2e-5 < error("tf32") < 2e-3


def test_the_step_is_five_kernels() -> None:
    """The paper's five, for a network of one hidden layer: forward and weights twice."""
    device = EmulatedDevice()
    problem = Problem((20, 30, 10), 8, FUNCTIONS[0])
    plan, rows = problem.device_plan("cuda-loops", "float32", device)
    parameters: Any = upload(device, problem.parameters(plan.network))
    out = device.buffer(plan.network.size, "float32")
    plan.load(rows, 0, 8)
    device.synchronize()
    device.launches.clear()
    plan.gradient(parameters, 8, out, False)
    plan.update(parameters, out, 0.1)
    device.synchronize()
    assert device.launches == [
        "forward", "forward", "output_delta", "weight_gradient", "hidden_delta",
        "weight_gradient", "update",
    ]  # fmt: skip
    assert device.cublas.products == []
