"""The plan of a study before it runs, and the study files that ``study new`` prints."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import pytest

from hpcpgd.study import cli, subcommands
from hpcpgd.study.grid import points
from hpcpgd.study.plan_command import comparisons, warnings
from hpcpgd.study.studyfile import StudyFile, read
from hpcpgd.study.tables import about
from tests.helpers.many import Case, together
from tests.helpers.support import inside

TEMPLATES = ("strong", "weak", "sweep", "paper")


def said(folder: Path, text: str) -> tuple[list[str], list[str]]:
    (folder / "s.toml").write_text(text)
    study = read(folder / "s.toml")
    return [*comparisons(study, points(study))], [*warnings(study, points(study), 2)]


def test_what_is_compared_with_what(tmp_path: Path) -> None:
    grid = "[grid]\nbackend = ['loops', 'gemm']\nranks = [1, 2]\n"
    found = said(tmp_path, f"study = {{kind = 'strong'}}\n{grid}")
    assert found[0][1:] == [
        "  backend loops: 1x1, 2x1 against 1x1", "  backend gemm: 1x1, 2x1 against 1x1",
    ]  # fmt: skip
    assert found[1] == []
    text = f"train = {{threads = 1}}\nbase = {{backend = 'loops', ranks = 1}}\n{grid}"
    found = said(tmp_path, text)
    assert found[0][2] == "  backend gemm: 1x1, 2x1 against 1x1 of backend loops"
    assert found[1] == []


def test_the_rows_of_a_plan_show_every_key_that_varies(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("[grid]\nlearning_rate = [0.1, 0.2]\nranks = [1]\n")
    head, *rows = inside(tmp_path, cli.main, "plan", "s.toml").out.splitlines()
    place = head.split().index("learning_rate")
    assert [row.split()[place] for row in rows[:2]] == ["0.1", "0.2"]
    assert head.split().count("ranks") == 1


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("study = {kind = 'strong'}\ngrid = {ranks = [2]}\n", "one number of ranks and threads"),
        ("study = {kind = 'strong'}\ngrid = {ranks = [1, 4]}\n", "up to 4 ranks x threads on"),
        ("grid = {ranks = [1, 2]}\n", "kind sweep shows no scaling"),
        ("study = {kind = 'strong'}\ngrid = {ranks = [1, 2]}\ntrain = {threads = 'auto'}\n",
         "threads auto"),
    ],
)  # fmt: skip
def test_a_grid_that_cannot_show_scaling(text: str, warning: str, tmp_path: Path) -> None:
    (line,) = said(tmp_path, text)[1]
    assert line.startswith("warning: ")
    assert warning in line


@pytest.mark.parametrize("refused", ["this processor has no AMX", ""])
def test_products_on_amx_have_no_estimate(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcpgd.study.plan_command.refusal", lambda: refused)
    (tmp_path / "s.toml").write_text("grid = {matmul_precision = ['float32', 'bf16', 'bf16x6']}\n")
    done = inside(tmp_path, cli.main, "plan", "s.toml")
    head, *rows = (line.split() for line in done.out.splitlines()[:4])
    assert [row[head.index("expected")] for row in rows] == ["about", "-", "-"]
    assert len({row[head.index("GFLOP")] for row in rows}) == 1  # the network decides it
    assert "without the points on AMX" in done.out
    failing = f"bf16 and bf16x6: {refused}: 2 points of 3 would end with exit code 69 here"
    assert (failing in done.out) == bool(refused)
    (tmp_path / "s.toml").write_text("train = {matmul_precision = 'bf16'}\n")
    done = inside(tmp_path, cli.main, "plan", "s.toml")
    assert "; time unknown: no rate is assumed for products on AMX; " in done.out


def test_ranks_with_too_few_rows_are_told(tmp_path: Path) -> None:
    text = "grid = {{ranks = [1, {}]}}\ntrain = {{batch_size = 1024, threads = 1}}\n"
    for ranks in (2, 128):
        (tmp_path / "s.toml").write_text(text.format(ranks))
        done = inside(tmp_path, cli.main, "plan", "s.toml").ended(0)
        told = "warning: too small to profit from 128 ranks: a rank's slice" in done.out
        assert told == (ranks == 128)


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.033, "3 s"), (119, "119 s"), (150, "2 min"), (5e4, "14 h")]
)
def test_times_to_be_expected(seconds: float, text: str) -> None:
    assert about(seconds) == f"about {text}"


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyFile]:
    folder = tmp_path_factory.mktemp("templates")
    for name in TEMPLATES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subcommands, "usable_cores", lambda: 2)
            done = inside(folder, cli.main, "new", name)
        assert (done.code, done.err) == (0, "")
        assert done.out.count("#") > 5  # its comments
        (folder / f"{name}.toml").write_text(done.out)
    return {name: read(folder / f"{name}.toml") for name in TEMPLATES}


@pytest.mark.parametrize("cores", [1, 2, 7, 64])
def test_a_template_has_as_many_ranks_as_there_are_cores(
    cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subcommands, "usable_cores", lambda: cores)
    ranks = {1: [1, 2], 2: [1, 2], 7: [1, 2, 4], 64: [1, 2, 4, 8, 16, 32, 64]}[cores]
    for name, base in {"strong": {"reduction": "allreduce"}, "weak": {}}.items():
        text = inside(tmp_path, cli.main, "new", name).out
        # The lines of [base] are comments: without their marks the file is a study, too.
        (tmp_path / "s.toml").write_text(re.sub("^#(?=.base|reduction)", "", text, flags=re.M))
        study = read(tmp_path / "s.toml")
        assert (study.grid["ranks"], study.base) == (ranks, base)
    assert int(study.train["dataset"].split(":")[1].split("x")[0]) >= 1.2 * 3000 * ranks[-1]


def test_a_template_runs_as_it_is(templates: dict[str, StudyFile], tmp_path: Path) -> None:
    """Its last point, which has most rows and ranks, as far as its first step."""
    last = {name: points(study)[-1] for name, study in templates.items()}
    cases = {}
    for name, point in last.items():
        words = (*point.flags(), "--max-steps", "1", "--quiet", "--output", f"{name}.h5")
        cases[name] = Case(("train", *words), str(tmp_path), point.ranks)
    for name, done in together(cases).items():
        assert (done.code, done.out, done.err) == (0, "", ""), name
    with h5py.File(tmp_path / "weak.h5") as file:
        per_rank = templates["weak"].train["rows_per_rank"]
        assert file.attrs["train_rows"] == per_rank * last["weak"].ranks
    assert {point.config.batch_size for point in points(templates["paper"])} == {
        32, 64, 128, 256, 512, 1024,
    }  # fmt: skip
