"""A collective that does not come back ends the job, and the rank at fault is named."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpcpgd.parallel import mpi
from hpcpgd.parallel.hang_report import (
    WORKER_POOL,
    RankReport,
    RollCall,
    location_of,
    stacks,
)
from hpcpgd.parallel.watchdog import Watchdog
from tests.helpers.support import mpiexec, processes, python, started, wait_until

HOSTS = ("n1, process 10", "n1, process 11", "n2, process 12", "n2, process 13")
WAITS = RankReport("sum_in_place (mpi.py, line 9)", True, "step", 600.0)


def found(**others: RankReport | None) -> RollCall:
    """Return a roll call of four ranks that wait, but for those that are given."""
    answers = dict.fromkeys(range(4), WAITS)
    for name, answer in others.items():
        del answers[int(name[1:])]
        if answer is not None:
            answers[int(name[1:])] = answer
    return RollCall(answers, HOSTS)


def test_ranks_that_do_not_answer_are_named() -> None:
    assert found(r2=None).culprits().startswith("rank 2 (n2, process 12) did not answer")
    two = "ranks 1 (n1, process 11), 3 (n2, process 13) did not answer"
    assert found(r1=None, r3=None).culprits().startswith(two)


def test_else_those_that_are_elsewhere() -> None:
    away = RankReport("save (folder.py, line 58)", False, "checkpoint", 0.0)
    expected = "rank 0 (n1, process 10) did not come to it, but was in save (folder.py, line 58)"
    assert found(r0=away).culprits() == expected
    assert found(r0=away).worst == WAITS
    assert found().culprits().startswith("all ranks answer and wait")


def test_an_answer_travels() -> None:
    assert RankReport.from_bytes(WAITS.to_bytes()) == WAITS


def test_a_thread_waits_where_it_has_called_mpi_or_says_so() -> None:
    names: dict[str, Any] = {}
    exec(compile("import sys\ndef lead(): return sys._getframe()", WORKER_POOL, "exec"), names)
    in_compiled_code = names["lead"]()
    assert not location_of(in_compiled_code, False)[1]
    assert location_of(in_compiled_code, True)[1]
    assert not location_of(sys._getframe(), True)[1]  # others do, this one is elsewhere
    seen = []

    class Request:
        def Test(self) -> bool:  # noqa: N802  (mpi4py's name)
            seen.append(location_of(sys._getframe(1), False))
            return True

    request: Any = Request()
    mpi.progress([request])
    where, waits = seen[0]
    assert waits
    assert re.fullmatch(r"progress \(mpi\.py, line \d+\)", where)


def test_the_stacks_begin_with_that_of_the_thread_that_is_watched() -> None:
    lines = stacks(threading.get_ident()).splitlines()
    assert lines[0] == "  thread MainThread:"
    assert "test_the_stacks_begin_with" in "".join(lines)


def test_a_patient_barrier_is_one_wait() -> None:
    """Whether a look finds the thread asleep in it, or looking for the others itself."""
    arrived = threading.Lock()
    comm = SimpleNamespace(Ibarrier=lambda: SimpleNamespace(Test=arrived.locked))
    worker = threading.Thread(target=mpi.patient_barrier, args=(comm,))
    worker.start()
    watch: Any = object.__new__(Watchdog)
    watch._watched, watch._asking = worker.ident, threading.Lock()
    watch._heartbeat = lambda: (None, False)
    wait_until(lambda: watch._look()[0].startswith("patient_barrier"), 10)
    places, marks = set(), set()
    for _ in range(2000):
        where, _, mark = watch._look()
        places.add(where)
        marks.add(mark)
    arrived.acquire()
    worker.join()
    assert len(marks) == 1 <= len(places)


def test_mpi_that_does_not_end_is_left() -> None:
    code = (
        "import time; from hpcpgd.parallel import watchdog\n"
        "with watchdog.farewell('x'): pass\n"
        "watchdog.FAREWELL = 0.1\n"
        "with watchdog.farewell('hpcpgd train'): time.sleep(60)"
    )
    done = python("-c", code, timeout=30)
    assert (done.code, done.out) == (71, "")
    assert done.err == "hpcpgd train: error: the work is done, but MPI does not end in 0 s\n"


another = pytest.mark.long(reason="waits for a hang limit, as reduction shared always does")


@pytest.mark.parametrize(
    ("reduction", "victim"), [pytest.param("allreduce", 0, marks=another), ("shared", 2)]
)
def test_a_stopped_rank_ends_the_job(reduction: str, victim: int, tmp_path: Path) -> None:
    words = (
        *("-m", "hpcpgd.train", "--reduction", reduction, "--epochs", "1000000", "--quiet"),
        *("--hang-limit", "4s", "--checkpoint-every", "1s"),
        *("--threads", "1", "--output", str(tmp_path / "r.h5")),
    )
    with started([mpiexec(), "-n", "3", sys.executable, *words], tmp_path) as job:
        # With the first checkpoint, loading, for which another limit holds, is over.
        wait_until(lambda: any(tmp_path.glob("r.checkpoints/*.h5")), 120)
        stopped = processes(str(tmp_path))[victim]
        os.kill(stopped, signal.SIGSTOP)
        _, error = job.communicate(timeout=3 * 4 + 30)
    # The launcher may report how it ended the stopped rank, by SIGKILL.
    assert job.returncode in (71, signal.SIGKILL)
    for rank in {0, 1, 2} - {victim}:
        assert re.search(rf"hpcpgd train: rank {rank} of 3 \(\S+, process \d+\): waits in", error)
    assert error.count("thread MainThread:") == 2
    said = [line for line in error.splitlines() if line.startswith("hpcpgd train: error:")]
    assert len(said) == 1
    assert re.search(rf"-limit\): rank {victim} \(\S+, process {stopped}\) did not answer", said[0])
    assert not processes(str(tmp_path))
