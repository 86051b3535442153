"""The commands ``hpcpgd study submit`` and ``status``."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.cli.launcher import say
from hpcpgd.errors import ConfigError, UnavailableError
from hpcpgd.results.atomic import make_folder, write_atomically
from hpcpgd.study.foreground import ended_by_signal
from hpcpgd.study.grid import points
from hpcpgd.study.runner import order
from hpcpgd.study.slurm import submitted
from hpcpgd.study.slurm.queue import Queue
from hpcpgd.study.slurm.script import array_script, arrays, report_script
from hpcpgd.study.slurm.site import Site
from hpcpgd.study.slurm.site import read as read_site
from hpcpgd.study.slurm.submitted import REPORT, RunState, SlurmFiles, files_of, run_states
from hpcpgd.study.study_folder import StudyFolder
from hpcpgd.study.studyfile import StudyFile
from hpcpgd.study.subcommands import open_study

POLL_SECONDS = 2.0
UNANSWERED_POLLS = 30  # in a row: then --wait gives up


@dataclass(frozen=True)
class Script:
    """A script, where it belongs, the runs of its array's tasks, and their study file."""

    path: Path
    text: str
    names: tuple[str, ...]
    study: Path


def submit(
    path: Path,
    folder: Path | None,
    site_file: Path,
    *,
    dry_run: bool,
    wait: bool,
    retry_failed: bool,
) -> int:
    """Submit the runs that are neither done nor queued, and a report at the end.

    ``dry_run`` prints the scripts of all runs that are not done, without a command of SLURM.
    ``wait`` returns when all jobs of the study have ended.
    """
    study, place = open_study(path, folder)
    for file in (path, site_file):
        if not file.is_file():
            raise ConfigError(f"{file}: expected a file, which is kept with the study")
    site, own = read_site(site_file), files_of(place, study)
    queue = Queue(site)
    if "\\" in str(place.path):
        raise ConfigError(f"--folder {place.path}: SLURM's log names take no backslash")
    if dry_run:
        states = run_states(study, place, own, None)
        scripts = _scripts(study, site, own, place, _missing(states))
        say("\n".join(f"# {script.path}\n{script.text}" for script in scripts))
        return 0
    place.make()
    with place.locked(), ended_by_signal():
        if retry_failed:
            place.forget_failures(order(points(study), study.repeats))
        states = run_states(study, place, own, queue)
        wanted = _missing(states)
        if wanted or _lacks_report(place, own, queue):
            scripts = _scripts(study, site, own, place, wanted)
            record = own.read()
            queued = (job.split("_")[0] for job in queue.states() if job in record)
            before = list(dict.fromkeys(queued))  # each array once
            _send(scripts, own, queue, (path, site_file), before, site.at_once == 1)
    say(f"{len(wanted)} of {len(states)} runs submitted; in {place.path}")
    return _wait(study, place, own, queue) if wait else 0


def _lacks_report(place: StudyFolder, own: SlurmFiles, queue: Queue) -> bool:
    """Return whether runs were submitted and no queued job will make their study file."""
    record, result = own.read(), place.path / "study.h5"
    if not record or REPORT in {record[job] for job in queue.states() if job in record}:
        return False
    ended = (path.stat().st_mtime for path in (place.path / "runs").glob("[!.]*"))
    return not result.exists() or result.stat().st_mtime < max(ended, default=0.0)


def _missing(states: list[RunState]) -> set[str]:
    return {s.name for s in states if s.state == submitted.MISSING}


def _scripts(
    study: StudyFile, site: Site, own: SlurmFiles, place: StudyFolder, wanted: set[str]
) -> list[Script]:
    number = own.submissions()
    file = own.study(number)
    scripts = []
    for array in arrays(points(study), study.repeats, wanted):
        text = array_script(study.name, array, study.time_limit, site, file, place.path)
        number += 1
        scripts.append(Script(own.script(array.label, number), text, array.names, file))
    report = report_script(study.name, site, file, place.path)
    return [*scripts, Script(own.script(REPORT, number + 1), report, (), file)]


def _send(
    scripts: list[Script],
    own: SlurmFiles,
    queue: Queue,
    files: tuple[Path, Path],
    before: list[str],
    in_turn: bool,
) -> None:
    """Write the scripts and submit all of them or none.

    The report runs after all jobs ``before``, since it has the newest study file.
    """
    make_folder(own.logs, own.path)
    target = scripts[0].study
    target.parent.mkdir(parents=True, exist_ok=True)
    for source, kept in zip(files, (target, own.site), strict=True):
        write_atomically(kept, source.read_bytes())
    for script in scripts:
        write_atomically(script.path, script.text.encode())
    numbers: list[str] = []
    try:
        for script in scripts:
            queue.check(script.path)
        for script in scripts:
            earlier = [*before, *numbers]
            after = earlier if not script.names else (numbers[-1:] or before) if in_turn else []
            log = own.logs / script.path.stem
            number = queue.submit(script.path, log, after, bool(script.names))
            numbers.append(number)
            runs = {f"{number}_{i}": name for i, name in enumerate(script.names)}
            own.add(runs or {number: REPORT})
    except BaseException:  # signals too: no job may remain that is not in the record
        with suppress(UnavailableError):
            queue.cancel([script.path for script in scripts])
        for script in scripts:
            script.path.unlink(missing_ok=True)
        raise


def status(path: Path, folder: Path | None) -> int:
    """Print which runs are done, running, pending, failed or missing; exit 1 if one failed."""
    study, place = open_study(path, folder)
    own = files_of(place, study)
    queue = Queue(read_site(own.site)) if own.site.exists() else None
    try:
        states = run_states(study, place, own, queue)
    except UnavailableError as error:
        say(f"from the files alone, as SLURM does not answer: {error}")
        states = run_states(study, place, own, None)
    return _print_states(states, study, place)


def _print_states(states: list[RunState], study: StudyFile, place: StudyFolder) -> int:
    counts = Counter(s.state for s in states)
    good = [submitted.DONE, submitted.RUNNING, submitted.PENDING]
    known = [*good, submitted.MISSING]
    order_of = [*known, *sorted(set(counts) - set(known))]
    text = ", ".join(f"{counts[state]} {state}" for state in order_of if counts[state])
    lines = [f"{s.state}: {s.name}: {s.detail}" for s in states if s.state != submitted.DONE]
    say("\n".join([f"study {study.name}, {len(states)} runs: {text}; in {place.path}", *lines]))
    return 1 if set(counts) - set(good) else 0


def _wait(study: StudyFile, place: StudyFolder, own: SlurmFiles, queue: Queue) -> int:
    """Wait until no job of the study is queued, then print the states of its runs."""
    record, silent = own.read(), 0
    while True:
        try:
            left = set(record) & set(queue.states())
            silent = 0
        except UnavailableError:
            silent += 1
            if silent > UNANSWERED_POLLS:
                raise
            left = set(record)
        if not left:
            break
        time.sleep(POLL_SECONDS)
    code = _print_states(run_states(study, place, own, queue), study, place)
    result = place.path / "study.h5"
    if not result.exists():
        say(f"no {result}: see the last log in {shlex.quote(str(own.logs))}")
        return 1
    say(f"{result}\n{place.path / 'figures'}")
    return code
