"""A run can always be made longer: its end leaves a checkpoint, which has the options."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import h5py
import pytest

from hpcpgd.checkpoint.checkpoint_folder import Folder
from hpcpgd.checkpoint.resume import brought
from hpcpgd.config.resolve import resolve
from hpcpgd.errors import DataError
from hpcpgd.train.again import command
from tests.helpers.many import Case, together
from tests.helpers.support import Done, python

RUN = ("--train-rows", "275", "--batch-size", "37", "--seed", "3", "--hidden", "16",
       "--learning-rate", "1.0")  # fmt: skip
STEPS = 8  # of an epoch
FIRST = ("train", *RUN, "--quiet", "--epochs", "3", "--output", "q.h5")
NEWEST = "q.checkpoints/*.ckpt.h5"
# What is run after the first, in folders of their own; None stands for the checkpoint's name.
THEN: dict[str, tuple[str | None, ...]] = {
    "more epochs": (*RUN, "--epochs", "5", "--output", "q.h5"),
    "the checkpoint alone": ("--resume", None, "--epochs", "5"),
    "another rate": ("--resume", None, "--epochs", "4", "--learning-rate", "0.5"),
    "another network": ("--resume", None, "--epochs", "5", "--hidden", "8"),
    "the same": FIRST[1:],
    "anew": (*FIRST[1:], "--overwrite"),
    "anew, and another": (*FIRST[1:], "--hidden", "8", "--overwrite"),
    "never": (*FIRST[1:], "--resume", "never"),
}
CUT = ("train", *RUN, "--quiet", "--output", "c.h5", "--max-steps")


def bits(path: Path) -> tuple[str, str, list[float], list[int]]:
    with h5py.File(path) as file:
        losses, steps = (file[f"history/{name}"][...].tolist() for name in ("train_loss", "steps"))
        return file.attrs["status"], file.attrs["params_sha256"], losses, steps


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Done]]:
    """Return the folder of the folders, and what each second run did."""
    root = tmp_path_factory.mktemp("longer")
    for name in (*THEN, "whole", "cut"):
        (root / name).mkdir()
    first = {name: Case(FIRST, str(root / name)) for name in THEN}
    whole = {
        "whole": Case((*FIRST[:-3], "5", *FIRST[-2:]), str(root / "whole")),
        "cut": Case((*CUT, "11"), str(root / "cut")),
    }
    for name, done in together(first | whole).items():
        assert (done.code, done.out, done.err) == (0, "", ""), name
    then = {"cut": Case((*CUT, "40", "--epochs", "5"), str(root / "cut"))}
    for name, words in THEN.items():
        [newest] = (root / name).glob(NEWEST)
        given = [str(newest.relative_to(root / name)) if w is None else w for w in words]
        then[name] = Case(("train", *given), str(root / name))
    return root, together(then)


@pytest.mark.parametrize("name", ["more epochs", "the checkpoint alone"])
def test_the_bits_of_a_run_that_was_asked_for_more_at_once(name: str, runs: Any) -> None:
    root, done = runs
    assert (done[name].code, done[name].err) == (0, "")
    assert f"continuing from step {3 * STEPS} of q.checkpoints/" in done[name].out
    assert bits(root / name / "q.h5") == bits(root / "whole" / "q.h5")
    assert len(bits(root / name / "q.h5")[2]) == 5


def test_a_run_that_max_steps_ended_goes_on_within_its_epoch(runs: Any) -> None:
    root, done = runs
    assert (done["cut"].code, done["cut"].err) == (0, "")
    assert bits(root / "cut" / "c.h5")[1:] == bits(root / "whole" / "q.h5")[1:]


def test_options_beside_a_checkpoint_that_is_named(runs: Any) -> None:
    _, done = runs
    assert done["another rate"].code == 0
    assert "since the checkpoint learning_rate was 1.0, is 0.5" in done["another rate"].out
    assert done["another network"].code == 78
    assert "widths is 64-8-10 now, 64-16-10 there" in done["another network"].err


def test_what_is_complete_is_replaced_if_that_is_asked_for(runs: Any) -> None:
    root, done = runs
    for name, words in (("the same", "to go on with it, give more --epochs"), ("never", "exists")):
        assert (done[name].code, done[name].out) == (74, ""), name
        assert words in done[name].err
        assert done[name].err.index("another name") < done[name].err.index("--overwrite")
    assert (done["anew"].code, done["anew, and another"].code) == (0, 0)
    assert bits(root / "anew" / "q.h5") == bits(root / "the same" / "q.h5")
    with h5py.File(root / "anew" / "q.h5") as file:
        assert file["segments/first_step"][...].tolist() == [1]
        run = file.attrs["run"]
    [left] = Folder(root / "anew" / "q.checkpoints").newest_first()
    assert left.name.startswith(f"{run}-step-")


def test_a_file_without_a_checkpoint_is_not_replaced(tmp_path: Path) -> None:
    words = (*FIRST, "--checkpoint-every", "never")
    texts = {"first": words, "again": FIRST, "advised": (*words, "--overwrite")}
    done = together({name: Case(text, str(tmp_path)) for name, text in texts.items()})
    assert [one.code for one in done.values()] == [0, 74, 0]  # the last: what a hang advises
    assert "is the file of a run without a checkpoint in q.checkpoints" in done["again"].err
    assert not (tmp_path / "q.checkpoints").exists()


def test_a_checkpoint_brings_what_makes_the_bits_and_no_machine() -> None:
    before = resolve({}, {"hidden": (7,), "reduction": "reproducible", "shards": 2, "threads": 3})
    config = resolve({}, {"resume": "x.ckpt.h5", "seed": 5})
    options = brought({**before.options(), "hidden": [7], "of another version": 1}, config)
    assert (options.hidden, options.reduction, options.shards) == ((7,), "reproducible", 2)
    assert (options.seed, options.threads, options.output) == (5, "auto", "auto")
    fast = resolve({}, {"reduction": "allreduce", "max_steps": 9}).options()
    assert (brought(fast, config).reduction, brought(fast, config).max_steps) == ("auto", 9)
    longer = resolve({}, {"resume": "x.ckpt.h5", "epochs": 99})
    assert brought(fast, longer).max_steps == "none"
    with pytest.raises(DataError, match="epochs: expected"):
        brought({"epochs": "many"}, config)


def test_the_command_that_goes_on_can_be_pasted() -> None:
    words = ["--output", "my run.h5", "--resume", "never", "--quiet"]
    said = command(words, 3, "a b.ckpt.h5", {})
    assert said == (
        "mpiexec -n 3 python -m hpcpgd.train --output 'my run.h5' --quiet --resume 'a b.ckpt.h5'"
    )
    assert shlex.split(command(words, 1, "", {})) == ["python", "-m", "hpcpgd.train", *words]
    assert command(["--resume=x"], 2, "y", {"SLURM_STEP_NUM_TASKS": "2"}) == (
        "srun -n 2 python -m hpcpgd.train --resume y"
    )


FULL_DISK = """
import errno, os, sys
from hpcpgd.environment.fault_points import hooks
def full(*_):
    hooks.pop("file")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
hooks["checkpoint file"] = lambda *_: hooks.update(file=full)
from hpcpgd.train.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_full_disk_at_the_end_takes_no_result_away(ranks: int, tmp_path: Path) -> None:
    words = ("--epochs", "2", "--output", "r.h5")
    done = python("-c", FULL_DISK, *words, ranks=ranks, cwd=tmp_path)
    done.one_line(74, ".ckpt.h5: cannot be written: No space left on device: make room")
    with h5py.File(tmp_path / "r.h5") as file:
        assert file.attrs["status"] == "complete"
        assert file.attrs["params_sha256"][:12] in done.out
