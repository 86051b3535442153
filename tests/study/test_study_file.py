"""Study files: their meaning, and the errors that name what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcpgd.errors import ConfigError
from hpcpgd.study.grid import points
from hpcpgd.study.runner import order
from hpcpgd.study.studyfile import read, seconds

STRONG = """
[study]
kind = "strong"
repeats = 2
time_limit = "90s"
[grid]
backend = ["gemm", "loops"]
ranks = [1, 2, 4]
[train]
network = "net-2h"
batch_size = 256
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_every_combination_once_in_order(tmp_path: Path) -> None:
    study = read(write(tmp_path, STRONG))
    assert (study.name, study.kind, study.repeats, study.time_limit) == ("mine", "strong", 2, 90)
    found = points(study)
    pairs = [(p.config.backend, p.ranks) for p in found]
    assert pairs == [(b, r) for b in ("gemm", "loops") for r in (1, 2, 4)]
    assert all(p.config.hidden == (1024, 1024) and p.config.batch_size == 256 for p in found)
    assert len({p.key for p in found}) == 6
    flags = found[0].flags()
    words = ["--backend", "gemm", "--batch-size", "256", "--network", "net-2h", "--threads", "1"]
    assert flags == words


def test_repeats_are_outermost_so_that_drift_meets_all_alike(tmp_path: Path) -> None:
    jobs = order(points(read(write(tmp_path, STRONG))), 2)
    assert [job.repeat for job in jobs] == [1] * 6 + [2] * 6
    assert [job.task for job in jobs[:6]] == [job.task for job in jobs[6:]]


def test_weak_keeps_rows_and_batch_per_rank(tmp_path: Path) -> None:
    text = """
    study = {kind = "weak"}
    grid = {ranks = [1, 2, 3]}
    train = {rows_per_rank = 100, batch_per_rank = 8}
    """
    found = points(read(write(tmp_path, text)))
    assert [(p.config.train_rows, p.config.batch_size) for p in found] == [
        (100, 8), (200, 16), (300, 24),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "more", "threads"),
    [
        ("strong", "", {1}), ("weak", "train = {rows_per_rank = 9, batch_per_rank = 8}", {1}),
        ("strong", "train = {threads = 'auto'}", {"auto"}), ("sweep", "", {"auto"}),
    ],
)  # fmt: skip
def test_a_scaling_study_begins_with_one_thread(
    kind: str, more: str, threads: set[str | int], tmp_path: Path
) -> None:
    text = f"study = {{kind = '{kind}'}}\ngrid = {{ranks = [1, 2]}}\n{more}\n"
    assert {p.config.threads for p in points(read(write(tmp_path, text)))} == threads


def test_the_name_of_a_point_is_its_own(tmp_path: Path) -> None:
    """Another value anywhere is another point; the order of keys is not."""
    base = points(read(write(tmp_path, STRONG)))[0]
    again = STRONG.replace(
        'network = "net-2h"\nbatch_size = 256', 'batch_size=256\nnetwork="net-2h"'
    )
    assert points(read(write(tmp_path, again)))[0].key == base.key
    other = STRONG.replace("batch_size = 256", "batch_size = 256\nseed = 1")
    assert points(read(write(tmp_path, other)))[0].key != base.key


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[studdy]\n", ("unknown table [studdy]", "did you mean 'study'")),
        ("study = 3\n", ("'study' must be a table",)),
        ('[study]\nkind = "stronk"\n', ("[study] kind", "strong, weak, sweep", "'stronk'", "mean")),
        ("[study]\nrepeat = 3\n", ("unknown key 'repeat'", "did you mean 'repeats'")),
        ("[study]\nrepeats = 0\n", ("[study] repeats", "1 or more", "got 0")),
        ("[study]\ntime_limit = 90\n", ("time_limit", "'10min'", "got 90")),
        ('[study]\nname = "a b/c"\n', ("name", "letters", "'a b/c'")),
        ("[grid]\nrank = [1]\n", ("[grid]", "unknown key 'rank'", "did you mean 'ranks'")),
        ("[grid]\nranks = 4\n", ("[grid] ranks", "expected a list", "got 4")),
        ("[grid]\nranks = []\n", ("[grid] ranks", "expected a list")),
        ("[grid]\nranks = [1, 0]\n", ("[grid] ranks", "1 to", "got 0")),
        ("[grid]\nranks = [1, 1]\n", ("twice",)),
        ('[grid]\nbackend = ["gem"]\n', ("[grid] backend", "did you mean 'gem", "'gem'")),
        ('[train]\noutput = "x.h5"\n', ("unknown key 'output'", "the study itself sets it")),
        ("[grid]\nseed = [1]\n[train]\nseed = 1\n", ("'seed'", "[grid] and in [train]")),
        ('[train]\nnetwork = "net-1h"\nhidden = [3]\n', ("network and hidden",)),
        ('[study]\nkind = "weak"\n[grid]\nranks = [1]\n', ("rows_per_rank and batch_per_rank",)),
        ('[study]\nkind = "strong"\n[grid]\nseed = [1]\n', ("several ranks or threads",)),
        ("[train]\nrows_per_rank = 3\n", ("kind weak only",)),
        ("[base]\nranks = 1\n", ("[base] ranks = 1 is not in [grid]",)),
        ("[grid]\nranks = [1, 2]\n[base]\nranks = 4\n", ("[base] ranks = 4", "[1, 2]")),
        ('[train]\nloss = "mse"\n', ("point", "softmax", "cross-entropy")),
        ("[grid\n", ("not a TOML file",)),
        ("[grid]\nrepeats = [3]\n", ("[grid]: 'repeats' belongs in [study]",)),
        ("[train]\ntime_limit = '1h'\n", ("[train]: 'time_limit' belongs in [study]",)),
        ("[study]\nranks = [1, 2]\n", ("[study]: 'ranks' belongs in [grid]",)),
        (
            "[study]\nepochs = 3\n",
            ("[study]: 'epochs' belongs in [train], a list of it in [grid]",),
        ),
        ("repeats = 3\n", ("'repeats' belongs in [study], but is in no table",)),
        ("[train]\nseed = [1, 2]\n", ("seed", "a list of values belongs in [grid]")),
        ("[grid]\nseed = 1\n", ("[grid] seed", "one value belongs in [train]")),
    ],
)
def test_a_wrong_study_file_says_which_key(
    text: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        points(read(write(tmp_path, text)))
    message = str(caught.value)
    for word in words:
        assert word in message
    assert "\n" not in message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path / "none.toml")


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("1.5min", 90), ("2 h", 7200)])
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


def test_a_grid_beyond_measure(tmp_path: Path) -> None:
    numbers = ", ".join(map(str, range(1, 101)))
    text = "[grid]\n" + "".join(f"{key} = [{numbers}]\n" for key in ("epochs", "seed", "ranks"))
    with pytest.raises(ConfigError, match=r"\[grid\] makes 1000000 points, expected 10000 at most"):
        read(write(tmp_path, text))
    text = "[grid]\nseed = [" + ", ".join(map(str, range(20_000))) + "]\n"
    with pytest.raises(ConfigError, match="seed: 20000 values, expected 10000 at most"):
        read(write(tmp_path, text))
