"""The peers of ``scripts/bench_train.py``: a fake one in NumPy stands for the libraries."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.core.network import Network
from hpcpgd.parallel import mpi
from scripts.bench import (
    others,
    peer_files,
    peer_process,
    peer_runner,
    placement,
    report,
    rounds,
    summary,
    verify,
)
from scripts.bench.contestants import Contestant
from scripts.bench.setting import Setting, load_data
from tests.helpers.support import ROOT, Done, script
from tests.scripts.test_bench import run, two_cores

FAKE = ROOT / "tests" / "helpers" / "fake_peer.py"
NETWORK = Network((784, 4, 10))
OPEN = {"op": "open", "threads": 1, "rank": 0, "ranks": 1, "store": ""}


@pytest.fixture
def setting() -> Any:
    return Setting(SimpleNamespace(rank=0, size=1), load_data(), NETWORK, 8, None)


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Return a function that starts a fake peer."""
    started = []

    def begin(manner: str, threads: int = 1) -> Any:
        command = [sys.executable, str(FAKE), manner]
        started.append(peer_process.PeerProcess("fake, 1 core", command, threads))
        return started[-1]

    yield begin
    for process in started:
        process.close()


def error_of(process: Any, folder: Path, setting: Any) -> float:
    runner = peer_runner.PeerRunner(process, folder, setting)
    found = verify.parts(NETWORK, runner.gradient())
    error: float = verify.relative_error(found, verify.reference_gradient(setting))
    return error


def test_a_peer_makes_the_step(start: Any, setting: Any, tmp_path: Path) -> None:
    process = start("right", 2)
    assert process.ask(**OPEN) == {"software": "Fake 1.0 2"}
    runner = peer_runner.PeerRunner(process, tmp_path, setting)
    expected = verify.reference_gradient(setting)
    for _ in range(2):  # the first weights are restored
        assert verify.relative_error(verify.parts(NETWORK, runner.gradient()), expected) < 1e-5
    spent = runner.run(3)
    assert spent.seconds > 0
    assert spent.cpu > 0
    assert [path.name for path in tmp_path.iterdir()] == ["784-4-10-batch-8.npz"]


def test_a_wrong_step_shows(start: Any, setting: Any, tmp_path: Path) -> None:
    error = error_of(start("wrong"), tmp_path, setting)
    assert error == pytest.approx(1e-3, rel=0.01)
    assert error > Contestant.tolerance


def test_what_is_missing_is_said(start: Any) -> None:
    assert start("missing").ask(**OPEN) == {"missing": "it needs a compiler"}


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ("dies", "fake, 1 core: ended with exit status 3: out of luck"),
        ("raises", "fake, 1 core: ValueError: no such thing"),
    ],
)
def test_a_peer_that_fails_is_one_line(
    start: Any, setting: Any, tmp_path: Path, manner: str, message: str
) -> None:
    process = start(manner)
    with pytest.raises(UnavailableError) as caught:
        error_of(process, tmp_path, setting)
    assert str(caught.value) == message
    if manner == "raises":  # it goes on
        assert process.ask(**OPEN)["software"].startswith("Fake")
    else:
        with pytest.raises(UnavailableError, match="exit status 3"):
            process.ask(**OPEN)


def test_a_peer_that_hangs_is_ended(
    setting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = peer_process.PeerProcess("fake", [sys.executable, str(FAKE), "sleeps"], 1)
    runner = peer_runner.PeerRunner(process, tmp_path, setting)
    process.wait()
    monkeypatch.setattr(peer_process, "PATIENCE", 0.2)
    monkeypatch.setattr(peer_process, "FAREWELL", 0.2)
    with pytest.raises(UnavailableError, match=r"fake: no answer for 0\.2 s"):
        runner.run(1)
    process.close()


def test_a_python_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="fake: cannot be started: No such file"):
        peer_process.PeerProcess("fake", [str(tmp_path / "python")], 1)


def test_minibatches_are_those_of_the_steps(setting: Any) -> None:
    inputs, targets = peer_files.minibatches(setting)
    assert inputs.shape == (1024, 8, 784)
    assert inputs.dtype == targets.dtype == np.float32
    rows, train = setting.first_rows(), setting.dataset.train
    scaled = train.features[rows] * setting.dataset.scale + setting.dataset.offset
    np.testing.assert_allclose(inputs[0], scaled, rtol=1e-6)
    np.testing.assert_array_equal(targets[0].argmax(axis=1), train.labels[rows])
    np.testing.assert_array_equal(targets.sum(axis=2), np.ones((1024, 8)))


def section(batch: int, seconds: list[list[float]]) -> Any:
    """Return gemm, JAX and the floor on one core, gemm, JAX and DDP on two."""
    one, threads, ranks = placement.ONE_CORE, placement.TWO_THREADS, placement.TWO_RANKS
    names = [
        ("gemm", one), ("JAX", one), ("floor", one),
        ("gemm shared", ranks), ("JAX", threads), ("PyTorch DDP", ranks), ("gemm overlap", ranks),
    ]  # fmt: skip
    cells = [rounds.Cell(name, placement, None) for name, placement in names]
    made = [rounds.Round(times, np.full((8, 2), 240.0), 0.0) for times in seconds]
    return rounds.Section("Net-1h", batch, NETWORK, cells, made)


TIMES = [[0.8, 1.0, 0.7, 0.6, 0.5, 3.0, 0.45], [0.9, 1.0, 0.7, 0.3, 0.6, 1.5, 0.5]]


def test_our_cells_are_compared_with_peers_on_as_many_cores() -> None:
    found = summary.section_summary(section(128, TIMES[:1]), np.array([240.0] * 2))
    rows = {row["text"]: row for row in found["ratios"]}
    assert [text for text in rows if "floor" not in text and "speedup" not in text] == [
        "gemm, 1 core: time over JAX",
        "gemm shared, 2 ranks: time over JAX",
        "gemm shared, 2 ranks: time over PyTorch DDP",
    ]
    one, two = rows["gemm, 1 core: time over JAX"], rows["gemm shared, 2 ranks: time over JAX"]
    assert (one["asked"], one["met"]) == ("at most 1", True)
    assert (two["asked"], two["met"]) == ("at most 1", False)
    assert two["ratio"]["median"] == pytest.approx(1.2)
    assert rows["gemm shared, 2 ranks: time over PyTorch DDP"]["asked"] == "at most 0.25"


def test_geometric_mean_over_all_sections() -> None:
    best = np.array([240.0, 240.0])
    # The second section kept one round, so the first rounds count alone.
    sections = [section(128, TIMES), section(1024, TIMES[1:])]
    (row,) = summary.overall(sections, best)
    assert row["text"] == (
        "gemm, 1 core and gemm shared, 2 ranks: time over JAX, geometric mean of 4"
    )
    assert row["ratio"]["median"] == pytest.approx((0.8 * 1.2 * 0.9 * 0.5) ** 0.25)
    assert (row["asked"], row["met"]) == ("at most 0.85", True)
    for made in sections:
        made.cells[1].name = made.cells[4].name = "other"
    assert summary.overall(sections, best) == []


def test_geometric_means_pair_rounds() -> None:
    means = summary.geometric_means([np.array([4.0, 2.0]), np.array([1.0, 8.0, 5.0])])
    assert means == pytest.approx([2.0, 4.0])


def test_no_kept_round_leaves_the_geometric_mean_unknown() -> None:
    made = section(128, TIMES)
    for one in made.rounds:
        one.others = 1.0
    (row,) = summary.overall([made], np.array([240.0, 240.0]))
    assert row["ratio"] is None
    assert report.ratio_lines([row])[0].endswith("unknown")


def test_processor_time_of_peers_is_not_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mpi.start()
    stat = tmp_path / "stat"
    monkeypatch.setattr(others, "STAT", stat)
    watch = others.Others(mpi.MPI.COMM_SELF, [0])
    shares = []
    for excused in (0.0, 100.0):
        stat.write_text("cpu0 0 0 0 0 0 0 0 0 0 0\n")
        watch.begin()
        watch.excuse(excused)
        stat.write_text(f"cpu0 {100 * os.sysconf('SC_CLK_TCK')} 0 0 0 0 0 0 0 0 0\n")
        shares.append(watch.share())
    assert shares[0] > 0
    assert shares[1] == 0


def test_the_report_says_which_peers_there_are() -> None:
    lines = report.peer_lines
    none = {"software": {}, "left_out": {}, "data": "ready"}
    assert lines(none) == ["no other library is timed: --peers-python names none"]
    some = {"software": {"a": "X 1", "b": "X 1"}, "left_out": {"c": "why"}, "data": "ready"}
    assert lines(some) == ["peers: X 1", "ready", "c is left out: why"]


def test_a_note_stands_below_the_cells_once() -> None:
    made = section(128, TIMES)
    made.cells[1].note = made.cells[4].note = "not the same"
    found = summary.section_summary(made, np.array([240.0, 240.0]))
    assert found["cells"][1]["note"] == "not the same"
    lines = report.section_lines(found)
    assert [line for line in lines if "not the same" in line] == ["  JAX: not the same"]


DRIVER = """
import sys
from hpcpgd.kernels.tiles import amx

amx.refusal = lambda: "the same cells on every machine"
from scripts import bench_train
from scripts.bench import peers, sections
from scripts.bench.placement import TWO_RANKS
from pathlib import Path

sections.NETWORKS, sections.BATCHES = {{"Net-1h": "net-1h"}}, (128,)
sections.loops_entries = sections.c_entries = list
fake = Path({fake!r})
peers.PEERS = (
    peers.Peer("JAX", fake, ("right",), note="a fake"),
    peers.Peer("PyTorch DDP", fake, ({manner!r},), (TWO_RANKS,)),
    peers.Peer("PyTorch compile", fake, ("missing",)),
)
sys.exit(bench_train.main(sys.argv[1:]))
"""


def benchmark(folder: Path, manner: str) -> Done:
    """Run the benchmark on two ranks with fake peers."""
    driver = folder / "driver.py"
    driver.write_text(DRIVER.format(fake=str(FAKE), manner=manner))
    flags = ["--quick", "--peers-python", sys.executable, "--output", str(folder / "bench.json")]
    starter = (
        "import sys; from scripts.bench import launcher; "
        f"sys.exit(launcher.relaunch([{str(driver)!r}, *{flags}]))"
    )
    return run("-c", starter)


@pytest.mark.long(reason="a whole benchmark; each peer's answers are tested alone above")
@two_cores
def test_peers_are_timed(tmp_path: Path) -> None:
    done = benchmark(tmp_path, "right").ended(0)
    text = (tmp_path / "bench.json").read_text()
    assert str(ROOT) not in text
    found = json.loads(text)
    assert found["peers"]["software"] == {"JAX": "Fake 1.0 2", "PyTorch DDP": "Fake 1.0 1"}
    assert found["peers"]["left_out"] == {"PyTorch compile": "it needs a compiler"}
    assert "PyTorch compile is left out: it needs a compiler" in done.out
    assert "hpcpgd gathers and scales" in done.out
    names = [cell["name"] for cell in found["sections"][0]["cells"]]
    assert names[:3] == ["gemm", "gemm reproducible", "gemm"]
    peaks = [name for name in ("floor", "FMA peak", "memory") for _ in range(2)]
    assert names[7:] == ["JAX"] * 2 + ["PyTorch DDP"] + peaks
    assert found["gradient_errors"]["Net-1h, batch 128, PyTorch DDP, 2 ranks"] < 1e-5
    assert min(min(made["seconds"]) for made in found["sections"][0]["rounds"]) > 0
    assert "geometric mean of 2" in found["overall"][0]["text"]


@pytest.mark.long(reason="a whole benchmark; peers that are wrong or die are tested alone above")
@two_cores
@pytest.mark.parametrize(
    ("manner", "code", "words"),
    [
        ("wrong", 1, ["PyTorch DDP, 2 ranks: relative error 0.001", "not timed"]),
        ("dies", 69, ["PyTorch DDP, 2 ranks: ended with exit status 3: out of luck"]),
    ],
)
def test_a_bad_peer_ends_the_benchmark(
    tmp_path: Path, manner: str, code: int, words: list[str]
) -> None:
    done = benchmark(tmp_path, manner).ended(code)
    complaints = [line for line in done.err.splitlines() if "bench_train:" in line]
    assert len(complaints) == 1
    assert all(word in complaints[0] for word in words)
    assert "Traceback" not in done.err
    assert not (tmp_path / "bench.json").exists()


def test_a_peers_python_that_cannot_run(tmp_path: Path) -> None:
    done = script("bench_train", "--peers-python", str(tmp_path), timeout=60).ended(2)
    assert f"--peers-python: expected a program that can be run, got {tmp_path}" in done.err
