"""``scripts/check_bits.py`` in its quick form, and proof that it can fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.bits import cases, compare, launch
from tests.helpers.support import script


def test_an_unknown_case_is_refused(tmp_path: Path) -> None:
    done = script("check_bits", "--only", "nope", "--output", str(tmp_path / "bits.json"))
    done.one_line(2, "expected one of softmax")
    done = script("check_bits", "--quick", "--only", "bf16")
    done.one_line(2, "--only bf16: not in the quick form: expected one of softmax")


@pytest.mark.long(
    reason="40 runs; test_resume.py and tests/mpi compare the bits of some numbers of ranks"
)
@pytest.mark.timeout(1800)
def test_every_number_of_ranks_has_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "bits.json"
    script("check_bits", "--quick", "--output", str(path), timeout=580).good()
    found = json.loads(path.read_text())
    assert found["complete"]
    assert (found["mismatches"], found["wrong"], found["failed"]) == ([], [], [])
    assert (found["runs"], found["comparisons"]) == (40, 36)
    assert {group["core_type"] for group in found["groups"]} == {"default", "Haswell"}
    for group in found["groups"]:
        assert (group["distinct_weights"], group["distinct_histories"]) == (1, 1)
        assert group["ranks"] == [1, 2, 3, 5]
    assert "Haswell" in found["blas"]["Haswell"]


@pytest.fixture
def outcomes(tmp_path: Path) -> Any:
    """Return a function that makes runs of a case, and its outcomes on one rank and on three."""

    def make(case: Any, dtype: str) -> list[Any]:
        truth = cases.Run(cases.reference_of(case), 0, "float64", cases.DEFAULT, 1)
        runs = [cases.Run(case, 0, dtype, cases.DEFAULT, ranks) for ranks in (1, 3)]
        paths = []
        for number, run in enumerate([truth, *runs]):
            folder = tmp_path / str(number)
            folder.mkdir()
            outputs, failure = launch.execute([run], folder, 1)
            assert failure == ""
            paths += outputs
        weights = compare.read_weights(paths[0])
        return [compare.read(run, p, weights) for run, p in zip(runs, paths[1:], strict=True)]

    return make


def test_sums_in_another_order_are_mismatches(outcomes: Any) -> None:
    case = replace(cases.CASES[0], reduction="allreduce")
    group = outcomes(case, "float32")
    (name,) = compare.mismatches(group)
    assert "ranks 3" in name
    assert "params_sha256" in name
    assert "train_loss" in name
    assert compare.distinct(group)[0] == 2
    assert not any(outcome.is_wrong for outcome in group)


def test_each_difference_is_named() -> None:
    run = cases.Run(cases.CASES[0], 0, "float32", cases.DEFAULT, 1)
    bits: dict[str, Any] = {"weights": "a", **dict.fromkeys(compare.COLUMNS, b"\0")}
    first = compare.Outcome(run, {**bits, "params_sha256": "b"}, 0.0, "none")
    for name in first.bits:
        other = replace(first, run=replace(run, ranks=2), bits={**first.bits, name: "c"})
        (text,) = compare.mismatches([first, other, first])
        assert text == f"{other.run.name}: {name} differ from {run.name}"
        assert max(compare.distinct([first, other])) == 2


def test_seeds_dtypes_and_core_types_are_not_compared() -> None:
    run = cases.Run(cases.CASES[0], 0, "float32", cases.DEFAULT, 1)
    others = (
        replace(run, seed=1), replace(run, dtype="float64"), replace(run, core_type="Haswell"),
        replace(run, case=cases.CASES[1]),
    )  # fmt: skip
    runs = [run, replace(run, ranks=3, threads=2), *others]
    groups = compare.grouped(compare.Outcome(r, {}, 0.0, "none") for r in runs)
    assert [len(group) for group in groups.values()] == [2, 1, 1, 1, 1]


@pytest.mark.parametrize(("error", "wrong"), [(9e-5, False), (2e-4, True), (float("nan"), True)])
def test_weights_far_from_reference_are_wrong(error: float, wrong: bool) -> None:
    run = cases.Run(cases.CASES[0], 0, "float32", cases.DEFAULT, 1)
    assert compare.Outcome(run, {}, error, "none").is_wrong is wrong


@pytest.mark.parametrize("missing", ["", "no AMX"])
def test_the_full_plan_covers_what_is_promised(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr("hpcpgd.kernels.tiles.amx.refusal", lambda: missing)
    runs = [run for job in cases.full([0, 1, 2]).jobs() for run in job]
    assert {run.ranks for run in runs} == {1, 2, 3, 4, 5, 7, 8, 16, 32}
    assert {run.case.backend for run in runs} == {"gemm", "loops", "gemv"}
    groups = {run.group for run in runs}
    tiled = 0 if missing else len(cases.TILED) * 3  # in float32 alone, without a BLAS
    assert len(groups) == len(cases.CASES) * 3 * 2 * 2 + tiled
    many = {(run.group_size, run.threads) for run in runs if run.ranks == 32}
    assert many == {(size, threads) for size in ("1", "2", "3", "node") for threads in (1, 2)}


def test_a_job_that_fails_is_told(tmp_path: Path) -> None:
    case = cases.Case("none", "--dataset none.csv")
    run = cases.Run(case, 0, "float32", cases.DEFAULT, 2, program=True)
    _, failure = launch.execute([run], tmp_path, 1)
    assert failure.startswith("exit code 6")
    assert "none.csv" in failure


def test_the_environment_has_the_core_type_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = launch.environment
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1")
    for core_type, expected in (("default", None), ("Haswell", "Haswell")):
        found = environment(core_type)
        assert found.get("OPENBLAS_CORETYPE") == expected
        assert "OPENBLAS_L2_SIZE" not in found
