"""How the doctor judges a node: from rates that are written here by hand, and once for real."""

from __future__ import annotations

import json
import math
import os
import re
import time
from functools import partial
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from hpcpgd.doctor import kept_rates, node_probe, node_rates, numa, other_work, probe
from hpcpgd.doctor.finding import OK, WARNING, Place, merged
from hpcpgd.doctor.kept_rates import NAMES
from hpcpgd.doctor.node_rates import Rates
from hpcpgd.errors import ConfigError, DataError, OutputError
from hpcpgd.parallel import mpi
from hpcpgd.version import __version__
from tests.helpers.support import python

DOCTOR = ("-m", "hpcpgd.doctor")
FAST: dict[str, Any] = {
    "fma_all": 200.0, "gemm_all": 170.0, "triad_all": 20.0,
    "array_bytes": 64 * 2**20, "cache_bytes": 32 * 2**20,
}  # fmt: skip
TRIAD = "40 GB/s in STREAM's triad, 4 threads, arrays of 128 MiB, 4.0 times the caches"
KEPT = kept_rates.Kept(
    "processor: Xeon, ranks a node: 2, threads a rank: 2",
    dict(zip(NAMES, (110.0, 100.0, 400.0, 340.0, 20.0), strict=True)),
)
PLACES = [Place("n1", 0), Place("n1", 1), Place("n2", 0), Place("n2", 1)]


def ranks(*changes: dict[str, Any]) -> list[Rates]:
    """Return what two ranks on each of two nodes measured, 2 threads each, with changes."""
    rows = []
    for place, change in zip(PLACES, [*changes, {}, {}, {}, {}][:4], strict=True):
        one = {"fma_one": 110.0, "gemm_one": 95.0} if place.index == 0 else {}
        rows.append(Rates(2, **(FAST | one | change)))
    return rows


def said(*changes: dict[str, Any], note: str = "") -> dict[str, str]:
    """Return the level and text of each subject."""
    found = node_rates.judge(ranks(*changes), PLACES, note)
    return {f"{one.level} {one.subject}": one.seen for one in found}


def test_a_node_is_compared_with_its_peak() -> None:
    lines = said()
    assert lines["ok speed"].split("; ") == [
        "one core 95 GFLOP/s in products, 0.86 of its peak of 110",
        "4 threads 340 GFLOP/s, 0.85 of their peak of 400",
    ]
    assert lines["ok bandwidth"] == TRIAD
    assert "warning speed" in said({"gemm_one": 40.0}, {}, {"gemm_one": 40.0})
    slow = [{"gemm_all": 90.0}] * 4
    shared = node_rates.judge(ranks(*slow), PLACES)[0]
    assert shared.seen.endswith(
        "0.45 of their peak of 400; on all cores the products are slow, and their peak is not"
    )
    assert shared.cure.startswith("see the lines bandwidth and NUMA")
    hot = [{"fma_all": 90.0, "gemm_all": 80.0}] * 4
    assert "each of all cores reaches 0.41 of the peak" in said(*hot)["warning speed"]


def test_rates_on_cores_that_others_use_are_not_judged() -> None:
    """Neither products below the peak nor a slow rank: the line of the load has the cure."""
    slow = [{"gemm_one": 9.0, "gemm_all": 90.0}, {}, {"gemm_one": 9.0, "gemm_all": 40.0}]
    assert other_work.unjudged(False) == ""
    for busy, who in ((True, "others use the cores"), (False, "ranks share cores")):
        lines = said(*slow, note=other_work.unjudged(busy, crowded=True))
        assert [*lines] == ["ok speed", "ok bandwidth"]
        assert lines["ok speed"].startswith("one core 9 GFLOP/s in products; ")  # no share
        assert all(line.endswith(f", not judged while {who}") for line in lines.values())


def test_slow_ranks_and_nodes_are_named() -> None:
    assert said({}, {}, {}, {"gemm_all": 100.0}) | {"ok speed": ""} == {
        "ok speed": "", "ok bandwidth": TRIAD,
        "warning speed": "products of rank 3 on n2: down to 0.59 of the median",
    }  # fmt: skip
    three = [*ranks(), *(Rates(2, fma_one=110, gemm_one=95, **FAST | {"triad_all": 10}),) * 2]
    places = [*PLACES, Place("n3", 0), Place("n3", 1)]
    last = node_rates.judge(three, places)[-1]
    assert last.seen == "memory on n3: down to 0.50 of the median"
    failed = node_rates.judge([Rates(1, trouble="no answer")], PLACES[:1])
    assert (failed[0].level, failed[0].seen) == (WARNING, "rank 0 on n1: no answer")


def test_the_triad_s_arrays_do_not_fit_the_caches() -> None:
    mib = 2**20
    assert node_rates.array_bytes(768 * mib, 512 * 2**30, 64) == 4 * 768 // 64 * mib
    assert node_rates.array_bytes(105 * mib, 512 * 2**30, 8) == 54 * mib  # never below 52.5
    assert node_rates.array_bytes(8 * mib, 512 * 2**30, 4) == 32 * mib
    short = node_rates.array_bytes(300 * mib, 24 * 2**30, 2)
    assert 3 * 2 * short == pytest.approx(2.4 * 2**30, rel=0.01)  # a tenth of the memory
    change = {"cache_bytes": 100 * mib}
    assert said(*[change] * 4)["ok bandwidth"].endswith(
        "arrays of 128 MiB, 1.3 times the caches, limited to a tenth of the free memory"
    )
    assert said(*[{"cache_bytes": 0}] * 4)["ok bandwidth"].endswith("caches of unknown size")


def test_a_rate_is_the_best_of_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the node's windows: this rank alone was fastest in the first, both in the second."""
    both = np.full((3, 5), [[7.0 + 1.0], [4.0 + 6.0], [3.0 + 2.0]])
    monkeypatch.setattr(mpi, "allreduce_sum", lambda _, rates: np.copyto(rates, both))
    own, ranks = np.full((3, 5), [[7.0], [4.0], [3.0]]), cast(mpi.Ranks, SimpleNamespace(node=None))
    best = node_rates._best_of(ranks, own)
    assert best == {**dict.fromkeys(NAMES, 4.0), "spread": dict.fromkeys(NAMES, 0.5)}


def test_the_rate_of_a_window_counts_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three fast repetitions and a pause, in turns: their median would say 10 a second."""
    now = 5.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", sleep)
    pauses = cycle([0.1, 0.1, 0.1, 0.7])
    done = node_probe.work_within(lambda: sleep(next(pauses)), 1.0, 7.0, 9.35)
    assert done == pytest.approx(4 + 4 + 3 + 0.05 / 0.7)


LATE = """
import json, time
from hpcpgd.doctor import node_rates
from hpcpgd.parallel import mpi

ranks, ready, begins = mpi.join(mpi.initialise()), [], []

class Late:
    trouble = ""

    def __init__(self, *words, seconds): pass
    def __enter__(self): return self
    def __exit__(self, *error): pass

    def ask(self, line=""):
        if line[:1].isdigit():
            begins.append(float(line))
            return "1.0"
        time.sleep(0.3 * ranks.rank)  # rank 1 compiles, or fills its arrays
        ready.append(time.monotonic())
        return "ready"

node_rates.Probe = Late
node_rates.observe(ranks, 1)
rows = mpi.allgather_texts(ranks.comm, json.dumps([ready[-3:], begins[-3:]]))
if ranks.rank == 0:
    print(json.dumps([json.loads(row) for row in rows]))
mpi.leave(ranks)
mpi.finish()
"""


def test_no_rank_measures_before_all_are_ready(tmp_path: Path) -> None:
    done = python("-c", LATE, ranks=2, cwd=tmp_path).good()
    (first, begins), (second, same) = json.loads(done.out)
    assert begins == same
    assert len(begins) == 3
    for ready, begin in zip([*zip(first, second, strict=True)], begins, strict=True):
        assert begin > max(ready)


def test_a_probe_that_ends_or_hangs_says_why() -> None:
    sleeps = ("timeit", "import time; time.sleep(60)")
    for words, seconds, says in (
        (("hpcpgd.missing",), 30, "it ended with 1: "),
        (sleeps, 1, "no answer within 1 s"),
    ):
        with probe.Probe(*words, seconds=seconds) as asked:
            assert (asked.ask(), asked.ask()) == ("", "")
        assert asked.trouble.startswith(says)


def test_work_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process uses the second hardware thread of core 1, of four cores."""
    clock, busy = iter([10.0, 10.5]), iter([3.0, 3.5])
    monkeypatch.setattr(time, "monotonic", clock.__next__)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(
        other_work, "hardware_threads", lambda cores: [*cores, *(4 + core for core in cores)]
    )
    monkeypatch.setattr(other_work, "busy_seconds", lambda cpus: next(busy) * (5 in cpus))
    seen = other_work.observe([0, 1, 2, 3])
    [finding] = other_work.judge(seen)
    assert (finding.level, other_work.is_busy(seen)) == (WARNING, True)
    assert finding.seen == "others use 1.0 of 4 cores: the rates below are too low"
    one_of_many = other_work.OtherWork(1.0, 32)
    assert other_work.judge(one_of_many)[0].level == WARNING
    for used in (0.3, math.nan):
        quiet = other_work.OtherWork(used, 4)
        assert (other_work.judge(quiet)[0].level, other_work.is_busy(quiet)) == (OK, False)


IN_DOMAINS = """
import sys
from functools import partial
from pathlib import Path
from hpcpgd.doctor import examine, node_rates, numa, other_work
from hpcpgd.machine.other_load import OtherLoad
from hpcpgd.doctor.report import Report
from hpcpgd.parallel import mpi

ranks = mpi.join(mpi.initialise())
numa.observe = partial(numa.observe, folder=Path(sys.argv[1]))
examine.affinity = lambda: [[0, 1, 2], [3, 4]][ranks.rank]
node_rates.observe = lambda *_: [node_rates.Rates(2, trouble="left out")] * 2
other_work.busy_seconds = lambda cores, seen=iter([0.0, 9.0]): next(seen)
asked = examine.Asked(Path(), Path("x"))
examination = examine._Examination(ranks, Report(speaks=ranks.rank == 0), asked)
examination.threads = 2
examination.read_reference()
examination.compare_job()
OtherLoad.measure = lambda self: (1.5, "others used 1.5 of 5 cores")
examination.of_the_rates()
examination.report.say(f"rates{examination.note}")
examination.of_the_job(alone=False)
examine.products.observe = lambda: examine.products.Products("blas")
examination.of_the_nodes()
mpi.leave(ranks)
mpi.finish()
"""


def test_ranks_that_are_bound_to_a_domain_each(domains: Path, tmp_path: Path) -> None:
    """Together they span two domains; a node is busy while its sums are timed."""
    done = python("-c", IN_DOMAINS, str(domains), ranks=2, cwd=tmp_path).good()
    lines = {line[9:].split(":")[0]: line for line in done.out.splitlines()}
    assert lines["NUMA"] == "ok       NUMA: 2 domains, 5 + 4 logical processors"
    assert lines["reference"].startswith("warning  reference: nothing to")
    assert "\nwarning  load: others used 1.5 of 5 cores while the rates were measured: " in done.out
    assert "\nrates, not judged while others use the cores\n" in done.out
    assert lines["load"].startswith("warning ")
    for subject in ("Allreduce", "BLAS"):
        assert lines[subject].startswith("ok ")
        assert lines[subject].endswith(", not judged while others use the cores")


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    for number, spans in enumerate(("0-2,8,9", "3-6", "")):
        (tmp_path / f"node{number}").mkdir()
        (tmp_path / f"node{number}" / "cpulist").write_text(f"{spans}\n")
    return tmp_path


def test_numa_domains(domains: Path) -> None:
    seen = numa.observe([2, 3], domains)
    assert (seen.sizes, seen.spanned) == ((5, 4), 2)
    assert numa.judge(seen, 1)[0].seen == "2 domains, 5 + 4 logical processors"
    [finding] = numa.judge(seen, 2)
    assert (finding.level, "2 threads may run in 2 domains" in finding.seen) == (WARNING, True)
    assert numa.judge(numa.observe([0], domains / "none"), 2) == []


def test_a_reference_is_kept_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    assert kept_rates.read(path) is None
    spread = dict.fromkeys(NAMES, 0.04) | {"gemm_all": 0.28}
    keep = partial(kept_rates.keep, path, KEPT, spread)
    busy = keep(0.3, busy=True)
    assert (busy.level, busy.code, path.exists()) == (WARNING, 1, False)
    unsteady = keep(0.1, busy=False)
    assert (unsteady.level, unsteady.code, path.exists()) == (WARNING, 1, False)
    assert "within seconds gemm_all fell by 28 %, more than the tolerance" in unsteady.seen
    assert keep(0.3, busy=False).level == OK
    assert kept_rates.read(path) == KEPT
    document = json.loads(path.read_text())
    assert (document["hpcpgd"], document["spread"]) == (__version__, spread)
    assert (document["date"][:2], "blas" in document["blas"]) == ("20", True)
    nodes = {"n1": KEPT.values | {"gemm_one": 91.0, "triad_all": 17.0}}
    nodes["n2"] = KEPT.values | {"gemm_one": math.nan}
    findings = kept_rates.compare(nodes, KEPT, 0.1, busy=False)
    assert [(one.level, one.code) for one in findings] == [(WARNING, 1)] * 2
    assert findings[0].seen == "triad_all on n1 is 17, 0.85 of the 20 kept"
    loaded = kept_rates.compare(nodes, KEPT, 0.1, busy=True)[0]
    assert loaded.seen == f"{findings[0].seen}, while others used the cores"
    assert (loaded.cure, loaded.code) == (busy.cure, 1)
    [unknown] = kept_rates.compare(nodes, KEPT, 0.2, busy=False)
    assert unknown.seen.startswith("gemm_one on n2 is nan")
    assert kept_rates.compare({"n1": nodes["n1"]}, KEPT, 0.2, busy=True)[0].level == OK
    fast = KEPT.values | {"gemm_all": 340.0 * 1.5, "fma_one": 120.0}
    [high] = kept_rates.compare({"n1": fast}, KEPT, 0.1, busy=False)
    assert high.seen == "gemm_all on n1 is 510, 1.50 of the 340 kept"
    assert (high.level, high.code, "keep them anew" in high.cure) == (WARNING, 0, True)


def test_every_low_rate_has_a_line() -> None:
    nodes = {"n1": KEPT.values | {"gemm_one": 10.0, "gemm_all": 20.0}}
    lines = merged([kept_rates.compare(nodes, KEPT, 0.1, busy=False), []], PLACES[:2])
    assert [line.split(" is ")[0] for line in lines] == [
        "warning  reference: gemm_one on n1", "warning  reference: gemm_all on n1",
    ]  # fmt: skip


def test_a_file_that_is_no_reference(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    good = {"schema": kept_rates.SCHEMA, "job": KEPT.job, "values": KEPT.values}
    changes: list[tuple[dict[str, Any], str]] = [
        ({"schema": "hpcpgd.reference/2"}, "has schema 'hpcpgd.reference/2'"),
        ({"job": 3}, "has no text job"),
        ({"values": [3]}, "has no table values"),
    ]
    for value in (None, math.nan, math.inf, 0, 10**400, "95.0", True):
        changes.append(({"values": {**KEPT.values, "triad_all": value}}, "has no rate triad_all"))
    texts = [(json.dumps(good | change), why) for change, why in changes]
    texts += [("[1]", "has no schema"), ("", "is not JSON"), ("[" * 10**5, "is not JSON")]
    for text, why in [*texts, ("\udcff", "is not JSON")]:
        path.write_text(text, errors="surrogateescape")
        says = rf"^--reference {path} {why}.*: expected a file of .*: give another file, or a new"
        with pytest.raises(DataError, match=says):
            kept_rates.read(path)


def test_a_reference_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "none" / "node.json")
    for name, why in (
        (".", f"--reference {tmp_path}: is a folder"), ("no/x", f"is no folder {tmp_path}/no;"),
        ("link", f"is no folder {tmp_path}/none;"), ("file/x", f"{tmp_path}/file is a file"),
    ):  # fmt: skip
        with pytest.raises(OutputError, match=re.escape(why)):
            kept_rates.read(tmp_path / name)
    assert kept_rates.read(tmp_path / "node.json") is None
    with pytest.raises(DataError, match="cannot be read: File name too long: expected"):
        kept_rates.read(tmp_path / ("x" * 300))


def test_rates_of_another_job_are_not_compared() -> None:
    path, hosts = Path("x"), ["n1", "n1", "n2", "n2"]
    assert kept_rates.ensure_same_job(path, KEPT, ["Xeon"] * 4, hosts, 2) == KEPT.job
    first = kept_rates.ensure_same_job(path, None, ["Xeon"], hosts[:1], 1)
    assert first.startswith("processor: Xeon, ranks a node: 1, ")
    for model, other, threads, says in (
        ("Xeon", hosts, 4, "threads a rank: 4; the rates were kept with processor: Xeon, ranks a"),
        ("Xeon", hosts[:1], 2, "ranks a node: 1,"),
        ("Xeon", [*hosts, "n2"], 2, "ranks a node: 2 and 3,"),
        ("EPYC", hosts, 2, "this job has processor: EPYC and Xeon, .* on the same processor, or"),
    ):
        with pytest.raises(ConfigError, match=says):
            kept_rates.ensure_same_job(path, KEPT, ["Xeon", model], other, threads)


# The doctor where no machine is busy, whatever else runs on it.
IDLE = (
    "-c", "import sys; from hpcpgd.doctor import cli, other_work; "
    "from hpcpgd.machine.other_load import OtherLoad; OtherLoad.measure = lambda _: (0.0, ''); "
    "other_work.busy_seconds = lambda cpus: 0.0; sys.exit(cli.main(sys.argv[1:]))",
)  # fmt: skip


def test_one_document_and_an_acceptance_test(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    words = (*IDLE, "--json", "--tolerance", "90", "--reference", str(path))
    first = python(*words, ranks=2, cwd=tmp_path)
    document = json.loads(first.out)
    assert (first.code, first.err, document["exit_code"], document["error"]) == (0, "", 0, None)
    [rates] = document["rates"].values()
    assert rates["threads"] == max(2, os.cpu_count() or 2) or rates["threads"] >= 2
    assert all(rates[name] > 0 for name in NAMES)
    subjects = {one["subject"] for one in document["findings"]}
    assert {"speed", "bandwidth", "load", "reference"} <= subjects
    kept = json.loads(path.read_text())
    kept["values"]["fma_one"] *= 1000  # as if the node had been faster
    path.write_text(json.dumps(kept))
    second = python(*words, ranks=2, cwd=tmp_path)
    assert (second.code, json.loads(second.out)["exit_code"]) == (1, 1)
    missing = str(tmp_path / "no" / "x")
    for ranks, text, file, code in (
        (1, path.read_text(), str(path), 78), (2, "{}", str(path), 65), (1, "", missing, 74),
    ):  # fmt: skip
        path.write_text(text)
        refused = python(*words[:-1], file, ranks=ranks, cwd=tmp_path)
        document = json.loads(refused.out)
        assert (refused.code, document["exit_code"], refused.err) == (
            code, code, f"hpcpgd doctor: error: {document['error']}\n",
        )  # fmt: skip
        assert document["rates"] == {}  # nothing has been measured
    python(*DOCTOR, "--tolerance", "120", "--reference", "x", cwd=tmp_path).one_line(2, out="")
