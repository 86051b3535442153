"""README.md and the manual: their commands run, their sentences are short, their words exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib import import_module
from pathlib import Path

import h5py
import pytest

from tests.helpers.support import MINI, ROOT, environment, run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "generated" not in page.parts and "built" not in page.parts]
GENERATED = sorted((ROOT / "docs" / "reference" / "generated").glob("*.md"))
# A block of commands or of Python, and what a comment above it says: that it is not run here, and
# why, or the exit code of its last command.
BLOCK = re.compile(
    r"(?:<!-- (?:not run: (?P<why>[^\n]+?)|exit (?P<code>\d+)) -->\n)?"
    r"^ *```(?P<kind>bash|python)\n(?P<text>.*?)^ *```",
    re.MULTILINE | re.DOTALL,
)
LONGEST = 18  # words of a sentence, on average
# What a page says, and the smaller form that is run here; all else is run as it stands.  The point
# of no page hangs on these sizes, and no page prints a number that they change.
SMALLER = {
    "README.md": {
        "study run my.toml": "study run small.toml",
        "--reduction reproducible": "--reduction reproducible --epochs 1",
    },
    "docs/get-started/laptop.md": {"hpcpgd study run my.toml": "true"},  # README.md runs it
    "docs/lesson/lesson.md": {
        "--epochs 10": "--epochs 1",
        "--epochs 2 ": "--epochs 1 ",
        "--epochs 3 ": "--epochs 1 ",
        "repeats = 3": "repeats = 1",
        "epochs = 3": "epochs = 2",
        "batch_size = [32, 1024]": "batch_size = [128]",
        "synthetic:3000x": "synthetic:600x",
        "synthetic:8000x": "synthetic:2000x",
        "rows_per_rank = 1500": "rows_per_rank = 600",
    },
    "docs/concepts/same-bits.md": {"--epochs 2": "--epochs 1"},
    "docs/how-to/replay.md": {"--max-steps 50": "--max-steps 5"},
    "docs/how-to/resume.md": {
        "--time-limit 4s": "--time-limit 0.5s",
        "--epochs 500": "--epochs 50",
    },
}
# The study that `study new strong` makes, in small.
SMALL_STUDY = """
[study]
kind = "strong"
repeats = 1
[grid]
ranks = [1, 2]
[train]
dataset = "synthetic:600x784x10"
network = "net-1h"
epochs = 2
"""


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def with_commands() -> list[Path]:
    return [page for page in PAGES if any(not m["why"] for m in BLOCK.finditer(page.read_text()))]


def smaller(page: Path, text: str) -> str:
    """Return commands of a page with what `SMALLER` replaces."""
    for said, form in SMALLER.get(names([page])[0], {}).items():
        text = text.replace(said, form)
    return text


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder that looks like a checkout, with datasets beside it."""
    checkout = tmp_path / "hpcpgd"
    checkout.mkdir()
    for name in ("scripts", "slurm", "tests", "pyproject.toml"):
        (checkout / name).symlink_to(ROOT / name)
    (tmp_path / "data").mkdir()
    for name in ("mnist", "fashion-mnist"):
        (tmp_path / "data" / name).symlink_to(MINI)
    (checkout / "small.toml").write_text(SMALL_STUDY)
    return checkout


def test_what_is_run_in_small_is_said_by_its_page() -> None:
    for name, forms in SMALLER.items():
        commands = "".join(m["text"] for m in BLOCK.finditer((ROOT / name).read_text()))
        assert [said for said in forms if said not in commands] == [], name


@pytest.mark.long(reason="each page is some runs of the program, which have tests of their own")
@pytest.mark.parametrize("page", with_commands(), ids=names(with_commands()))
def test_the_commands_of_a_page_run_one_after_the_other(page: Path, place: Path) -> None:
    env = environment(
        HPCPGD_DATA=str(place.parent / "data"),
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH=str(ROOT),
    )
    for block in BLOCK.finditer(page.read_text()):
        if block["why"]:
            continue
        words = ["bash", "-euo", "pipefail", "-c"]
        if block["kind"] == "python":
            words = [sys.executable, "-W", "error", "-c"]
        text = smaller(page, block["text"])
        done = run([*words, text], 300, env, place)
        assert done.code == int(block["code"] or 0), f"{block['text']}\n{done.out}\n{done.err}"


def prose(text: str) -> str:
    """Return the paragraphs and list items of a page without code, tables, links and titles."""
    text = re.sub(r"<!--.*?-->|^( *)(```|:::).*?^\1\2$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(\||#|\(|!\[|\[).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "code", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"^ *(?:[-*]|\d+\.) ", "\n", text, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_sentences_are_short(page: Path) -> None:
    parts = re.split(r"(?<=[.!?])\s+|\n\s*\n", prose(page.read_text()))
    lengths = [len(part.split()) for part in parts if len(part.split()) > 1]
    if len(lengths) >= 10:
        assert sum(lengths) / len(lengths) <= LONGEST


def test_the_words_are_spelled_as_in_the_dictionary() -> None:
    command = [sys.executable, "-m", "codespell_lib", *map(str, PAGES), str(ROOT / "CHANGELOG.md")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


LINKED = [*PAGES, *GENERATED, ROOT / "CONTRIBUTING.md", ROOT / "hpcpgd" / "README.md"]


@pytest.mark.parametrize("page", LINKED, ids=names(LINKED))
def test_links_have_a_text_and_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```|`[^`\n]*`(?!\])", "", page.read_text(), flags=re.M | re.S)
    for label, target, heading in re.findall(r"\[([^\]]*)\]\(([^)#]*)(#[^)]*)?\)", text):
        assert label, f"the link to {target} has no text"
        if not target.startswith("https:"):
            path = page.parent / target if target else page
            assert path.is_file(), target
            assert not heading or heading in headings(path), f"{target}{heading}"


def headings(page: Path) -> set[str]:
    """Return the anchors that a forge and the manual give to the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {f"#{re.sub(r'[^a-z0-9 _-]', '', t.lower()).replace(' ', '-')}" for t in titles}


LONG = pytest.mark.long(reason="it runs a study on 2 ranks")
STEMS = [pytest.param(page.stem, marks=[LONG] * (page.stem == "study-file")) for page in GENERATED]


@pytest.mark.parametrize("name", STEMS)
def test_a_generated_page_is_what_the_code_gives_now(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    generate = import_module("generate")
    page = (generate.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert page == generate.PAGES[name](), "python docs/generate.py renews the generated pages"


def test_every_generated_page_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    generate = import_module("generate")
    assert [page.stem for page in GENERATED] == sorted(generate.PAGES)


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(
        r"`?((?:scripts|slurm|tests|hpcpgd|kernels)/[\w./-]+\.\w+)", page.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_benchmarks_show_what_the_files_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each median of the training step, and each goal that is missed."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    text = import_module("benchmark_tables").benchmark_tables()
    for path in (ROOT / "scripts" / "results").glob("*/bench_train.json"):
        found = json.loads(path.read_text())
        assert str(path.relative_to(ROOT)) in text
        assert f"### {found['machine']['cpu_model']}, {found['date'][:10]}" in text
        for part in found["sections"]:
            lines = [f"| {c['name']} | {c['placement']} |" for c in part["cells"]]
            rows = [[row for row in text.splitlines() if row.startswith(line)] for line in lines]
            for cell, shown in zip(part["cells"], rows, strict=True):
                median = f"**{cell['seconds_per_60000']['median']:.2f}**"
                assert any(median in row for row in shown), (cell["name"], median)
            missed = [r["text"] for r in part["ratios"] if r.get("met") is False]
            for what in missed:
                section = f"| {part['network']}, {part['batch']} | {what} |"
                assert re.search(rf"^{re.escape(section)}.*\*\*no\*\* \|$", text, re.MULTILINE)


def test_the_table_of_speed_in_the_readme_is_made_from_its_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    tables = import_module("benchmark_tables")
    speed = re.search(r"^## Speed\n(.*?)^## ", (ROOT / "README.md").read_text(), re.M | re.S)
    assert speed
    assert re.findall(r"^\|.*$", speed[1], re.MULTILINE) == tables.readme_table().splitlines()
    assert f"`{tables.README_FILE.relative_to(ROOT)}`" in speed[1]
    kept = {part["rounds_kept"] for part in json.loads(tables.README_FILE.read_text())["sections"]}
    assert [f"medians of {number} alternating rounds" in speed[1] for number in kept] == [True]


@pytest.mark.parametrize("drawing", [*sorted((ROOT / "docs" / "static").glob("*.svg"))], ids=str)
def test_a_drawing_has_a_title_and_a_description(drawing: Path) -> None:
    tags = [element.tag.split("}")[-1] for element in ET.parse(drawing).getroot()]
    assert tags[:2] == ["title", "desc"]
    pages = "".join(page.read_text() for page in PAGES)
    assert f"static/{drawing.name})" in pages


def test_the_measured_example_of_the_lesson_is_that_of_its_study_file() -> None:
    lesson = ROOT / "docs" / "lesson"
    lines = (lesson / "solutions.md").read_text().splitlines()
    cells = [[c.strip(" `") for c in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    columns = ("batch_size", "reduction", "speedup", "load_balance", "communication", "computation")
    with h5py.File(lesson / "intel-xeon-2-cores-2026-11-29" / "strong.h5") as file:
        points = [*zip(*(file["summary"][name][...].tolist() for name in columns), strict=True)]
        ranks = file["summary/ranks"][...].tolist()
    expected = [
        [str(batch), reduction.decode(), *(f"{number:.2f}" for number in numbers)]
        for (batch, reduction, *numbers), n in zip(points, ranks, strict=True)
        if n == 2
    ]
    assert cells[2:] == expected
