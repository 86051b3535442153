"""Runs on a text table with words for labels: messages, record, the same data on all ranks."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers.many import Case, together

KINDS = ("setosa", "versicolor", "virginica")
SCALED = ("--standardise", "--reduction", "reproducible")
WORDS = ("train", "--dataset", "flowers.csv", "--epochs", "4", "--quiet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with runs of 1 and 3 ranks, and one of both."""
    folder = tmp_path_factory.mktemp("flowers")
    draw = np.random.default_rng(5)
    kinds = np.arange(90) % 3
    numbers = draw.normal(kinds[:, None] * (900, 0.5), (300, 0.2))
    lines = [f"{a:.3f};{b:.4f};{KINDS[k]}" for (a, b), k in zip(numbers, kinds, strict=True)]
    (folder / "flowers.csv").write_text("\n".join(["length;width;species", *lines]))
    half, whole = ("--max-steps", "3"), ("--output", "both.h5")
    cases = {
        "one": Case((*WORDS, *SCALED, "--output", "one.h5"), str(folder), 0),
        "three": Case((*WORDS, *SCALED, "--output", "three.h5"), str(folder), 3),
        "begun": Case((*WORDS, *SCALED, *whole, *half, "--checkpoint-every", "2"), str(folder), 3),
        "plain": Case((*WORDS[:-1], "--output", "plain.h5"), str(folder), 0),
    }
    done = together(cases)
    done |= together({
        "other": Case((*WORDS, *whole, "--reduction", "reproducible"), str(folder), 0),
        "resumed": Case((*WORDS, *SCALED, *whole), str(folder), 0),
    })  # fmt: skip
    assert {name: d.code for name, d in done.items() if name != "other"} == dict.fromkeys(
        ("one", "three", "begun", "plain", "resumed"), 0
    ), done
    (folder / "plain.txt").write_text(done["plain"].out)
    (folder / "other.txt").write_text(f"{done['other'].code} {done['other'].err}")
    return folder


def test_the_run_says_and_keeps_what_was_inferred(folder: Path) -> None:
    said = (folder / "plain.txt").read_text().splitlines()[1]
    for text in (
        "data: cells separated by semicolons",
        "the first line is a header",
        "labels in column 3 ('species') (the only one with words)",
        "on which training may be poor: --standardise scales each column",
    ):
        assert text in said
    with h5py.File(folder / "plain.h5") as file:
        assert f"data: {file.attrs['dataset_notes']}" == said
        assert tuple(file["model/class_labels"].asstr()) == KINDS


def test_standardised_the_same_on_all_ranks_and_after_a_resume(folder: Path) -> None:
    hashes = set()
    for name in ("one", "three", "both"):
        with h5py.File(folder / f"{name}.h5") as file:
            hashes.add(file.attrs["params_sha256"])
            assert len(file["segments/segment"]) == (2 if name == "both" else 1)
            mean, deviation = file["model/input_mean"][:], file["model/input_deviation"][:]
    assert len(hashes) == 1
    assert 500 < mean[0] < 1300
    assert 0.2 < deviation[1] < 0.8


def test_a_run_with_other_scaling_does_not_go_on(folder: Path) -> None:
    said = (folder / "other.txt").read_text()
    assert said.startswith("78 ")
    assert "standardise is False now, True there" in said
