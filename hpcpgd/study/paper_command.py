"""What ``hpcpgd study paper`` does: run, collect, draw, judge."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hpcpgd.config import NETWORKS
from hpcpgd.cores import affinity, quota
from hpcpgd.data import check_name
from hpcpgd.errors import DataError
from hpcpgd.launch import say
from hpcpgd.provenance import cpu_model
from hpcpgd.study import paper as plan
from hpcpgd.study.claims import Verdict, judge
from hpcpgd.study.collect import write
from hpcpgd.study.commands import execute_all
from hpcpgd.study.folder import StudyFolder
from hpcpgd.study.paper_figures import draw
from hpcpgd.study.studyfile import StudyFile
from hpcpgd.study.tables import aligned, failures, time


def paper(quick: bool, dataset: str | None, folder: Path | None) -> int:
    """Run what is not done; exit 1 if a run did not end well, devices that lack apart."""
    size = plan.QUICK if quick else plan.FULL
    if dataset is not None:
        check_name(dataset)
    name = dataset or plan.find_dataset()
    cores = int(min(len(affinity()), quota()))
    devices, place = plan.has_device(), StudyFolder(folder or plan.default_folder(quick))
    points = plan.paper_points(name, size, cores)
    jobs = plan.jobs(points, size, devices)
    place.make()
    with place.locked():
        execute_all(place, jobs, size.time_limit)
    rows = plan.gather(points, place, size, devices, cpu_model())
    if not any(row.status == "complete" for row in rows):
        raise DataError(f"{place.path}: no run ended well: {failures(rows).splitlines()[0]}")
    study = StudyFile("paper", "sweep", size.repeats, plan.WARM_UP, size.time_limit)
    write(place.path / "study.h5", study, rows)
    results = plan.Results(rows)
    counted = next(row.rows for row in rows if row.status == "complete")
    caption = (
        f"{cpu_model()}, {cores} cores, {datetime.now(UTC):%Y-%m-%d}; {Path(name).name}, "
        f"{counted} training rows an epoch, float32; medians of {size.repeats} runs"
    )
    drawn = draw(results, devices, place.path / "figures", caption)
    say(f"{caption}\n\n{_times(results, devices)}\n\n{_verdicts(judge(results, cores))}\n")
    bad = [row for row in rows if row.status not in ("complete", plan.NO_DEVICE)]
    if bad:
        say(failures(bad) + "\n")
    say(f"study file  {place.path / 'study.h5'}\n" + "\n".join(f"figure  {p}" for p in drawn))
    return 1 if bad else 0


def _times(results: plan.Results, devices: bool) -> str:
    """Return the time per epoch of every row, network and batch size."""
    head = ("time per epoch", "network", *(f"batch {batch}" for batch in plan.BATCHES))
    lines = []
    for network in NETWORKS:
        for row in plan.ROWS:
            found = results.seconds(row.name, network)
            missing = plan.NO_DEVICE if row.on_gpu and not devices else "-"
            cells = [time(found[b]) if b in found else missing for b in plan.BATCHES]
            lines.append((row.name, network, *cells))
    return aligned(head, lines)


def _verdicts(verdicts: list[Verdict]) -> str:
    return "\n".join(
        f"({v.letter}) {v.verdict}: {v.claim}" + (f": {v.numbers}" if v.numbers else "")
        for v in verdicts
    )
