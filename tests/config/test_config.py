"""Flags, TOML and their errors: one line each, the right class, the nearest choice."""

from __future__ import annotations

import math
import re
import tomllib
from datetime import time
from pathlib import Path
from typing import Any

import pytest

from hpcpgd.config.flags import GROUPS, build_parser, parse
from hpcpgd.config.read_options import read_toml
from hpcpgd.config.resolve import resolve
from hpcpgd.config.run_config import CHECKPOINT_EVERY, FIELDS, RunConfig, flag_name
from hpcpgd.errors import ConfigError, UsageError
from hpcpgd.study.studyfile import read, seconds


def test_defaults_are_the_main_job() -> None:
    config, print_config = parse([])
    assert not print_config
    assert (config.dataset, config.hidden, config.batch_size) == ("digits", (32,), 32)
    assert (config.learning_rate, config.epochs, config.seed) == (0.1, 30, 0)
    assert (config.backend, config.reduction, config.dtype) == ("gemm", "auto", "float32")


def test_flags_win_over_toml_and_toml_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('[train]\nepochs = 5\nhidden = [7, 8]\nbatch_size = "full"\n')
    config, _ = parse(["--config", str(file), "--epochs", "6"])
    assert (config.epochs, config.hidden, config.batch_size) == (6, (7, 8), "full")
    config, _ = parse(["--config", str(file), "--network", "net-2h"])
    assert config.hidden == (1024, 1024)


PAPER = (
    "--dataset", "mnist", "--network", "net-1h", "--batch-size", "128", "--learning-rate", "0.1",
    "--epochs", "20", "--activation", "sigmoid", "--output-activation", "sigmoid", "--loss", "mse",
)  # fmt: skip


def test_a_recipe_is_its_options_and_all_others_win_over_it(tmp_path: Path) -> None:
    assert parse(["--recipe", "paper"]) == parse(PAPER)
    file = tmp_path / "run.toml"
    file.write_text('[train]\nepochs = 5\nbatch_size = 64\nnetwork = "net-2h"\n')
    config, _ = parse(["--config", str(file), "--recipe", "paper", "--epochs", "6"])
    others = ("--network", "net-2h", "--batch-size", "64", "--epochs", "6")
    assert config == parse([*PAPER, *others])[0]
    file.write_text('[train]\nrecipe = "paper"\nepochs = 5\n')
    assert parse(["--config", str(file)])[0] == parse([*PAPER, "--epochs", "5"])[0]


def test_printed_toml_reads_back(tmp_path: Path) -> None:
    config, _ = parse(["--network", "net-1h", "--learning-rate", "0.5", "--train-rows", "100"])
    file = tmp_path / "resolved.toml"
    file.write_text(config.to_toml())
    again, _ = parse(["--config", str(file)])
    assert again == config
    assert set(tomllib.loads(file.read_text())["train"]) == set(FIELDS)


def test_dtype_follows_the_backend() -> None:
    assert parse(["--backend", "reference"])[0].dtype == "float64"
    assert parse(["--backend", "loops"])[0].dtype == "float32"
    with pytest.raises(ConfigError, match="float64 only"):
        parse(["--backend", "reference", "--dtype", "float32"])


USAGE = {
    ("--batch-size", "0"): r"--batch-size: expected a whole number, 1 or more, or .full., got 0",
    ("--batch-size", "many"): "or 'full', got 'many'",
    ("--batch-size", "1.5"): "whole number",
    ("--seed", str(2**63)): rf"--seed: expected .* 0 or more, got {2**63}, at most 2\*\*62",
    ("--epochs", "-1"): "--epochs: expected",
    ("--learning-rate", "nan"): "above 0, or 'auto', got nan",
    ("--learning-rate", "inf"): "above 0, or 'auto', got inf",
    ("--learning-rate", "0"): "above 0, or 'auto', got 0",
    ("--test-fraction", "1"): "at least 0 and below 1",
    ("--hidden", "10,0"): "--hidden: expected at most 1000 whole numbers, each 1 to",
    ("--hidden", ""): "--hidden",
    ("--backend", "gem"): r"got 'gem'; did you mean 'gem[mv]'\?",
    ("--reduction", "alreduce"): r"did you mean 'allreduce'\?",
    ("--matmul-precision", "bfloat16"): r"did you mean 'bf16'\?",
    ("--dtype", "bfloat16"): "'bfloat16'; for products: --matmul-precision bf16$",
    ("--network", "net-3h"): r"did you mean 'net-[12]h'\?",
    ("--recipe", "papers"): r"--recipe: .*did you mean 'paper'\?",
    ("--dataset", "mnsit"): r"--dataset: unknown dataset 'mnsit'.*did you mean 'mnist'\?",
    ("--batchsize", "3"): r"unknown argument '--batchsize'; did you mean '--batch-size'\?",
    ("--batch", "3"): "unknown argument '--batch'",
    ("train",): "unknown argument 'train'",
    ("--epochs",): "expected one argument",
    ("--seed", "1", "--threads", "0"): "--threads: expected",
    ("--output", ""): "--output: expected a text that is not empty",
}


@pytest.mark.parametrize("argv", USAGE)
def test_wrong_flags(argv: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=USAGE[argv]) as caught:
        parse(argv)
    assert "\n" not in str(caught.value)


TOML = {
    "[train]\nbatchsize = 3": r"'batchsize'; did you mean 'batch_size'\? \(default 32\)",
    "[train]\nxyzzy = 3": "unknown key 'xyzzy'; the keys are the long flags",
    "[train]\nbatch_size = 0": r"\[train\] batch_size: expected .* got 0",
    '[train]\nbatch_size = "32"': "expected a whole number, .* got '32'",
    "[train]\nepochs = true": "expected a whole number, .* got True",
    "[train]\nepochs = 3.0": "expected a whole number",
    "[train]\nlearning_rate = nan": "above 0",
    "[train]\nhidden = 5": "expected at most 1000 whole numbers",
    '[train]\nhidden = ["5"]': "expected at most 1000 whole numbers",
    f"[train]\nhidden = [{'1,' * 1001}]": "expected at most 1000 whole numbers",
    "[train]\nquiet = 1": "expected true or false",
    "[train]\ndataset = 5": "expected a text",
    '[train]\ndataset = "mnsit"': "did you mean 'mnist'",
    '[train]\nnetwork = "net-1h"\nhidden = [3]': "both name the widths",
    "[train]\nlearning_rate = 1" + "0" * 400: "above 0",
    "[train]\nseed = 1" + "0" * 5000: "not a TOML file",
    "[train]\nlearning_rate = 1e-300": "no value in float32",
    "[train]\nlearning_rate = 1e300": "no value in float32",
    "[tran]\nepochs = 3": r"unknown table or key 'tran': expected the table \[train\]",
    "train = 3": "must be a table",
    "epochs = ": "not a TOML file",
    "[train]\nmomentum = 0.5": "momentum 0.5 does not go with optimizer sgd",
    '[train]\nbackend = "cuda"\noptimizer = "adam"': "only: leave optimizer out",
    '[train]\nbackend = "cuda"\nclip_norm = 1': "only: leave clip-norm out",
    "[train]\ntarget_accuracy = 2": "above 0 and below 1, or 'none'",
    "[train]\nweight_decay = -1": "at least 0 and below 1",
    '[train]\nloss = "mse"': "mse does not go with output-activation softmax",
    '[train]\nloss = "cross-entropy"\noutput_activation = "relu"': "use softmax or sigmoid",
}


@pytest.mark.parametrize("text", TOML)
def test_wrong_toml(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=TOML[text]) as caught:
        parse(["--config", str(file)])
    assert "\n" not in " ".join(str(caught.value).split())


def test_unreadable_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        parse(["--config", str(tmp_path / "none.toml")])
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a TOML file"):
        parse(["--config", str(binary)])


def test_resolve_keeps_what_was_given() -> None:
    settled = RunConfig(dtype="float32", matmul_precision="float32", learning_rate=0.1)
    assert resolve({}, {}) == settled


def test_a_precision_that_followed_the_dtype_follows_it_again() -> None:
    """A run file's configuration names both; overriding the dtype is enough."""
    kept = {"backend": "gemm", "dtype": "float32", "matmul_precision": "float32"}
    found = resolve(kept, {"dtype": "float64"})
    assert (found.dtype, found.matmul_precision) == ("float64", "float64")
    with pytest.raises(ConfigError, match="matmul-precision float32"):
        resolve({}, {"dtype": "float64", "matmul_precision": "float32"})


@pytest.mark.parametrize(
    ("text", "steps", "duration"),
    [
        ("500", 500, 0),
        ("30s", 0, 30),
        ("5min", 0, 300),
        ("1.5h", 0, 5400),
        ("0.2s", 0, 0.2),
        ("90:30", 0, 5430),
    ],
)
def test_steps_or_time_between_checkpoints(text: str, steps: int, duration: float) -> None:
    found = CHECKPOINT_EVERY.parse(CHECKPOINT_EVERY.check(text))
    assert (found.steps, found.seconds) == (steps, duration)


@pytest.mark.parametrize(
    "value",
    ["0", "-5", "-5s", "0s", "nans", "infs", "5 min", "5m", "s", "", "1e400h", "5minmin", 5.0, True,
     0, None, "1h30min", "0:00", "0-0", "1-", "-1:00", ":30", "1:2:3:4", "1-2:3:4:5", "1:30min",
     "1.5:00", "1 -0", time(0, 0), time(1, 0, 0, 5)],
)  # fmt: skip
def test_no_time_and_no_number_of_steps(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (bare: the option adds where and what)
        CHECKPOINT_EVERY.check(value)


HOUR, DAY = 3600, 24 * 3600
# SLURM's forms but for a bare number, which is minutes there and steps elsewhere.
SLURM = {
    "30:00": HOUR / 2, "0:20": 20, "90:00": 1.5 * HOUR, "12:00:00": 12 * HOUR, "0:01:30": 90,
    "1-0": DAY, "2-12": 2.5 * DAY, "1-06:30": DAY + 6.5 * HOUR, "1-00:00:00": DAY,
    "7-23:59:59": 8 * DAY - 1,
}  # fmt: skip


@pytest.mark.parametrize("text", SLURM)
def test_every_duration_may_be_as_slurm_has_it(text: str, tmp_path: Path) -> None:
    config, _ = parse(["--time-limit", text, "--checkpoint-every", text])
    assert config.seconds("time_limit") == SLURM[text]
    assert CHECKPOINT_EVERY.parse(config.checkpoint_every).seconds == SLURM[text]
    assert seconds(text) == SLURM[text]  # of a study
    (tmp_path / "c.toml").write_text(config.to_toml())
    assert parse(["--config", str(tmp_path / "c.toml")])[0] == config


def test_a_time_of_the_day_in_toml_is_a_duration(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[train]\ntime_limit = 12:00:00\n")
    config, _ = parse(["--config", str(tmp_path / "c.toml")])
    assert config.seconds("time_limit") == 12 * HOUR
    assert 'time_limit = "12:00:00"' in config.to_toml()


@pytest.mark.parametrize("text", ["30", "1440", "0"])
def test_a_bare_number_is_no_time(text: str) -> None:
    expected = "expected a time such as 90s, 10min, 2h or SLURM's 1-12:00:00, or 'none', got"
    with pytest.raises(UsageError, match=f"--time-limit: {expected} '{text}'"):
        parse(["--time-limit", text])
    with pytest.raises(ValueError):  # noqa: PT011  (bare: the study adds where and what)
        seconds(text)


FORMER = {"step": 600, "loading": 3600, "compiling": 1800, "checkpoint": 1800}


def test_one_limit_for_hangs_leaves_every_phase_as_long_as_it_had() -> None:
    limits = parse([])[0].hang_limits()
    assert all(limits[phase] >= seconds for phase, seconds in FORMER.items())
    shorter = parse(["--hang-limit", "2s"])[0].hang_limits()
    assert {phase: 300 * seconds for phase, seconds in shorter.items()} == limits
    assert set(parse(["--hang-limit", "none"])[0].hang_limits().values()) == {math.inf}


@pytest.mark.parametrize("phase", FORMER)
def test_a_former_limit_is_unknown_and_the_new_one_named(phase: str, tmp_path: Path) -> None:
    for word in (f"--{phase}-limit", f"--{phase}-limit=1h"):
        expected = f"unknown argument '{word}'; '--hang-limit' has replaced it"
        with pytest.raises(UsageError, match=expected):
            parse([word, "1h"])
    path = tmp_path / "old.toml"
    path.write_text(f'[train]\n{phase}_limit = "1h"\n')
    for reads in (lambda p: parse(["--config", str(p)]), read):  # of a run and of a study
        with pytest.raises(ConfigError, match=f"'{phase}_limit'; 'hang_limit' has replaced it"):
            reads(path)


# Flags that users of other programs type, and the flag that does the same here.
FOREIGN = {
    "lr": "learning-rate", "learning-rate-init": "learning-rate", "bs": "batch-size",
    "batch": "batch-size", "minibatch": "batch-size", "num-epochs": "epochs", "max-iter": "epochs",
    "iterations": "max-steps", "layers": "hidden", "hidden-layer-sizes": "hidden", "out": "output",
    "model": "network", "device": "backend", "workers": "threads", "random-state": "seed",
    "criterion": "loss", "data-dir": "dataset", "log-interval": "log-every",
}  # fmt: skip


@pytest.mark.parametrize("word", FOREIGN)
def test_usual_names_lead_to_ours(word: str, tmp_path: Path) -> None:
    for argv in ([f"--{word}", "1"], [f"--{word}=1"]):
        expected = f"unknown argument '{argv[0]}'; did you mean '--{FOREIGN[word]}'?"
        with pytest.raises(UsageError, match=re.escape(expected)):
            parse(argv)
    key, ours = word.replace("-", "_"), FOREIGN[word].replace("-", "_")
    (tmp_path / "c.toml").write_text(f"[train]\n{key} = 1\n")
    with pytest.raises(ConfigError, match=rf"unknown key '{key}'; did you mean '{ours}'\?"):
        read_toml(str(tmp_path / "c.toml"))


HOSTILE_TOML = {
    "beyond printing": ("epochs = 0x" + "f" * 6000, "too large to show"),
    "within a list": ("hidden = [1, 0x" + "f" * 6000 + "]", "too large to show"),
    "deep": (".".join("a" * 1000) + " = 1", "a key has more than 32 parts"),
    "deep in a list": ("epochs = [''' ' ''', {" + "a." * 20_000 + "a = 1}]", "32 parts"),
    "behind a comment": ('# don\'t """\n' + "a." * 20_000 + "a = 1", "32 parts"),
    "lists in lists": ("epochs = " + "[" * 100_000, "nested too deeply"),
    "large": ("# " + "x" * 2**18, "more than 262144 bytes"),
    "escapes": ('"\\u001b[2J\\n" = 1', "unknown key '\\x1b[2J '"),
    "a long word": ("x" * 50_000 + " = 1", "..."),
    "no word": ("backend = 0x" + "f" * 6000, "expected one of reference, "),
}


@pytest.mark.parametrize("name", HOSTILE_TOML)
def test_toml_made_to_do_harm(name: str, tmp_path: Path) -> None:
    text, message = HOSTILE_TOML[name]
    path = tmp_path / "bad.toml"
    path.write_text(f"[train]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        parse(["--config", str(path)])
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 2000


def test_dots_in_texts_and_comments_are_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "good.toml"
    dots = ".".join("x" * 100)
    path.write_text(f"# {dots}\n[train]\ndataset = '{dots}.npz'\noutput = \"{dots}.h5\"\n")
    assert parse(["--config", str(path)])[0].dataset == f"{dots}.npz"


def test_toml_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[train]\nepochs = 3\n", encoding="utf-8-sig")
    assert read_toml(str(path)) == {"epochs": 3}


def test_help_shows_each_option_once() -> None:
    listed = re.findall(r"^  (--[\w-]+)", build_parser("train", "", {}).format_help(), re.M)
    assert [listed.count(flag_name(key)) for key in FIELDS] == [1] * len(FIELDS)
    assert set(GROUPS) <= set(FIELDS)
