"""The command ``hpcpgd study plan``: points, their cost, and what is compared with what."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from hpcpgd.cli.launcher import say
from hpcpgd.environment.memory_limits import physical_memory
from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.backends.registry import TILE_PARTS
from hpcpgd.kernels.tiles.amx import refusal
from hpcpgd.machine.cores import usable_cores
from hpcpgd.machine.resources import Resources
from hpcpgd.study.cost import Costs
from hpcpgd.study.figure_words import counted
from hpcpgd.study.grid import NAMED, Point, network_name, plain, points
from hpcpgd.study.rows import failed_row
from hpcpgd.study.runner import order
from hpcpgd.study.study_folder import Failure
from hpcpgd.study.studyfile import PER_RANK, StudyFile
from hpcpgd.study.subcommands import open_study
from hpcpgd.study.summary import RESOURCES, base_of
from hpcpgd.study.tables import about, aligned, figure
from hpcpgd.train.recording import cautions

SHOWN = {*NAMED, *PER_RANK, "threads", "train_rows"}  # keys of a grid that all plans show


def plan(path: Path, folder: Path | None) -> int:
    """Print each point with its cost and the runs that are done, and the base of each series."""
    study, place = open_study(path, folder)
    planned = points(study)
    cores = usable_cores()
    costs = Costs(cores)
    more = [key for key in study.grid if key not in SHOWN]
    head = ("backend", "reduction", "network", "rows", "batch", "ranks", "threads", *more, "GFLOP",
            "expected", "memory", "done", "failed")  # fmt: skip
    lines, left, small, unknown = [], 0.0, [""], 0
    for point in planned:
        cost, c = costs.of(point), point.config
        jobs = order([point], study.repeats)
        done = sum(place.is_done(job) for job in jobs)
        failed = sum(place.failure_file(job).exists() for job in jobs)
        if math.isnan(cost.seconds):
            unknown += study.repeats - done
        else:
            left += cost.seconds * (study.repeats - done)
        resources = Resources(point.threads, False, None)
        small += cautions(c.backend, point.ranks, resources, cost.slice_flops)
        lines.append((
            c.backend, c.reduction, network_name(c.hidden), str(cost.rows), str(c.batch_size),
            str(point.ranks), str(c.threads), *(plain(dict(point.given)[key]) for key in more),
            figure(cost.gflop), "-" if math.isnan(cost.seconds) else about(cost.seconds),
            f"{cost.nbytes / 2**20:.0f} MiB", f"{done - failed}/{study.repeats}",
            str(failed or ""),
        ))  # fmt: skip
    memory = physical_memory() / 2**20
    say(aligned(head, lines))
    least = f"warning: {small[-1]}\n" * bool(small[-1])
    say("\n".join(["", *comparisons(study, planned), *warnings(study, planned, cores), least]))
    runs = f"{counted(len(planned), 'point')} x {counted(study.repeats, 'repeat')}"
    say(
        f"{runs}; {_time_left(left, unknown)}; {counted(cores, 'core')}, "
        f"{memory:.0f} MiB here; runs in {place.path}"
    )
    return 0


def _time_left(seconds: float, unknown: int) -> str:
    """Return the time of the runs that are left; of ``unknown`` more no time can be told."""
    if unknown and not seconds:
        return "time unknown: no rate is assumed for products on AMX"
    more = ", without the points on AMX, for which none is assumed" * bool(unknown)
    return f"{about(seconds)} left, from assumed rates{more}"


def comparisons(study: StudyFile, planned: list[Point]) -> Iterator[str]:
    """Yield a line for each series of points: the base of its speedups and efficiencies."""
    by_key = {point.key: point for point in planned}
    rows = {key: failed_row(p, 0, Failure("planned", 0, ""), "") for key, p in by_key.items()}
    series: dict[str, list[Point]] = defaultdict(list)
    for point in planned:
        series[_series(point)].append(point)
    for number, (name, members) in enumerate(series.items()):
        base = base_of(rows[members[0].key], rows.values(), study.kind, study.base)
        if base is None:
            yield "no speedups: kind sweep without [base]"
            return
        if number == 0:
            yield "speedup and efficiency (ranks x threads):"
        origin = by_key[base.key]
        other = f" of {_series(origin)}" if _series(origin) != name else ""
        text = ", ".join(map(_workers, members))
        yield f"  {name or 'all points'}: {text} against {_workers(origin)}{other}"


def _series(point: Point) -> str:
    """Return the options that distinguish the point's series, without ranks and threads."""
    values = dict((*point.given, *point.per_rank))
    return ", ".join(f"{k} {values[k]}" for k in point.varied if k not in RESOURCES)


def _workers(point: Point) -> str:
    return f"{point.ranks}x{point.config.threads}"


def warnings(study: StudyFile, planned: list[Point], cores: int) -> Iterator[str]:
    """Yield a warning for each reason why the figures will not show scaling."""
    scaling = study.kind != "sweep"
    if scaling and any(point.config.threads == "auto" for point in planned):
        yield "warning: threads auto gives 1 rank more threads than 2: set threads = 1"
    if scaling and len({(point.ranks, point.config.threads) for point in planned}) == 1:
        yield "warning: one number of ranks and threads shows no scaling: give several in [grid]"
    if not scaling and not study.base and RESOURCES & set(study.grid):
        yield "warning: kind sweep shows no scaling: take kind strong or weak, or give a [base]"
    tiled = [p.config.matmul_precision for p in planned if p.config.matmul_precision in TILE_PARTS]
    if tiled and refusal():
        names = " and ".join(sorted(set(tiled)))
        yield (
            f"warning: matmul_precision {names}: {refusal()}: {counted(len(tiled), 'point')} of "
            f"{len(planned)} would end with exit code {UnavailableError.exit_code} here"
        )
    most = max(point.ranks * point.threads for point in planned)
    if most > cores:
        yield (
            f"warning: up to {most} ranks x threads on the {cores} cores here: such points "
            "share cores and show no scaling"
        )
