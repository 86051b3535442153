"""The command ``hpcpgd study paper``: run, collect, draw, judge."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from hpcpgd.checkpoint.run_files import word
from hpcpgd.cli.launcher import say
from hpcpgd.config.run_config import NETWORKS
from hpcpgd.data import check_name, load
from hpcpgd.environment.provenance import cpu_model
from hpcpgd.errors import DataError, UsageError
from hpcpgd.machine.cores import usable_cores
from hpcpgd.results.atomic import write_atomically
from hpcpgd.study import launchers
from hpcpgd.study.collect import write
from hpcpgd.study.foreground import execute_all
from hpcpgd.study.paper import axes, bar_charts, paper_rows
from hpcpgd.study.paper.claims import judge
from hpcpgd.study.paper.contest import NOT_INSTALLED, programs
from hpcpgd.study.paper.measured_rows import Results, gather
from hpcpgd.study.paper.paper_rows import FULL, QUICK, WARM_UP, Plan
from hpcpgd.study.paper.paper_table import rows as table_rows
from hpcpgd.study.paper.problem import Problems
from hpcpgd.study.paper.tasks import absent_rows, make_tasks
from hpcpgd.study.paper.verdict import claims_text
from hpcpgd.study.rows import Row
from hpcpgd.study.study_folder import StudyFolder
from hpcpgd.study.studyfile import StudyFile
from hpcpgd.study.summary import FEWEST, Summary
from hpcpgd.study.tables import SCALED, aligned, failures, scaled_note, time


def place_of(quick: bool, only_gpu: bool, dataset: str | None, folder: Path | None) -> StudyFolder:
    """Return where the runs are; ``folder`` and ``dataset`` are those of the command line."""
    words = ["quick"] * quick + ["gpu"] * only_gpu
    words += [word(Path(dataset).name)] if dataset else []
    return StudyFolder(folder or Path("-".join(["hpcpgd-study-paper", *words])))


def paper(
    quick: bool,
    only: str | None,
    dataset: str | None,
    folder: Path | None,
    python: str | None,
    retry_failed: bool,
) -> int:
    """Make the missing runs and report; exit 1 if one failed, except for rows that cannot run.

    Parameters
    ----------
    quick : bool
        Few rows, one repeat.
    only : str or None
        ``gpu`` for only the rows that need a device.
    python : str or None
        The interpreter that has the libraries; None is our own.
    retry_failed : bool
        Make failed and timed-out runs again.
    """
    size, only_gpu = QUICK if quick else FULL, only == "gpu"
    place = place_of(quick, only_gpu, dataset, folder)
    name = dataset or paper_rows.find_dataset()
    check_name(name)
    if python is not None and shutil.which(python) is None:
        raise UsageError(f"--library-python {python}: no program is there")
    place.make()
    with place.locked():
        raw = load(name, seed=0)
        if size.rows is not None:
            name = str(paper_rows.draw_rows(raw, size.rows, place.path))
            raw = load(name, seed=0)
        left, wanted = paper_rows.rows_of(raw), max(size.batches)
        if left < wanted:
            raise DataError(f"{raw.name}: {left} rows to train on, expected {wanted} or more")
        plan = Plan(name, raw, size, usable_cores(), table_rows(only_gpu))
        rows, absent = _run(plan, place, python or sys.executable, retry_failed)
    return _report(plan, place.path, rows, bar_charts.Legend(plan.cores, plan.rows, absent))


def _run(
    plan: Plan, place: StudyFolder, python: str, retry_failed: bool
) -> tuple[list[Row], dict[str, str]]:
    """Make the missing runs; return all rows, and why some of the table cannot run here."""
    size, points = plan.size, plan.points()
    problems = Problems(place, plan.raw)
    tasks = make_tasks(points, absent_rows(plan.rows, python), python, plan.cores, problems)
    made = gather(points, tasks, place, size.repeats)
    if others := sorted({row.machine for row in made} - {cpu_model()}):
        raise DataError(
            f"{place.path}: has runs made on {others[0]}, and this is {cpu_model()}: go on there, "
            "or take another --folder"
        )
    jobs = tasks.jobs(size.repeats)
    if retry_failed:
        place.forget_failures(jobs)
    place.clean()
    execute_all(place, jobs, size.time_limit, launchers.find(None), WARM_UP)
    rows = gather(points, tasks, place, size.repeats)
    run = {row.paper_row for row in rows if row.status == "complete"}
    return rows, {row: why.status for row, why in tasks.absent.items() if row not in run}


def _report(plan: Plan, folder: Path, rows: list[Row], legend: bar_charts.Legend) -> int:
    """Write the study file, draw, print; return the exit code."""
    size = plan.size
    bad = [row for row in rows if row.status != "complete" and row.paper_row not in legend.absent]
    study = StudyFile("paper", "sweep", size.repeats, WARM_UP, size.time_limit)
    write(folder / "study.h5", study, rows, len(rows))
    absent = _absent_text(rows, legend)
    if not any(row.status == "complete" for row in rows):
        seen = failures(bad).splitlines() or absent.splitlines()
        raise DataError(f"{folder}: no run ended well: {seen[0]}")
    results = Results(rows, size.batches)
    caption = (
        f"{cpu_model()}, {plan.cores} cores, {datetime.now(UTC):%Y-%m-%d}; "
        f"{Path(plan.dataset).name}, float32; {size.repeats} run(s) of "
        f"{size.epochs - WARM_UP} epochs, medians"
    )
    drawn = bar_charts.draw(results, legend, folder / "figures", caption)
    if size.axes:
        drawn += axes.draw(results, legend, folder / "figures", caption)
    claims = claims_text(judge(results, legend.cores))
    if any(row.scaled for row in rows):
        claims = f"times marked {SCALED} above count for the claims, too\n{claims}"
    if size.repeats < FEWEST:
        claims = f"a trial: {size.repeats} run a point says little of its spread\n{claims}"
    head = f"{caption}; {results.rows} training rows an epoch"
    texts = (head, _times_table(results, legend), claims, absent, failures(bad))
    report = "\n\n".join(text for text in texts if text) + "\n"
    write_atomically(folder / "report.txt", report.encode())
    files = [folder / "study.h5", folder / "report.txt", *drawn]
    say(report + "\n" + "\n".join(map(str, files)))
    return 1 if bad else 0


def _times_table(results: Results, legend: bar_charts.Legend) -> str:
    """Return the time per epoch of every row, network and batch size."""
    head = ("time per epoch", "network", *(f"batch {batch}" for batch in results.batches))
    lines, points = [], []
    for network in NETWORKS:
        for row in legend.rows:
            measured = results.over_batches(row.name, network)
            points += list(measured.values())
            missing = legend.absent.get(row.name, "-")
            cells = [_cell(measured[b]) if b in measured else missing for b in results.batches]
            lines.append((row.name, network, *cells))
    note = scaled_note(points)
    return aligned(head, lines) + (f"\n{note}" if note else "")


def _cell(point: Summary) -> str:
    return time(point.median) + (SCALED if point.scaled else "")


def _absent_text(rows: list[Row], legend: bar_charts.Legend) -> str:
    """Return a line for each row that cannot run here: why, and what to do."""
    absent = {row.paper_row: row for row in rows if row.paper_row in legend.absent}
    lines = [f"{row.status}: {name}: {row.error}" for name, row in absent.items()]
    if any(row.status == NOT_INSTALLED for row in absent.values()):
        lines.append(
            f"to install them: python3 -m venv libraries; libraries/bin/pip install -r "
            f"{programs() / 'requirements.txt'}; then --library-python libraries/bin/python"
        )
    return "\n".join(lines)
