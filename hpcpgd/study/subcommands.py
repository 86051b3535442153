"""What the commands of ``hpcpgd study`` do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcpgd.checkpoint.run_files import companion
from hpcpgd.cli.launcher import say, several_ranks
from hpcpgd.environment.memory_limits import physical_memory
from hpcpgd.errors import DataError, OutputError, UsageError, nearest
from hpcpgd.machine.cores import usable_cores
from hpcpgd.study import launchers
from hpcpgd.study.collect import gather, read, write
from hpcpgd.study.cost import Costs
from hpcpgd.study.foreground import execute_all
from hpcpgd.study.grid import network_name, points
from hpcpgd.study.runner import order
from hpcpgd.study.study_folder import Job, StudyFolder
from hpcpgd.study.studyfile import StudyFile
from hpcpgd.study.studyfile import read as read_study
from hpcpgd.study.tables import aligned, factors_table, failures, figure, summary_table, time


def open_study(path: Path, folder: Path | None) -> tuple[StudyFile, StudyFolder]:
    """Read a study file and name its folder."""
    study = read_study(path)
    return study, StudyFolder(folder or Path(f"hpcpgd-study-{study.name}"))


def plan(path: Path, folder: Path | None) -> int:
    """Print every point with its cost, and what is done."""
    study, place = open_study(path, folder)
    found = points(study)
    cores = usable_cores()
    costs = Costs(cores)
    head = ("backend", "reduction", "network", "rows", "batch", "ranks", "threads", "GFLOP",
            "expected", "memory", "done", "failed")  # fmt: skip
    lines, left = [], 0.0
    for point in found:
        cost, c = costs.of(point), point.config
        jobs = order([point], study.repeats)
        done = sum(place.is_done(job) for job in jobs)
        failed = sum(place.failure_file(job).exists() for job in jobs)
        left += cost.seconds * (study.repeats - done)
        lines.append((
            c.backend, c.reduction, network_name(c.hidden), str(cost.rows), str(c.batch_size),
            str(point.ranks), str(c.threads), figure(cost.gflop), time(cost.seconds),
            f"{cost.nbytes / 2**20:.0f} MiB", f"{done - failed}/{study.repeats}",
            str(failed or ""),
        ))  # fmt: skip
    memory = physical_memory() / 2**20
    say(aligned(head, lines))
    say(
        f"{len(found)} points x {study.repeats} repeats; about {time(left)} left, from assumed "
        f"rates; {cores} cores, {memory:.0f} MiB here; runs in {place.path}"
    )
    return 0


def run(
    path: Path, folder: Path | None, *, launcher: str | None, task: str | None, retry_failed: bool
) -> int:
    """Run what is not done; exit 1 if a run did not end well.

    ``launcher`` starts the ranks, in place of this machine's ``mpiexec``.  ``task`` names the
    only run to make, beside others that other processes make.
    """
    if several_ranks():
        raise UsageError("start it without mpiexec or srun: it starts the ranks of each run itself")
    study, place = open_study(path, folder)
    starter = launchers.find(launcher)
    jobs = order(points(study), study.repeats)
    place.make()
    if task is not None:
        jobs = [_named(jobs, task, path)]
        execute_all(place, jobs, study.time_limit, starter)
    else:
        with place.locked():
            place.clean()
            if retry_failed:
                place.forget_failures(jobs)
            execute_all(place, jobs, study.time_limit, starter)
    bad = [f for job in jobs if (f := place.read_failure(job))]
    left = sum(not place.is_done(job) for job in jobs)
    stopped = f", {left} not made" if left else ""
    say(f"{len(jobs) - len(bad) - left} of {len(jobs)} runs ended well{stopped}; in {place.path}")
    return 1 if bad or left else 0


def _named(jobs: list[Job], name: str, path: Path) -> Job:
    found = {job.name: job for job in jobs}
    if name not in found:
        raise UsageError(f"--task {name}: no run of {path} has this name{nearest(name, found)}")
    return found[name]


def collect(
    path: Path,
    folder: Path | None,
    output: Path | None,
    label: str | None,
    also: list[tuple[str, Path]],
) -> int:
    """Make the study file from the runs of one or several machines."""
    study, place = open_study(path, folder)
    target = output or place.path / "study.h5"
    if target.exists() and target.samefile(path):
        raise OutputError(f"--output {target}: is the study file itself")
    rows = gather(study, place, label)
    folders, labels = [place.path.resolve()], {row.machine for row in rows}
    for name, other in also:
        _check_also(name, other, folders, labels)
        rows += gather(study, StudyFolder(other), name)
    if not rows:
        raise DataError(f"{place.path}: no run of study {study.name} has ended: run it first")
    wanted = len(points(study)) * study.repeats * (1 + len(also))
    write(target, study, rows, wanted)
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
