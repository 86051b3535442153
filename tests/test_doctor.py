"""The doctor: findings from facts, and the command as users start it."""

from __future__ import annotations

import mmap
import os
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hpcpgd.doctor import (
    allreduce,
    cores,
    gpu_facts,
    gpus,
    launcher,
    memory,
    probe,
    products,
    shared_memory,
    slurm,
    storage,
    variables,
)
from hpcpgd.doctor.finding import (
    OK,
    PROBLEM,
    WARNING,
    Finding,
    Place,
    decode,
    encode,
    merged,
    ok,
    problem,
    warning,
)
from hpcpgd.doctor.report import Report
from hpcpgd.errors import UnavailableError
from tests.support import Done, environment, python, run

DOCTOR = ("-m", "hpcpgd.doctor")
GIB, MIB = 2**30, 2**20
LINE = re.compile(r"(ok      |warning |problem ) [A-Za-z ]+(, (on|ranks?) [^:]+)?: \S.*")
SUBJECTS = ["shared memory", "MPI", "cores", "threads", "memory", "kernel cache", "BLAS", "folder"]


def only(found: list[Finding]) -> Finding:
    """Return the one finding, whose warning or problem must say what to do."""
    assert len(found) == 1, found
    assert bool(found[0].cure) == (found[0].level != OK)
    assert bool(found[0].code) == (found[0].level == PROBLEM)
    return found[0]


def places(*sizes: int) -> list[Place]:
    """Ranks on nodes n1, n2 and so on."""
    return [Place(f"n{n}", i) for n, size in enumerate(sizes, 1) for i in range(size)]


# Findings of many ranks


def test_equal_findings_of_all_ranks_are_one_line() -> None:
    own = [ok("threads", "one"), warning("x", "bad", "mend it")]
    assert merged([own] * 4, places(2, 2)) == [
        "ok       threads: one",
        "warning  x: bad -> mend it",
    ]


def test_findings_of_some_ranks_name_them() -> None:
    good, bad = [ok("x", "fine")], [problem("x", "bad", "mend it", 69)]
    lines = merged([good, good, bad, bad, good, bad], places(2, 3, 1))
    assert lines == [
        "ok       x, ranks 0-1,4 on n1, n2: fine",
        "problem  x, ranks 2-3,5 on n2, n3: bad -> mend it",
    ]


def test_findings_of_nodes_name_these() -> None:
    lines = merged([[ok("x", "5")], [], [ok("x", "6")], []], places(2, 2))
    assert lines == ["ok       x, on n1, n2, seen by rank 0: 5"]
    lines = merged([[ok("x", "5")], [], [warning("x", "0", "mend it")], []], places(2, 2))
    assert lines == ["ok       x, on n1: 5", "warning  x, on n2: 0 -> mend it"]


def test_a_node_that_is_not_the_first_s_is_named() -> None:
    lines = merged([[], [], [warning("x", "0", "mend it")], []], places(2, 2))
    assert lines == ["warning  x, on n2: 0 -> mend it"]


def test_findings_survive_their_way_to_the_first_rank() -> None:
    found = [problem("folder", "caf\udce9\nof two lines", "mend it", 74), ok("x", "")]
    assert decode(encode(found)) == found
    assert "\n" not in found[0].line()


def test_the_first_problem_gives_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(speaks=True)
    report.add(ok("a", "fine"), problem("b", "bad", "mend it", 78))
    report.add(problem("c", "bad", "mend it", 74), warning("d", "slow", "mend it"))
    report.verdict()
    assert report.code == 78
    assert capsys.readouterr().out.endswith(
        "verdict: 2 problems and 1 warning, 1 ok, exit code 78\n"
    )
    silent = Report(speaks=False)
    silent.add(problem("b", "bad", "mend it", 78))
    assert capsys.readouterr().out == ""


# Cores and threads


def rank(*own: int, share: float, available: int = 8, machine: str = "a") -> cores.RankCores:
    return cores.RankCores(machine, own, available, float("inf"), share)


def test_four_ranks_on_core_0_of_8() -> None:
    found = only(cores.judge([rank(0, share=0.25)] * 4, places(4)))
    assert found.level == WARNING
    assert "ranks 0-3 on n1 may run on core 0 alone, with 7 other cores" in found.seen
    assert "-bind-to none" in found.cure


def test_more_ranks_than_cores() -> None:
    found = only(cores.judge([rank(0, 1, share=2 / 7, available=2)] * 7, places(7)))
    assert (found.level, "ranks 0-6 on n1 share 2 cores" in found.seen) == (WARNING, True)


def test_the_limit_of_a_container() -> None:
    seen = [replace(rank(0, 1, 2, 3, share=0.75, available=4), quota=1.5)] * 2
    found = only(cores.judge(seen, places(2)))
    assert "1.5 cores" in found.seen
    assert "--cpus" in found.cure


def test_only_the_node_with_trouble_is_named() -> None:
    good = [rank(i, share=1.0, available=2) for i in range(2)]
    bad = [rank(0, share=0.5, available=2, machine="b")] * 2
    found = only(cores.judge([*good, *bad], places(2, 2)))
    assert "ranks 2-3 on n2 may run on core 0 alone" in found.seen


def test_bound_ranks_beside_idle_cores() -> None:
    found = only(cores.judge([rank(0, share=1.0), rank(1, share=1.0)], places(2)))
    assert "ranks 0-1 on n1 may run on 2 cores alone, with 6 other cores" in found.seen


def test_the_rank_with_the_fewest_cores_decides() -> None:
    seen = [rank(0, share=1.0, available=4), rank(1, 2, 3, share=3.0, available=4)]
    assert cores.threads(seen) == 1
    found = only(cores.judge(seen, places(2)))
    assert "rank 0 on n1 can have 1 of the 3 threads" in found.seen


def test_cores_for_everyone() -> None:
    seen = [rank(0, 1, share=2.0, available=4), rank(2, 3, share=2.0, available=4)]
    assert only(cores.judge(seen, places(2))) == ok(
        "cores", "4 cores for 2 ranks, each can have 2 threads"
    )


def test_the_cores_of_the_job_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(cores, "limits", lambda name: [["0-3,8"], ["0-31"]])
    assert cores.available({}) == 5
    assert cores.available({"SLURM_CPUS_ON_NODE": "4"}) == 4


@pytest.mark.parametrize(
    ("environ", "threads", "level"),
    [
        ({}, 4, OK),
        ({"OMP_NUM_THREADS": "2"}, 2, OK),
        ({"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}, 2, WARNING),
        ({"OPENBLAS_NUM_THREADS": "8"}, 1, WARNING),
    ],
)
def test_variables_of_threads_are_ignored(
    environ: dict[str, str], threads: int, level: str
) -> None:
    found = only(variables.judge(environ, threads))
    assert found.level == level
    assert all(f"{name}={value}" in found.seen for name, value in environ.items())
    assert ("ignored" in found.seen) == bool(environ)


def test_variables_that_spoil_the_compiler() -> None:
    harmless = {"NUMBA_OPT": "3", "NUMBA_DISABLE_JIT": "0", "NUMBA_BOUNDSCHECK": "0"}
    assert len(variables.judge(harmless, 1)) == 1
    found = variables.judge({"NUMBA_DISABLE_JIT": "1", "NUMBA_OPT": "0"}, 1)
    assert [(one.level, one.cure) for one in found[1:]] == [
        (PROBLEM, "unset NUMBA_DISABLE_JIT"),
        (WARNING, "unset NUMBA_OPT"),
    ]


# SLURM, the launcher, sums


def job(**changes: object) -> slurm.Job:
    return replace(slurm.Job(tasks=4, in_step=True), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "ranks", "says"),
    [
        (job(in_step=False), 1, "plain python in a job of 4 tasks is one rank"),
        (job(), 3, "3 ranks in a job of 4 tasks"),
        (job(), 8, "8 ranks in a job of 4 tasks"),
        (job(cpus_per_task=4), 4, "srun is not told"),
        (job(seconds_left=100.0), 4, "100 s are left"),
    ],
)
def test_a_slurm_job_that_does_not_fit(seen: slurm.Job, ranks: int, says: str) -> None:
    found = only(slurm.judge(seen, ranks, 2, "MPICH"))
    assert found.level == WARNING
    assert says in found.seen


@pytest.mark.parametrize(("library", "interface"), [("MPICH", "pmi2"), ("Open MPI", "pmix")])
def test_the_srun_that_fits_the_library(library: str, interface: str) -> None:
    found = only(slurm.judge(job(in_step=False), 1, 1, f"{library} v5"))
    assert f"srun --mpi={interface} python -m hpcpgd.doctor" in found.cure


def test_a_slurm_job_that_fits() -> None:
    told = job(cpus_per_task=4, passed_on=4, seconds_left=3900.0, requeue=False)
    found = only(slurm.judge(told, 4, 2, "MPICH"))
    assert found.level == OK
    assert "1 h 05 min left" in found.seen
    assert "--requeue" in found.seen
    assert only(slurm.judge(job(cpus_per_task=2), 4, 2, "MPICH")).level == OK  # it has them
    assert only(slurm.judge(job(tasks=0), 8, 2, "MPICH")).level == OK  # salloc --nodes=2
    assert slurm.judge(None, 4, 2, "MPICH") == []


def test_what_slurm_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"EndTime": "2001-01-01T00:00:00", "TimeLimit": "01:00:00", "Requeue": "0"}
    monkeypatch.setattr(slurm, "_ask", lambda number: told)
    environ = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_CPUS_PER_TASK": "2"}
    seen = slurm.observe(environ)
    assert seen is not None
    assert (seen.tasks, seen.in_step, seen.cpus_per_task, seen.passed_on) == (4, False, 2, 0)
    assert (seen.requeue, (seen.seconds_left or 0.0) < 0) == (False, True)
    told["TimeLimit"] = "UNLIMITED"
    unlimited = slurm.observe(environ)
    assert (unlimited is not None and unlimited.seconds_left) is None
    assert slurm.observe({}) is None


def test_launchers() -> None:
    alone = only(launcher.judge(launcher.World("MPICH", 1, 1), {"PMI_SIZE": "4"}))
    assert (alone.level, alone.code) == (PROBLEM, 78)
    assert "srun --mpi=pmi2" in alone.cure
    assert only(launcher.judge(launcher.World("MPICH", 4, 1), {"PMI_SIZE": "4"})).level == OK


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (launcher.Pair(""), "none beside Python"),
        (launcher.Pair("/bin/mpiexec", ("1", "1")), "each alone"),
        (launcher.Pair("/bin/mpiexec", (), "it ended with 1: not as root"), "not as root"),
        (launcher.Pair("/bin/mpiexec", ("2", "2")), "see each other"),
    ],
)
def test_the_mpiexec_of_this_machine(pair: launcher.Pair, says: str) -> None:
    found = only(launcher.judge_pair(pair))
    assert (found.level == OK) == (pair.sizes == ("2", "2"))
    assert says in found.seen


def sums(**changes: object) -> allreduce.Sums:
    good = allreduce.Sums(4, 1, 1e-5, 1e-3, right=True, crowded=False)
    return replace(good, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "level", "cure"),
    [
        (sums(), OK, ""),
        (sums(crowded=True), OK, ""),
        (sums(crowded=True, small=5e-3), WARNING, "one rank a core"),
        (sums(small=5e-3), WARNING, "shared memory"),
        (sums(nodes=2, large=0.04), WARNING, "Ethernet"),
        (sums(nodes=2, large=0.04, crowded=True), WARNING, "one rank a core"),
        (sums(right=False), PROBLEM, "another transport"),
    ],
)
def test_sums_over_the_ranks(seen: allreduce.Sums, level: str, cure: str) -> None:
    found = only(allreduce.judge(seen))
    assert found.level == level
    assert cure in found.cure
    assert "4 ranks on" in found.seen


# Memory


def test_small_shared_memory() -> None:
    found = only(shared_memory.judge(shared_memory.SharedMemory(16 * MIB, 16 * MIB), 1))
    assert (found.level, "16 MiB free: MPI_Init may crash" in found.seen) == (WARNING, True)
    assert "--shm-size" in found.cure
    seen = shared_memory.SharedMemory(64 * MIB, 64 * MIB)
    assert only(shared_memory.judge(seen, 4)).level == OK
    assert only(shared_memory.judge(seen, 32)).level == WARNING
    assert only(shared_memory.judge(None, 4)).level == OK


def test_leftovers_are_files_that_no_process_uses(tmp_path: Path) -> None:
    for name in ("mpich_shm_dead", "mpich_shm_mapped", "sm_segment.open", "mine"):
        (tmp_path / name).write_bytes(bytes(mmap.PAGESIZE))
    with (tmp_path / "mpich_shm_mapped").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    with (tmp_path / "sm_segment.open").open("rb"):
        seen = shared_memory.observe(tmp_path)
    mapped.close()
    assert seen is not None
    assert seen.leftovers == ("mpich_shm_dead",)
    assert seen.leftover_bytes == mmap.PAGESIZE
    found = only(shared_memory.judge(seen, 1))
    assert (found.level, "in 1 file of" in found.seen) == (WARNING, True)
    assert found.cure.endswith("rm -f /dev/shm/mpich_shm_*")


def test_memory_of_a_node() -> None:
    seen = memory.Memory(64 * GIB, 16 * GIB, 8 * GIB)
    found = only(memory.judge(seen, 4))
    assert found.level == OK
    assert "8.0 GiB of 16.0 GiB are free" in found.seen
    assert "2.0 GiB a rank" in found.seen
    assert only(memory.judge(seen, 32)).level == WARNING


def test_memory_of_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of files are given back; shared memory, counted with them, is not."""
    group = {
        "memory.max": [["1000"], ["max"]],
        "memory.current": [["800"], ["900"]],
        "memory.stat": [
            ["anon", "100", "file", "500", "shmem", "200"],
            ["file", "1"],
            ["file", "1"],
        ],
    }
    monkeypatch.setattr(memory, "limits", group.__getitem__)
    assert memory.observe().free == 1000 - 800 + 300


# BLAS, files, GPUs

FAST = products.Products("openblas SkylakeX", "SkylakeX", avx512=True, gflops=190.0, without=190.0)
HASWELL = {"OPENBLAS_CORETYPE": "Haswell"}


def test_a_fast_blas() -> None:
    found = only(products.judge(FAST))
    assert (found.level, "190 GFLOP/s on one thread" in found.seen) == (OK, True)
    harmless = replace(FAST, variables={"OPENBLAS_L2_SIZE": "1"}, ratio=0.97)
    assert "OPENBLAS_L2_SIZE=1 costs nothing" in only(products.judge(harmless)).seen


def test_a_variable_that_halves_the_speed() -> None:
    slow = replace(FAST, kernel="Haswell", variables=HASWELL, gflops=95.0, ratio=0.5)
    found = only(products.judge(slow))
    assert found.level == WARNING
    assert "OPENBLAS_CORETYPE=Haswell: 95 GFLOP/s, 190 without it" in found.seen
    assert found.cure == "unset OPENBLAS_CORETYPE"


@pytest.mark.parametrize("variables_set", [{}, HASWELL])
def test_a_kernel_without_avx512(variables_set: dict[str, str]) -> None:
    found = only(products.judge(replace(FAST, kernel="Haswell", variables=variables_set)))
    assert (found.level, "AVX-512 unused" in found.seen) == (WARNING, True)
    assert ("unset" in found.cure) == bool(variables_set)
    assert only(products.judge(replace(FAST, kernel="Haswell", avx512=False))).level == OK


def test_a_blas_that_cannot_be_used() -> None:
    found = only(products.judge(products.Products(refused="HPCPGD_BLAS=x: no such file")))
    assert (found.level, found.code) == (PROBLEM, 69)
    stand_in = only(products.judge(replace(FAST, stand_in=True)))
    assert (stand_in.level, "scipy-openblas32" in stand_in.cure) == (WARNING, True)
    crashed = only(products.judge(replace(FAST, trouble="it ended with -11")))
    assert (crashed.level, "it ended with -11" in crashed.seen) == (WARNING, True)


GOOD = storage.Storage("/data", seconds=0.01, free=GIB)


@pytest.mark.parametrize(
    ("seen", "level", "says", "cure"),
    [
        (GOOD, OK, "written and synced in 10 ms", ""),
        (replace(GOOD, refused="Read-only file system"), PROBLEM, "Read-only", "--output"),
        (replace(GOOD, refused="No space left on device"), PROBLEM, "No space", "make room"),
        (
            replace(GOOD, unread="unable to lock file, errno = 37"),
            WARNING,
            "HDF5 cannot lock files to read them",
            "HDF5_USE_FILE_LOCKING=FALSE",
        ),
        (replace(GOOD, unread="no signature"), PROBLEM, "no signature", "another file system"),
        (replace(GOOD, unlocked="No locks available"), WARNING, "No locks", "study"),
        (replace(GOOD, seconds=9.0), WARNING, "9000 ms", "--checkpoint-every"),
        (replace(GOOD, free=MIB), WARNING, "0.0 GiB free", "make room"),
    ],
)
def test_folders(seen: storage.Storage, level: str, says: str, cure: str) -> None:
    found = only(storage.judge(seen))
    assert (found.level, found.code) == (level, 74 if level == PROBLEM else 0)
    assert says in found.seen
    assert cure in found.cure


def test_a_folder_is_left_as_it_was(tmp_path: Path) -> None:
    seen = storage.observe(tmp_path)
    assert (seen.refused, seen.unread, seen.unlocked) == ("", "", "")
    assert [*tmp_path.iterdir()] == []
    missing = storage.observe(tmp_path / "missing")
    assert missing.refused == "No such file or directory"


def test_the_cache_of_kernels() -> None:
    kept = storage.Cache("/home/me/.cache", temporary=False, wanted="", filled=False)
    assert "the first job compiles" in only(storage.judge_cache(kept)).seen
    lost = replace(kept, temporary=True, wanted="NUMBA_CACHE_DIR=/x")
    found = only(storage.judge_cache(lost))
    assert (found.level, "NUMBA_CACHE_DIR=/x cannot be written" in found.seen) == (WARNING, True)


H100 = ("NVIDIA H100", 70 * GIB, 80 * GIB)


@pytest.mark.parametrize(
    ("seen", "level", "says"),
    [
        (gpus.Gpus(driver=False, cupy=False), OK, "backend gemm"),
        (gpus.Gpus(driver=False, cupy=True, refused="no driver"), OK, "backend gemm"),
        (gpus.Gpus(driver=True, cupy=False), WARNING, "CuPy is not"),
        (gpus.Gpus(driver=True, cupy=True, refused="too old"), WARNING, "too old"),
        (gpus.Gpus(True, True, devices=(H100,)), WARNING, "2 ranks of a node share 1"),
        (gpus.Gpus(True, True, devices=(H100, H100)), OK, "70 GiB free"),
        (gpus.Gpus(True, True, "", (H100, H100), "not aware"), WARNING, "the host's memory"),
        (gpus.Gpus(True, True, devices=(H100, ("H", 1, 80))), WARNING, "half of the memory"),
    ],
)
def test_gpus(seen: gpus.Gpus, level: str, says: str) -> None:
    found = only(gpus.judge(seen, 2))
    assert found.level == level
    assert says in found.seen


def test_what_cupy_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = SimpleNamespace(
        getDeviceCount=lambda: 2,
        getDeviceProperties=lambda number: {"name": b"GPU %d" % number},
        memGetInfo=lambda: (5, 9),
    )
    cuda = SimpleNamespace(runtime=runtime, Device=nullcontext)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(gpu_facts, "open_device", lambda backend, node_rank: None)
    told = gpu_facts.observe()
    assert told == {"refused": "", "devices": [["GPU 0", 5, 9], ["GPU 1", 5, 9]]}

    def refuse(backend: str, node_rank: int) -> None:
        raise UnavailableError("no driver")

    monkeypatch.setattr(gpu_facts, "open_device", refuse)
    assert gpu_facts.observe() == {"refused": "no driver", "devices": []}


# Checks that crash or hang

GUARDED = """
import os, signal, time
from hpcpgd.doctor.guardian import Guardian, Stage
with Guardian(True) as guardian:
    guardian.enter(Stage("network", 0.5, "mend it"))
    {}
"""


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV, "was killed here"),
        ("time.sleep(60)", -signal.SIGKILL, "no answer within"),
        ("pass", 0, ""),
        ("raise SystemExit(3)", 3, ""),
    ],
)
def test_a_check_that_crashes_or_hangs_is_told_of(body: str, code: int, says: str) -> None:
    done = python("-c", GUARDED.format(body), timeout=30)
    assert (done.code, done.err) == (code, "")
    if not says:
        assert done.out == ""
        return
    first, last = done.out.splitlines()
    assert first.startswith("problem  network: ")
    assert says in first
    assert first.endswith(" -> mend it")
    assert last.startswith("verdict: ")


def test_probes_that_crash_or_hang() -> None:
    hangs = ("/bin/sh", "-c", "exec sleep 60")
    assert probe.ask("x", seconds=0.2, launcher=hangs).trouble == "no answer within 0 s"
    fails = ("/bin/sh", "-c", "echo out; echo why >&2; exit 3")
    assert probe.ask("x", seconds=20, launcher=fails).trouble == "it ended with 3: why"
    missing = probe.ask("x", seconds=20, launcher=("/nonexistent",))
    assert "No such file" in missing.trouble


# The command


def doctor(*words: str, ranks: int | None = None, **changes: str) -> Done:
    return python(*DOCTOR, *words, ranks=ranks, timeout=60, env=environment(**changes))


def checked(done: Done) -> list[str]:
    """Return the findings' lines of a report that is whole and has nothing else in it."""
    assert done.err == ""
    first, *lines, last = done.out.splitlines()
    assert first.startswith("hpcpgd ")
    assert last.startswith("verdict: ")
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    for line in lines:
        assert (" -> " in line) == (not line.startswith("ok ")), line
    return lines


def subjects(lines: list[str]) -> list[str]:
    return [line[9:].split(":")[0].split(",")[0] for line in lines]


def test_alone(tmp_path: Path) -> None:
    done = doctor("--folder", str(tmp_path))
    lines = checked(done)
    assert done.code == 0
    assert set(SUBJECTS) | {"mpiexec", "GPU"} <= set(subjects(lines))
    assert [*tmp_path.iterdir()] == []


def test_three_ranks_end_with_the_code_of_the_first() -> None:
    done = doctor("--folder", "/nonexistent", ranks=3)
    lines = checked(done)
    assert done.code == 74
    assert subjects([line for line in lines if line.startswith("problem ")]) == ["folder"]
    found = subjects(lines)
    assert set(SUBJECTS) | {"Allreduce", "GPU"} <= set(found)
    assert all(found.count(subject) == 1 for subject in SUBJECTS)
    crowded = len(os.sched_getaffinity(0)) < 3
    assert any(line.startswith("warning  cores: ranks 0-2 on") for line in lines) == crowded


@pytest.mark.skipif(not products._has_avx512(), reason="the processor has no AVX-512")
def test_a_core_type_from_the_shell() -> None:
    done = doctor(OPENBLAS_CORETYPE="Haswell")
    line = next(line for line in checked(done) if line[9:].startswith("BLAS: "))
    assert line.startswith("warning ")
    assert line.endswith(" -> unset OPENBLAS_CORETYPE")


def test_ranks_that_are_each_alone_and_no_folder(tmp_path: Path) -> None:
    done = doctor("--folder", str(tmp_path / "missing"), PMI_SIZE="4")
    lines = checked(done)
    assert done.code == 78
    problems = [line for line in lines if line.startswith("problem ")]
    assert subjects(problems) == ["MPI", "folder"]
    assert "started 4 ranks (PMI_SIZE)" in problems[0]
    assert done.out.endswith("exit code 78\n")
    silent = doctor(PMI_SIZE="4", PMI_RANK="3")
    assert (silent.code, silent.out, silent.err) == (0, "", "")


def test_without_an_mpi_library() -> None:
    done = doctor(MPI4PY_LIBMPI="/nonexistent/libmpi.so")
    assert subjects(checked(done)) == ["shared memory", "MPI"]
    assert done.code == 69


def test_wrong_flags_and_help() -> None:
    done = doctor("--foldr", "x")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    done = python("-m", "hpcpgd", "doctor", "--help")
    assert (done.code, "--folder DIR" in done.out) == (0, True)


def mounted(mount: str, *command: str) -> Done:
    """Run a command where only it sees a mount, or skip the test."""
    if sys.platform != "linux":
        pytest.skip("mounts of one's own are Linux's")
    shell = ["unshare", "--mount", "--user", "--map-root-user", "sh", "-ec"]
    if subprocess.run([*shell, mount], capture_output=True, timeout=20).returncode != 0:
        pytest.skip("this machine does not let its users mount")
    return run([*shell, f'{mount}; exec "$@"', "sh", *command], 60)


def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    mount = f"mount --bind {tmp_path} {tmp_path}; mount -o remount,bind,ro {tmp_path}"
    done = mounted(mount, sys.executable, *DOCTOR, "--folder", str(tmp_path))
    line = next(line for line in checked(done) if line[9:].startswith("folder: "))
    assert "Read-only file system" in line
    assert done.code == 74


def test_shared_memory_that_kills_mpi() -> None:
    mount = "mount -t tmpfs -o size=16m tmpfs /dev/shm"
    done = mounted(mount, sys.executable, *DOCTOR)
    lines = done.out.splitlines()
    assert lines[1].startswith("warning  shared memory: /dev/shm has 16 MiB")
    if done.code != 0:  # MPICH with UCX; others get along with it
        assert done.code < 0
        assert lines[2].startswith("problem  MPI: this process was killed here -> MPI_Init")
        assert lines[3].startswith("verdict: ")
        assert done.err == ""
