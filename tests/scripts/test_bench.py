"""``scripts/bench_train.py``: its statistics, its quick form, and what it refuses to time."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hpcpgd.kernels.core.network import Network
from hpcpgd.kernels.tiles.amx import refusal
from hpcpgd.machine.cores import affinity
from hpcpgd.parallel import mpi
from scripts.bench import comparisons, launcher, placement, report, rounds, summary, verify
from scripts.bench.peaks import PEAKS
from scripts.findings import slug
from tests.helpers.support import ROOT, Done, environment, python

NETWORK = Network((784, 1024, 10))

two_cores = pytest.mark.skipif(len(affinity()) < 2, reason="the benchmark needs two cores")


def section(seconds: list[list[float]], peaks: list[list[float]]) -> Any:
    """Return gemm on one core and on two, and the floor, with given rounds."""
    cells = [
        rounds.Cell("gemm", placement.ONE_CORE, None, 2),
        rounds.Cell("gemm shared", placement.TWO_RANKS, None, 4),
        rounds.Cell("floor", placement.ONE_CORE, None, 2),
        rounds.Cell("floor", placement.TWO_RANKS, None, 4),
    ]
    made = [
        rounds.Round(times, np.array([pair] * 5), 0.0)
        for times, pair in zip(seconds, peaks, strict=True)
    ]
    return rounds.Section("Net-1h", 1024, NETWORK, cells, made)


def test_spread_is_median_and_quartiles() -> None:
    spread = summary.spread
    assert spread(np.array([4.0, 1.0, 3.0, 2.0])) == {"median": 2.5, "q1": 1.75, "q3": 3.25}
    values = np.random.default_rng(0).random(15)
    low, median, high = statistics.quantiles(values.tolist(), n=4, method="inclusive")
    expected = {"median": median, "q1": low, "q3": high}
    assert spread(values) == pytest.approx(expected)
    assert spread(np.array([])) is None


def test_disturbed_rounds_are_dropped_and_counted() -> None:
    peaks = [[240.0, 230.0], [236.0, 190.0], [200.0, 228.0], [217.0, 208.0]]
    made = section([[1.0, 1.0, 1.0, 1.0]] * 4, peaks)
    best = rounds.best_peaks(made.rounds)
    assert best.tolist() == [240.0, 230.0]
    assert rounds.kept(made.rounds, best) == [made.rounds[0], made.rounds[3]]
    found = summary.section_summary(made, best)
    assert (found["rounds_kept"], found["rounds_dropped"]) == (2, 2)
    assert [r["kept"] for r in found["rounds"]] == [True, False, False, True]


def test_one_disturbed_check_in_the_middle_drops_the_round() -> None:
    made = section([[1.0, 1.0, 1.0, 1.0]] * 2, [[240.0, 240.0]] * 2)
    made.rounds[1].peaks[2, 0] = 200.0
    assert rounds.kept(made.rounds, np.array([240.0, 240.0])) == made.rounds[:1]


def test_a_disturbed_turn_is_repeated_at_once() -> None:
    """The second cell's core falls short once; its second turn counts."""
    mpi.start()
    peaks = iter([240.0, 240.0, 100.0, 240.0, 240.0, 240.0])
    source: Any = SimpleNamespace(gflops=lambda: next(peaks))
    watch = rounds.Stopwatch(mpi.MPI.COMM_SELF, placement.Cores(0), source, 0.1)
    ran: list[str] = []

    def cell(name: str) -> Any:
        work = SimpleNamespace(run=lambda steps: ran.append(name))
        return rounds.Cell(name, placement.ONE_CORE, work)

    made = watch.round(rounds.Section("Net-1h", 128, NETWORK, [cell("a"), cell("b"), cell("c")]))
    assert ran == ["a", "b", "b", "b", "c"]
    assert len(made.seconds) == 3
    assert made.peaks.min() == 240.0


def test_a_round_with_other_programs_is_dropped() -> None:
    made = section([[1.0, 1.0, 1.0, 1.0]] * 2, [[240.0, 240.0]] * 2)
    made.rounds[0].others = 0.1
    assert rounds.kept(made.rounds, np.array([240.0, 240.0])) == made.rounds[1:]


def test_times_rates_and_paired_ratios() -> None:
    # The second round is twice as slow throughout: paired ratios do not see it.
    seconds = [[0.11, 0.12, 0.10, 0.11], [0.22, 0.24, 0.20, 0.22], [0.12, 0.12, 0.10, 0.11]]
    made = section(seconds, [[240.0, 240.0]] * 3)
    found = summary.section_summary(made, np.array([240.0, 240.0]))
    one, two, *_ = found["cells"]
    per_step = np.array([row[0] for row in seconds]) / 2
    assert one["seconds_per_60000"]["median"] == pytest.approx(np.median(per_step) / 1024 * 60000)
    rate = NETWORK.flops_per_example * 1024 / np.median(per_step) / 1e9
    assert one["gflops"]["median"] == pytest.approx(rate)
    assert one["of_fma_peak"]["median"] == pytest.approx(rate / 240)
    rate_two = NETWORK.flops_per_example * 1024 * 4 / 0.12 / 1e9
    assert two["of_fma_peak"]["median"] == pytest.approx(rate_two / 480)
    ratios = {row["text"]: row for row in found["ratios"]}
    over_floor = ratios["gemm, 1 core: time over floor"]
    assert over_floor["ratio"]["median"] == pytest.approx(1.1)
    assert (over_floor["asked"], over_floor["met"]) == ("at most 1.08", False)
    speedup = ratios["gemm shared, 2 ranks: speedup over gemm, 1 core"]
    assert speedup["ratio"]["median"] == pytest.approx(2 * 0.11 / 0.12)
    assert "asked" not in speedup
    of_floor = ratios["gemm shared, 2 ranks: speedup over the floor's"]
    expected = (2 * 0.11 / 0.12) / (2 * 0.10 / 0.11)
    assert of_floor["ratio"]["median"] == pytest.approx(expected)
    assert of_floor["asked"] == "at least 0.95"
    assert len(ratios) == 5


def test_bounds() -> None:
    bound = comparisons.Bound
    assert bound(True, 1.8).met(1.8)
    assert not bound(True, 1.8).met(1.79)
    assert bound(False, 1.2).met(1.2)
    assert not bound(False, 1.2).met(1.21)
    assert bound(True, 1.8).text == "at least 1.8"


def test_no_undisturbed_round_is_said() -> None:
    made = section([[1.0, 1.0, 1.0, 1.0]], [[100.0, 240.0]])
    found = summary.section_summary(made, np.array([240.0, 240.0]))
    lines = report.section_lines(found)
    assert "0 rounds kept, 1 dropped" in lines[0]
    assert all("disturbed" in line or "unknown" in line for line in lines[2:])
    json.dumps(found, allow_nan=False)


def test_relative_error() -> None:
    error = verify.relative_error
    expected = [np.array([3.0, 4.0]), np.array([1.0])]
    assert error(expected, expected) == 0
    assert error([np.array([3.0, 4.5]), np.array([1.0])], expected) == pytest.approx(0.1)
    assert error([np.array([3.0, np.nan]), np.array([1.0])], expected) == np.inf


def test_slug() -> None:
    assert slug("Intel(R) Xeon(R) @ 2.60GHz") == "intel-r-xeon-r-2-60ghz"


@pytest.mark.parametrize("rounds", ["0", "-1", "x"])
def test_bad_rounds(rounds: str) -> None:
    done = run("-m", "scripts.bench_train", "--rounds", rounds).ended(2)
    assert "--rounds" in done.err


def run(*command: object, **environ: str) -> Done:
    env = environment(**{"PYTHONPATH": str(ROOT), **environ})
    return python(*map(str, command), env=env, timeout=240)


@pytest.mark.long(
    reason="a script's quick form of a minute; its statistics and refusals always run"
)
@two_cores
def test_quick(tmp_path: Path) -> None:
    output = tmp_path / "new" / "bench.json"
    done = run(
        "-m", "scripts.bench_train", "--quick", "--output", output, OPENBLAS_CORETYPE="Haswell"
    ).ended(0)
    assert "OPENBLAS_CORETYPE" in done.out
    text = output.read_text()
    found = json.loads(text)
    assert str(ROOT) not in text
    assert str(tmp_path) not in text
    assert "OPENBLAS_CORETYPE" in found["unset_variables"]
    assert found["rounds_wanted"] == 2
    assert len(found["machine"]["fma_peak_gflops"]) == 2
    errors = found["gradient_errors"].items()
    assert max(error for name, error in errors if " bf16," not in name) < 1e-5
    *trained, loops = found["sections"]
    assert [(s["network"], s["batch"]) for s in trained] == [("Net-1h", 128), ("Net-2h", 128)]
    for part in trained:
        check_section(part, *map(list, zip(*trained_cells(), strict=True)))
        asked = [row["text"] for row in part["ratios"] if "asked" in row]
        assert "gemm reproducible, 2 ranks: time over gemm shared, 2 ranks" in asked
    names = ["loops"] * 3
    places = [(1, 1), (1, 2), (2, 1)]
    if found["versions"]["cc"]:
        names += ["C -O2", "C -O3 -march=native"]
    check_section(loops, names, places + [(1, 1)] * (len(names) - 3))
    assert loops["batch"] == 128
    asked = [row["text"] for row in loops["ratios"] if "asked" in row]
    assert "loops, 2 ranks: speedup over loops, 1 core" in asked


def trained_cells() -> list[tuple[str, tuple[int, int]]]:
    """Return names, ranks and threads of the cells of a network."""
    tiled = [] if refusal() else ["bf16", "bf16x6"]
    names = ["shared", "reproducible"]
    return [
        ("gemm", (1, 1)), ("gemm reproducible", (1, 1)), ("gemm", (1, 2)),
        *((f"gemm {precision}", (1, 1)) for precision in tiled),
        *((f"gemm {name}", (2, 1)) for name in ("allreduce", "overlap", *names)),
        *((f"gemm {name} {precision}", (2, 1)) for precision in tiled for name in names),
        *((name, (ranks, 1)) for name in ("floor", *PEAKS) for ranks in (1, 2)),
    ]  # fmt: skip


def check_section(part: dict[str, Any], names: list[str], places: list[tuple[int, int]]) -> None:
    """Check that every cell was timed in every round; the times themselves may be any."""
    assert [cell["name"] for cell in part["cells"]] == names
    assert [(c["ranks"], c["threads"]) for c in part["cells"]] == places
    assert part["rounds_kept"] + part["rounds_dropped"] == len(part["rounds"]) >= 2
    for made in part["rounds"]:
        assert len(made["seconds"]) == len(names)
        assert min(made["seconds"]) > 0
        assert np.shape(made["fma_peak_gflops"]) == (len(names) + 1, 2)


PERTURBED = """
import sys
from scripts import bench_train
from hpcpgd.kernels.backends import loops

true = loops.Plan.gradient

def wrong(self, parameters, count, out, add):
    true(self, parameters, count, out, add)
    if self.work.threads == 2:
        self.network.biases(out, 1)[3] *= 1.1

loops.Plan.gradient = wrong
sys.exit(bench_train.main(["--quick", "--output", {output!r}]))
"""


@pytest.mark.long(
    reason="a whole benchmark for one refusal; test_relative_error has what decides it"
)
@two_cores
def test_a_kernel_that_differs_from_reference_is_not_timed(tmp_path: Path) -> None:
    output, driver = tmp_path / "bench.json", tmp_path / "driver.py"
    driver.write_text(PERTURBED.format(output=str(output)))
    starter = (
        "import sys; from scripts.bench import launcher; "
        f"sys.exit(launcher.relaunch([{str(driver)!r}]))"
    )
    assert not launcher.launched()
    done = run("-c", starter).ended(1)
    complaints = [line for line in done.err.splitlines() if "reference" in line]
    assert len(complaints) == 1
    assert "Net-1h, batch 128, loops, 1 rank x 2 threads: relative error" in complaints[0]
    assert "not timed" in complaints[0]
    assert not output.exists()
