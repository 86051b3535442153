"""The command ``hpcpgd study run``: run, collect, report."""

from __future__ import annotations

import sys
from pathlib import Path

from hpcpgd.cli.launcher import say, several_ranks
from hpcpgd.errors import UnavailableError, UsageError, nearest
from hpcpgd.machine.cores import usable_cores
from hpcpgd.study import launchers
from hpcpgd.study.foreground import execute_all
from hpcpgd.study.grid import points
from hpcpgd.study.plan_command import warnings
from hpcpgd.study.read_run import was_disturbed
from hpcpgd.study.report_command import report
from hpcpgd.study.runner import order
from hpcpgd.study.study_folder import Job, StudyFolder
from hpcpgd.study.subcommands import collect_again, open_study


def run(
    path: Path,
    folder: Path | None,
    *,
    launcher: str | None,
    task: str | None,
    retry_failed: bool,
    retry_disturbed: bool,
    with_report: bool,
) -> int:
    """Make the runs that are not done, collect and report; exit 1 if a run did not end well.

    ``launcher`` starts the ranks, in place of this machine's ``mpiexec``.  ``task`` names the
    only run to make, while other processes make others; there is no report then.
    """
    if several_ranks():
        raise UsageError("start it without mpiexec or srun: it starts the ranks of each run itself")
    study, place = open_study(path, folder)
    starter = launchers.find(launcher)
    planned = points(study)
    jobs = order(planned, study.repeats)
    place.make()
    place.keep(path, study.name)
    if launcher is None:  # a launcher may start ranks on other cores
        for line in warnings(study, planned, usable_cores()):
            print(line, file=sys.stderr)
    if task is not None:
        jobs = [_named(jobs, task, path)]
        execute_all(place, jobs, study.time_limit, starter, study.warmup_epochs)
    else:
        with place.locked():
            place.clean()
            if retry_failed:
                place.forget_failures(jobs)
            if retry_disturbed:
                for file in map(place.run_file, jobs):
                    if file.exists() and was_disturbed(file):
                        file.unlink()
            execute_all(place, jobs, study.time_limit, starter, study.warmup_epochs)
    bad = [f for job in jobs if (f := place.read_failure(job))]
    left = sum(not place.is_done(job) for job in jobs)
    stopped = f", {left} not made" if left else ""
    say(f"{len(jobs) - len(bad) - left} of {len(jobs)} runs ended well{stopped}; in {place.path}")
    if with_report and task is None and left < len(jobs):
        _report(path, place)
    return 1 if bad or left else 0


def _named(jobs: list[Job], name: str, path: Path) -> Job:
    by_name = {job.name: job for job in jobs}
    if name not in by_name:
        raise UsageError(f"--task {name}: no run of {path} has this name{nearest(name, by_name)}")
    return by_name[name]


def _report(path: Path, place: StudyFolder) -> None:
    """Make the study file, print its tables, draw its figures where matplotlib is installed."""
    target = collect_again(path, place.path)
    try:
        report(target)
    except UnavailableError as error:  # the study file is made and the tables are printed
        print(f"no figures: {error}", file=sys.stderr)
