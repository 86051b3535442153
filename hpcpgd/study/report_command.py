"""The command ``hpcpgd study report``: print the tables and draw the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcpgd.checkpoint.run_files import companion
from hpcpgd.cli.launcher import say
from hpcpgd.study.collect import read
from hpcpgd.study.figure_form import FORMATS, FigureForm
from hpcpgd.study.study_folder import StudyFolder
from hpcpgd.study.subcommands import collect_again
from hpcpgd.study.tables import factors_table, failures, others_note, summary_table


def report(
    path: Path,
    figures: Path | None = None,
    size: tuple[float, float] | None = None,
    title: str | None = None,
    formats: tuple[str, ...] = FORMATS,
) -> int:
    """Print the tables and draw the figures of a study.

    Parameters
    ----------
    path : Path
        A study's TOML file or folder, whose runs are collected first, finished or not; or a
        study file.
    figures : Path or None
        Folder of the figures; None: beside the file.
    size, title, formats
        As ``FigureForm`` has them.

    Raises
    ------
    DataError
        If it is none of these, or damaged.
    """
    form = FigureForm(size, title, formats)
    if path.is_dir():
        path = collect_again(StudyFolder(path).study_file(), path)
    elif path.suffix == ".toml":
        path = collect_again(path, None)
    drawn = _study(path, figures, form)
    say("\n".join(f"figure  {name}" for name in drawn))
    return 0


def _study(path: Path, figures: Path | None, form: FigureForm) -> list[Path]:
    from hpcpgd.study.figures import draw

    attributes, rows, points = read(path)
    head = _head(attributes, len(rows))
    tables = (summary_table(points), others_note(points), factors_table(points))
    for text in (head, *tables, failures(rows)):
        if text:
            say(text + "\n")
    day = str(attributes["written"])[:10]
    return draw(points, attributes["kind"], figures or figures_of(path), day, form)


def figures_of(path: Path) -> Path:
    """Return the default folder of the figures of a file."""
    if path.name == "study.h5":  # the default name of collect
        return path.with_name("figures")
    return companion(path, "figures")


def _head(attributes: dict[str, Any], runs: int) -> str:
    expected = attributes["expected_runs"]
    part = f"; {runs} of {expected} runs, the others have not ended" if runs < expected else ""
    weak = "; rows and batch grow with the ranks, and so the trajectory changes"
    weak *= attributes["kind"] == "weak"
    warm = attributes["warmup_epochs"]
    first = "epoch is" if warm == 1 else f"{warm} epochs are"
    return (
        f"study {attributes['name']}, {attributes['kind']}{weak}{part}: times are medians over the "
        "repeats of each run's median epoch, without compilation; "
        f"the first {first} left out where more were run"
    )
