"""The command ``hpcpgd study paper`` as a whole, on few rows, with NumPy for a library."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers.support import MINI, ROOT, Done, environment, python

# The runs of our own backends, each on one rank: the first of each backend is a process, as for a
# user, the others run within the process of the study.
MOSTLY_ONE_PROCESS = """
import io
from contextlib import redirect_stdout
from hpcpgd.parallel import mpi
from hpcpgd.study import runner
from hpcpgd.train import cli
start, started = runner.run_limited, set()
mpi.finish = lambda: None
def run(command, time_limit, environment):
    backend = command[command.index("--backend") + 1] if "--backend" in command else ""
    if "hpcpgd.train" not in command or backend not in started:
        started.add(backend)
        return start(command, time_limit, environment)
    assert "-n" not in command or command[command.index("-n") + 1] == "1", command
    with redirect_stdout(io.StringIO()):
        return cli.main(command[command.index("hpcpgd.train") + 1:]), ""
runner.run_limited = run
"""
PATCHED = """
import sys
from pathlib import Path
from hpcpgd.study.paper import axes, contest, measured_rows, paper_command, paper_rows, tasks
paper_command.QUICK = paper_rows.Size(120, 3, 1, 60.0, 60.0, True, (32, 64))
paper_rows.AXIS_BATCH = axes.AXIS_BATCH = measured_rows.AXIS_BATCH = 32
paper_rows.AXIS_ROWS, paper_rows.AXIS_WIDTHS = ROWS, WIDTHS
measured_rows.AXIS_WIDTHS = paper_rows.AXIS_WIDTHS
tasks.no_device = lambda: tasks.Failure("no device", 0, "none here")
contest.LIBRARIES["pytorch"] = str(Path(sys.argv[2]).resolve())
from hpcpgd.study.cli import main
sys.exit(main(["paper", "--quick", "--dataset", sys.argv[1], "--folder", "p", *sys.argv[3:]]))
"""
NO_FIGURES = """
from hpcpgd.study.paper import bar_charts
bar_charts.draw = lambda *_: []
"""
NUMPY = ROOT / "tests" / "helpers" / "numpy_library.py"
ROWS, WIDTHS = (60, 90), (16,)
Whole = tuple[Done, Path]


def paper(folder: Path, program: Path, *flags: str, before: str = "") -> Done:
    code = f"{MOSTLY_ONE_PROCESS}{before}\nROWS, WIDTHS = {ROWS}, {WIDTHS}\n{PATCHED}"
    return python("-c", code, str(MINI), str(program), *flags, cwd=folder, timeout=280)


def again(whole: Whole, program: Path, *flags: str) -> Done:
    """Run the command in the same folder once more."""
    _, folder = whole
    return paper(folder, program, *flags, before=NO_FIGURES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The whole command, where NumPy in float64 stands for PyTorch."""
    folder = tmp_path_factory.mktemp("paper")
    return paper(folder, NUMPY), folder


def test_the_whole_command(whole: Whole) -> None:
    done, folder = whole
    assert done.code == 0, done.err
    for letter in "abcdefghij":
        assert f"({letter}) " in done.out
    assert "no device: cuda: none here" in done.out
    assert "not installed: Keras/JAX serial: " in done.out
    assert "requirements.txt; then --library-python" in done.out
    names = {path.name for path in (folder / "p" / "figures").iterdir()}
    numbers = {5: "net-1h", 6: "net-1h", 7: "net-2h", 8: "net-2h", 9: "net-1h", 10: "net-2h"}
    stems = [*(f"{n:02d}-{net}" for n, net in numbers.items()), "rows", "widths"]
    assert names == {f"figure-{stem}.{kind}" for stem in stems for kind in ("png", "pdf")}


def test_its_study_file(whole: Whole) -> None:
    _, folder = whole
    with h5py.File(folder / "p" / "study.h5") as file:
        runs = {name: list(file["runs"][name].asstr()) for name in ("status", "paper_row")}
        wanted = 2 * (2 + len(ROWS) + len(WIDTHS))  # networks by batches, rows, widths
        for name in ("Naive Serial", "Fast Parallel", "gemm serial", "PyTorch serial"):
            status = [s for s, n in zip(*runs.values(), strict=True) if n == name]
            assert status == ["complete"] * wanted
        complete = np.array([s == "complete" for s in runs["status"]])
        assert (file["runs/epochs"][...][complete] == 2).all()
        assert runs["status"].count("no device") == 3 * wanted + 2 * 2
        assert runs["status"].count("not installed") == 5 * wanted
        assert {"NumPy in float64", ""} < set(file["runs/software"].asstr())
        assert (np.isfinite(file["runs/tpe_seconds"][...]) == complete).all()


def test_run_again_it_runs_nothing(whole: Whole) -> None:
    _, folder = whole
    before = {path: path.stat().st_mtime_ns for path in (folder / "p" / "runs").iterdir()}
    assert again(whole, NUMPY).code == 0
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "p" / "runs").iterdir()}


def test_a_library_is_given_what_it_needs(whole: Whole) -> None:
    _, folder = whole
    losses = json.loads(next((folder / "p" / "problems").glob("pytorch-cpu-net-1h*")).read_text())
    assert set(losses) <= {"32", "64"}
    with np.load(next((folder / "p" / "problems").glob("*.npz"))) as problem:
        order = problem["order"]
        assert all((np.sort(epoch) == np.arange(order.shape[1])).all() for epoch in order)


def test_a_library_that_trains_otherwise_is_not_timed(whole: Whole) -> None:
    _, folder = whole
    program = folder / "wrong.py"
    text = NUMPY.read_text()
    assert "self.rate / " in text
    program.write_text(text.replace("self.rate / ", "50 * self.rate / "))
    rows = [*(folder / "p" / "runs").glob("pytorch-cpu-net-1h-t*-001.json")]
    for path in rows:
        path.unlink()
    done = again(whole, program).ended(1)
    assert "failed: pytorch none net-1h" in done.out
    assert "after epoch 1, expected" in done.out
    assert len(rows) == 6
    assert not [path for path in rows if path.exists()]
    again(whole, NUMPY, "--retry-failed").ended(0)


def test_what_was_measured_stays_when_it_cannot_run_any_more(whole: Whole) -> None:
    _, folder = whole
    done = again(whole, Path("nothing-here.py")).ended(0)
    assert "PyTorch serial: " not in done.out.split("(a)")[1].split("(j)")[1]
    with h5py.File(folder / "p" / "study.h5") as file:
        names = list(file["runs/paper_row"].asstr())
        status = [s for s, n in zip(file["runs/status"].asstr(), names, strict=True)
                  if n == "PyTorch serial"]  # fmt: skip
    assert set(status) == {"complete"}


def test_runs_of_another_machine_are_refused(whole: Whole) -> None:
    _, folder = whole
    path = next((folder / "p" / "runs").glob("loops*.h5"))
    before = path.read_bytes()
    with h5py.File(path, "r+") as file:
        file.attrs["cpu_model"] = "A64FX"
    done = again(whole, NUMPY)
    path.write_bytes(before)
    done.one_line(65, "has runs made on A64FX, and this is ")


WITHOUT = """
import sys
from hpcpgd.data import locate
locate._SYSTEM.clear()
from hpcpgd.study.cli import main
sys.exit(main(["paper", "--quick"]))
"""


def test_without_data_one_line_says_what_to_fetch(tmp_path: Path) -> None:
    """Also where the system provides Fashion-MNIST."""
    env = environment(HPCPGD_DATA=str(tmp_path), XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path))
    python("-c", WITHOUT, cwd=tmp_path, env=env).one_line(65, "data fetch mnist")
    assert not [*tmp_path.glob("hpcpgd-study*")]
