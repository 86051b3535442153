"""The pages of the reference that are made from the code: flags, keys, exit codes, files.

``python docs/generate.py`` writes them into ``docs/reference/generated``, where hpcpgd is installed
from this checkout: they describe the hpcpgd that Python imports.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields
from inspect import getdoc
from pathlib import Path
from typing import Any

import h5py
from benchmark_tables import benchmark_tables, table

from hpcpgd import errors
from hpcpgd.config.option_types import Choice, Flag
from hpcpgd.config.run_config import FIELDS, NETWORKS, RECIPES, flag_name
from hpcpgd.results.history import Epoch
from hpcpgd.results.record import RankPlace, Scores, Segment
from hpcpgd.study.rows import Row
from hpcpgd.study.slurm.site import Site
from hpcpgd.study.studyfile import SETTINGS, StudyFile
from hpcpgd.study.summary import Summary

STUDY = """
[study]
kind = "strong"
repeats = 1
[grid]
ranks = [1, 2]
[train]
dataset = "synthetic:60x8x3"
epochs = 2
"""
# Whose docstring describes the datasets of a group.
TABLES = {
    "history": Epoch, "segments": Segment, "ranks": RankPlace, "test": Scores, "runs": Row,
    "summary": Summary,
}  # fmt: skip
# What no class describes.
ALSO = {
    "cost/flops": "Floating-point operations that a product executes in a full step, counted. With "
    "`bf16x6` they are six times those of the network, in layer 1 three times if features are "
    "bytes; `/history` counts those of the network.",
    "cost/bytes_moved": "Bytes that a product reads and writes in a full step, counted.",
    "cost/bytes_communicated": "Bytes that all ranks together hand to collectives in a full step, "
    "for each layer; layer 0 stands for flags and filling.",
    "timing/segment1/seconds": "Time of each phase. `reduce` is the Allreduce on the rank that "
    "came to it last; `wait` is the rest of the time that the other ranks spend in it.",
    "timing/segment1/rows": "Training rows that the rank worked on.",
    "target/epochs": "Epochs until the validation accuracy was that of `--target-accuracy`; 0 if "
    "it was not, and there is no group without that flag.",
    "target/steps": "Steps until then, 0 if it was not reached.",
    "target/seconds": "Training alone until then, NaN if it was not reached.",
    "best_model/class_labels": "As `/model`, with the weights of the epoch with the lowest "
    "validation loss, which the attribute `epoch` names; with `--keep-best` or `--patience`.",
    "model/class_labels": "The label of each output.",
    "model/layer1/weights": "Weights of the layer.",
    "model/layer1/biases": "Biases of the layer.",
}
# Exit codes that no class of error has.
OTHER_CODES = {
    0: "Done; or `doctor` found no problem.",
    1: "`study`: some runs did not end well. `doctor --kit`: some steps did not. "
    "`doctor --reference`: a rate is too low, or the rates were not kept.",
    70: "Internal error: a defect of hpcpgd, with its traceback.",
    130: "Interrupted by Ctrl-C before the first step, or by a second Ctrl-C.",
    143: "`study` was ended by SIGTERM.",
}
# What to do about each.
CURES = {
    0: "",
    1: "`study report` names the runs, and `study run --retry-failed` repeats them. The lines of "
    "the doctor say what to do.",
    2: "The line names the nearest valid one.",
    3: "Give a lower `--learning-rate`, and go on from the last checkpoint.",
    65: "The line names the file. `hpcpgd data info PATH` shows what was understood of a dataset.",
    69: "The line gives sizes and the cure; `hpcpgd doctor` shows more.",
    70: "Report the traceback.",
    71: "The last line names the rank that hangs, its host and its process: examine that node.",
    74: "The line says which. Give more `--epochs` or another `--output`, wait for the other job, "
    "or make room on the disk.",
    75: "Start the command of the last line: it goes on.",
    76: "Exclude the host that the line names: its memory may be bad.",
    78: "The line names the options and those that work, or what differs between the ranks.",
    130: "Start the same command again: only the steps since the last checkpoint are lost.",
    143: "Start the same command again: it goes on.",
}


def _described(kind: type) -> dict[str, str]:
    """Return what the numpydoc section *Attributes* of a class says of each."""
    section = re.split(r"\nAttributes\n-+\n", getdoc(kind) or "")[-1]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if head := re.match(r"(\w[\w, …]*?) : ", line):
            names = re.split(r", | … ", head[1])
            found |= dict.fromkeys(names, "")
        elif line.startswith("    "):
            for name in names:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def flags() -> str:
    """Return the page of the flags of ``hpcpgd train``."""
    rows = []
    for name, spec in FIELDS.items():
        kind = spec.metadata["kind"]
        text = spec.metadata["help"]
        if isinstance(kind, Choice):
            text = f"{', '.join(f'`{choice}`' for choice in kind.choices)}: {text}"
        default = "" if isinstance(kind, Flag) else f"`{_shown(spec.default)}`"
        rows.append((f"`{flag_name(name)}`", default, text))
    networks = ", ".join(f"`{name}` has hidden widths {_shown(w)}" for name, w in NETWORKS.items())
    rows.append(("`--network`", "", networks))
    for name, options in RECIPES.items():
        given = ", ".join(f"{flag_name(key)} {value}" for key, value in options.items())
        rows.append(("`--recipe`", "", f"`{name}` stands for {given}; other flags override it"))
    return (
        "# Flags of `hpcpgd train`\n\nDefaults come first, then the table `[train]` of "
        "`--config FILE.toml`, then flags.\nA key of the TOML file is a flag with underscores.\n\n"
        f"{table(('flag', 'default', 'meaning'), rows)}\n"
    )


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def exit_codes() -> str:
    """Return the page of the exit codes."""
    codes = dict(OTHER_CODES)
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.HpcpgdError) and kind.exit_code != 70:
            codes.setdefault(kind.exit_code, (getdoc(kind) or "").splitlines()[0])
    rows = [(f"`{code}`", codes[code], CURES[code]) for code in sorted(codes)]
    return (
        f"# Exit codes\n\n{table(('code', 'meaning', 'what to do'), rows)}\n\n"
        "A launcher may report a code of its own, such as 9 or 137 after a rank was killed: see "
        "[A rank was killed](../../troubleshooting.md#a-rank-was-killed).\n"
    )


def study_keys() -> str:
    """Return the page of the keys of study files."""
    about = _described(StudyFile)
    rows = [
        (f"`{name}`", f"`{getattr(StudyFile, name, '')}`", f"{expected}. {about.get(name, '')}")
        for name, (expected, _) in SETTINGS.items()
    ]
    return (
        "# Keys of a study file\n\n## `[study]`\n\n"
        f"{table(('key', 'default', 'meaning'), rows)}\n\n"
        "## `[grid]`, `[train]` and `[base]`\n\nThe keys are `ranks`, `network`, in a weak study "
        "`rows_per_rank` and `batch_per_rank`, and those of\n[`hpcpgd train`](flags.md) except "
        "its files and limits. In `[grid]` each has a list of values, in `[train]` one\nfor all "
        "runs. `[base]` says which points of the grid speedups are counted from.\n"
    )


def site_keys() -> str:
    """Return the page of the keys of site files."""
    about = _described(Site)
    rows = [
        (f"`{column.name}`", f"`{column.default!r}`", about.get(column.name, ""))
        for column in fields(Site)
        if column.name != "environment"
    ]
    return (
        f"# Keys of a site file\n\n## `[site]`\n\n{table(('key', 'default', 'meaning'), rows)}\n\n"
        f"## `[environment]`\n\n{about['environment']}\n"
    )


def _tree(file: h5py.File) -> str:
    """Return a table of the datasets and another of the attributes of a file."""
    rows: list[tuple[str, str, str, str]] = []

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            axes = ", ".join(Path(axis[0].name).name for axis in item.dims if len(axis))
            units = item.attrs.get("units", "")
            if item.is_scale:
                return
            group, _, name = path.partition("/")
            known = _described(TABLES[group]) if group in TABLES else {}
            text = ALSO.get(path) or known.get(Path(name).name, "")
            rows.append((f"`/{path}`", f"({axes})" if axes else "", str(units), text))

    file.visititems(visit)
    attributes = [(f"`{name}`", type(value).__name__) for name, value in file.attrs.items()]
    return (
        f"## Attributes of the root\n\n{table(('name', 'type'), attributes)}\n\n"
        f"## Datasets\n\n{table(('path', 'dimensions', 'units', 'meaning'), rows)}\n"
    )


# What the example of a run file lacks.
FURTHER = [
    ("`/history/train_r2`, `validation_r2`", "(epoch)", "R² of a regression."),
    ("`/test/r2`", "", "Of a regression, in place of accuracy and confusion."),
    ("`/model/target_names`", "(target)", "Of a regression, in place of class_labels."),
    ("`/model/target_mean`, `target_deviation`", "(target)", "Of a standardised regression."),
    ("`/model/input_mean`, `input_deviation`", "(input)", "With `--standardise`."),
    ("attributes `input_scale`, `input_offset`, `loss` of `/model`", "", ""),
    ("attribute `activation` of each `/model/layerN`", "", "Its function."),
    ("attribute `epoch` of `/best_model`", "", "The epoch, from 1, after which they were kept."),
]


def _example(*commands: tuple[str, ...], result: str) -> str:
    """Run commands in a folder of their own and describe the file that they leave."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "strong.toml").write_text(STUDY)
        for words in commands:
            command = [sys.executable, "-m", *words]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with h5py.File(Path(folder) / result) as file:
            return _tree(file)


def run_file() -> str:
    """Return the page of the run file, from one that is made now."""
    more = ("--keep-best", "--target-accuracy", "0.5")  # groups that other runs lack
    words = ("hpcpgd.train", "--epochs", "1", *more, "--quiet", "--output", "run.h5")
    more_rows = table(("path", "dimensions", "meaning"), FURTHER)
    return (
        f"# Run file, schema `hpcpgd.run/1`\n\n{_example(words, result='run.h5')}\n"
        f"## Where they apply\n\n{more_rows}\n"
    )


def study_file() -> str:
    """Return the page of the study file, from one that is made now."""
    commands = [("hpcpgd.study", name, "strong.toml") for name in ("run", "collect")]
    tables = _example(*commands, result="hpcpgd-study-strong/study.h5")
    return f"# Study file, schema `hpcpgd.study/1`\n\n{tables}"


PAGES: dict[str, Callable[[], str]] = {
    "flags": flags,
    "exit-codes": exit_codes,
    "study-keys": study_keys,
    "site-keys": site_keys,
    "run-file": run_file,
    "study-file": study_file,
    "benchmark-tables": benchmark_tables,
}
FOLDER = Path(__file__).parent / "reference" / "generated"


def main() -> None:
    """Write every page and name its file."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        path = FOLDER / f"{name}.md"
        path.write_text(page(), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
