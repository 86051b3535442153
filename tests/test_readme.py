"""README.md says what is: every flag with its default, snippets that run, links that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcpgd.config.run_config import FIELDS, NAMES, flag_name
from tests.helpers.support import ROOT, SCRIPTS, TRAIN, python

TEXT = (ROOT / "README.md").read_text()


def test_every_flag_with_its_default() -> None:
    section = TEXT.split("## Flags")[1].split("\n\n| `--backend`")[0]
    rows = dict(re.findall(r"^\| `(--[a-z-]+)` \|([^|]*)\|", section, re.MULTILINE))
    flags = {flag_name(key): spec.default for key, spec in FIELDS.items()}
    assert set(rows) == set(flags) | {*map(flag_name, NAMES), "--config", "--print-config"}
    for flag, default in flags.items():
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        assert rows[flag].strip("` ") == ("" if default is False else shown), flag
    assert all(f"`{name}`" in TEXT for names in NAMES.values() for name in names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("readme")
    done = python(*TRAIN, "--epochs", "2", "--output", "run.h5", ranks=2, cwd=target)
    assert done.code == 0
    text = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert text is not None
    small = text[1].replace("60000x784x10", "60x784x10").replace("repeats = 5", "repeats = 1")
    (target / "strong.toml").write_text(small.replace("[1, 2, 4]", "[1, 2]"))
    done = python("-m", "hpcpgd.study", "run", "strong.toml", cwd=target)
    assert done.code == 0, done.err
    assert "figures/scaling.png" in done.out
    (target / "hpcpgd-study-strong" / "study.h5").rename(target / "study.h5")
    return target


SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run(snippet: str, folder: Path) -> None:
    done = python("-W", "error", "-c", snippet, cwd=folder)
    assert (done.code, done.err) == (0, "")
    assert any(word in done.out for word in ("complete", "reduce", "tpe_seconds"))
    assert len(snippet.strip().splitlines()) == 3


def test_the_quickstart_brings_what_the_next_steps_need() -> None:
    """A second pip install would put a copy in the place of the checkout."""
    extras = re.search(r"^make_environment (\S+)", (SCRIPTS / "quickstart.sh").read_text(), re.M)
    assert extras is not None
    assert {"mpich", "data", "report"} <= set(extras[1].split(","))
    steps = TEXT.split("## The main job")[1].split("## From laptop to cluster")[0]
    commands = re.findall(r"^pip install .*", steps, re.MULTILINE)
    assert all("--editable" in command for command in commands)


def test_the_example_study_shows_the_fast_path() -> None:
    example = TEXT.split("## Scaling studies")[1].split("```")[1]
    assert 'reduction = ["allreduce", "shared"]' in example


def test_named_files_exist() -> None:
    named = re.findall(r"`?((?:scripts|slurm|tests|hpcpgd)/[\w./-]+\.\w+)", TEXT)
    assert len(named) > 5
    for name in named:
        assert (ROOT / name).exists(), name
