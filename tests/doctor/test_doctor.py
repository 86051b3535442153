"""The doctor as users start it, and what becomes of checks that crash or hang."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpcpgd.doctor import probe, products
from tests.helpers.support import Done, environment, physical_cores, python, run

DOCTOR = ("-m", "hpcpgd.doctor")
LINE = re.compile(r"(ok      |warning |problem ) [A-Za-z ]+(, (on|ranks?) [^:]+)?: \S.*")
SUBJECTS = ["shared memory", "MPI", "cores", "threads", "memory", "kernel cache", "BLAS", "folder"]


# Checks that crash or hang

GUARDED = """
import os, signal, sys, time
from hpcpgd.doctor.finding import ok
from hpcpgd.doctor.guardian import Guardian, Stage
from hpcpgd.doctor.report import Report
report = Report(speaks=True, as_json=sys.argv[1:] == ["json"])
with Guardian(report) as guardian:
    report.on_findings = guardian.learn
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
def test_a_check_that_does_not_end_has_its_line(body: str, code: int, says: str) -> None:
    """And its entry in JSON."""
    done = python("-c", GUARDED.format(body), timeout=30)
    earlier = "report.add(ok('memory', 'x' * 100_000))"  # longer than a pipe holds
    in_json = python("-c", GUARDED.format(f"{earlier}; {body}"), "json", timeout=30)
    assert (done.code, done.err, in_json.code) == (code, "", code)
    if not says:
        assert (done.out, in_json.out) == ("", "")
        return
    first, last = done.out.splitlines()
    assert first.startswith("problem  network: ")
    assert says in first
    assert first.endswith(" -> mend it")
    assert last.startswith("verdict: ")
    document = json.loads(in_json.out)
    memory, network = document["findings"]
    assert (document["exit_code"], len(memory["seen"])) == (None, 100_000)
    assert (network["subject"], network["level"], network["code"]) == ("network", "problem", 69)
    assert says in network["seen"]


def test_probes_that_crash_or_hang() -> None:
    hangs = ("/bin/sh", "-c", "exec sleep 60")
    assert probe.ask("x", seconds=0.2, launcher=hangs)[1] == "no answer within 0 s"
    fails = ("/bin/sh", "-c", "echo out; echo why >&2; exit 3")
    assert probe.ask("x", seconds=20, launcher=fails)[1] == "it ended with 3: why"
    _, missing = probe.ask("x", seconds=20, launcher=("/nonexistent",))
    assert "No such file" in missing


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
    crowded = physical_cores() < 3
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
    doctor("--foldr", "x").one_line(2, out="")
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
