"""The commands ``new`` and ``collect`` of ``hpcpgd study``, and what other commands share."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from string import Template

from hpcpgd.cli.launcher import say
from hpcpgd.errors import DataError, OutputError, UsageError
from hpcpgd.machine.cores import usable_cores
from hpcpgd.study.collect import gather, missing_points, read, write
from hpcpgd.study.grid import points
from hpcpgd.study.rows import Row
from hpcpgd.study.study_folder import StudyFolder
from hpcpgd.study.studyfile import StudyFile
from hpcpgd.study.studyfile import read as read_study

ROWS_PER_RANK = 3750  # of the weak template: 3000 to train on, a fifth as many to validate, spare


def open_study(path: Path, folder: Path | None) -> tuple[StudyFile, StudyFolder]:
    """Read a study file and name its folder: in this folder, unless one stands beside the file."""
    study = read_study(path)
    here = Path(f"hpcpgd-study-{study.name}")
    beside = path.with_name(here.name)
    there = beside if beside.is_dir() and not here.exists() else here
    return study, StudyFolder(folder or there)


def new(template: str) -> int:
    """Print a study file with comments that runs as it is, on the cores here."""
    path = files("hpcpgd.study").joinpath("templates", f"{template}.toml")
    ranks = [2**n for n in range(max(usable_cores().bit_length(), 2))]  # at least 1 and 2
    values = {"ranks": f"{ranks!s:<16} ", "rows": ROWS_PER_RANK * ranks[-1]}
    say(Template(path.read_text(encoding="utf-8").rstrip()).substitute(values))
    return 0


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
    own, tables = label or "", {label or "": gather(study, place, label)}
    folders, labels = [place.path.resolve()], {own, *(row.machine for row in tables[own])}
    for name, other in also:
        if not (other / "runs").is_dir():
            raise DataError(f"--also {name}={other}: no folder of a study's runs")
        if other.resolve() in folders:
            raise UsageError(f"--also {name}={other}: these runs are already in")
        if name in labels:
            raise UsageError(f"--also {name}={other}: another machine has this label")
        folders.append(other.resolve())
        labels.add(name)
        tables[name] = gather(study, StudyFolder(other), name)
    _write(target, study, place, tables)
    return 0


def collect_again(path: Path, folder: Path | None) -> Path:
    """Renew the study file of a folder and return it; rows of ``collect --also`` stay."""
    study, place = open_study(path, folder)
    target, origins, before = place.path / "study.h5", {"": list[str]()}, list[Row]()
    if target.exists():
        try:
            attributes, before, _ = read(target)
        except DataError as error:  # which runs of others it has is not known
            raise DataError(f"{error}; hpcpgd study collect makes it anew") from None
        origins = attributes["origins"]
    keys = {point.key for point in points(study)}
    tables = {
        label: [row for row in before if row.machine in machines and row.key in keys]
        for label, machines in origins.items()
    }
    label, *others = origins
    tables[label] = gather(study, place, label or None)
    for name in others:
        say(f"{len(tables[name])} runs of {name} stay as collect --also has added them")
    _write(target, study, place, tables)
    return target


def _write(
    target: Path, study: StudyFile, place: StudyFolder, tables: dict[str, list[Row]]
) -> None:
    """Write the study file of the rows of each folder."""
    rows = [row for table in tables.values() for row in table]
    if not rows:
        raise DataError(
            f"{place.path}: no run of study {study.name} has ended: run it first, or name the "
            "folder of its runs"
        )
    missing = [row for table in tables.values() for row in missing_points(study, table)]
    wanted = len(points(study)) * study.repeats * len(tables)
    origins = {label: sorted({row.machine for row in table}) for label, table in tables.items()}
    write(target, study, rows, wanted, missing, origins)
    say(f"{len(rows)} of {wanted} runs in {target}")
