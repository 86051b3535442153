"""What the commands of ``hpcpgd study`` do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcpgd.checkpoint.run_files import companion
from hpcpgd.cli.launcher import say
from hpcpgd.errors import DataError, OutputError, UsageError
from hpcpgd.study.collect import gather, missing_points, read, write
from hpcpgd.study.grid import points
from hpcpgd.study.study_folder import StudyFolder
from hpcpgd.study.studyfile import StudyFile
from hpcpgd.study.studyfile import read as read_study
from hpcpgd.study.tables import factors_table, failures, summary_table


def open_study(path: Path, folder: Path | None) -> tuple[StudyFile, StudyFolder]:
    """Read a study file and name its folder."""
    study = read_study(path)
    return study, StudyFolder(folder or Path(f"hpcpgd-study-{study.name}"))


def collect(
    path: Path,
    folder: Path | None,
    output: Path | None,
    label: str | None,
    also: list[tuple[str, Path]],
) -> int:
    """Make the study file from the runs of one or several machines that have ended."""
    study, place = open_study(path, folder)
    target = output or place.path / "study.h5"
    if target.exists() and target.samefile(path):
        raise OutputError(f"--output {target}: is the study file itself")
    rows = gather(study, place, label)
    missing = missing_points(study, rows)
    folders, labels = [place.path.resolve()], {row.machine for row in rows}
    for name, other in also:
        _check_also(name, other, folders, labels)
        others = gather(study, StudyFolder(other), name)
        rows, missing = rows + others, missing + missing_points(study, others)
    if not rows:
        raise DataError(f"{place.path}: no run of study {study.name} has ended: run it first")
    wanted = len(points(study)) * study.repeats * (1 + len(also))
    write(target, study, rows, wanted, missing)
    say(f"{len(rows)} of {wanted} runs in {target}")
    return 0


def _check_also(name: str, other: Path, folders: list[Path], labels: set[str]) -> None:
    """Refuse a folder that is not there, and runs that would be counted twice."""
    if not (other / "runs").is_dir():
        raise DataError(f"--also {name}={other}: no folder of a study's runs")
    if other.resolve() in folders:
        raise UsageError(f"--also {name}={other}: these runs are already in")
    if name in labels:
        raise UsageError(f"--also {name}={other}: another machine has this label")
    folders.append(other.resolve())
    labels.add(name)


def report(path: Path, figures: Path | None) -> int:
    """Print the tables and draw the figures of a study file."""
    from hpcpgd.study.figures import draw

    attributes, rows, found = read(path)
    head = _head(attributes, len(rows))
    for text in (head, summary_table(found), factors_table(found), failures(rows)):
        if text:
            say(text + "\n")
    drawn = draw(
        found, attributes["kind"], figures or figures_of(path), str(attributes["written"])[:10]
    )
    say("\n".join(f"figure  {name}" for name in drawn))
    return 0


def figures_of(path: Path) -> Path:
    """Return where the figures of a study file are drawn if nothing else is said."""
    if path.name == "study.h5":  # as collect calls it, one in a folder
        return path.with_name("figures")
    return companion(path, "figures")


def _head(attributes: dict[str, Any], runs: int) -> str:
    expected = attributes["expected_runs"]
    part = f"; {runs} of {expected} runs, the others have not ended" if runs < expected else ""
    weak = (
        "; rows and batch grow with the ranks, and so the trajectory changes"
        if attributes["kind"] == "weak"
        else ""
    )
    return (
        f"study {attributes['name']}, {attributes['kind']}{weak}{part}: times are medians over the "
        f"repeats of each run's median epoch, compilation left out, and the first "
        f"{attributes['warmup_epochs']} epochs where more were run"
    )
