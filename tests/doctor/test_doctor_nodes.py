"""The doctor's findings about a node: memory, BLAS, folders, GPUs; mostly from facts."""

from __future__ import annotations

import mmap
import os
import resource
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hpcpgd.doctor import gpu_facts, gpus, limits, memory, products, shared_memory, storage
from hpcpgd.doctor.finding import OK, PROBLEM, WARNING
from hpcpgd.environment import memory_limits
from hpcpgd.errors import UnavailableError
from hpcpgd.machine.jit_cache import Folders
from tests.helpers.findings import only

GIB, MIB = 2**30, 2**20


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


def test_memory_that_a_limit_leaves_to_a_process() -> None:
    limit = memory_limits.Limit("-v", 1000 * MIB, 900 * MIB)
    seen = memory.Memory(64 * GIB, 64 * GIB, 8 * GIB, limit.free, limit.describe())
    found = only(memory.judge(seen, 1))
    assert found.level == WARNING
    assert "0.1 GiB a rank, as 900 MiB of 1000 MiB are taken (ulimit -v)" in found.seen
    assert "ulimit -v unlimited" in found.cure
    assert only(memory.judge(replace(seen, process=2 * GIB), 1)).level == OK
    assert "0.5 GiB a rank" in only(memory.judge(replace(seen, process=2 * GIB), 16)).seen


def test_limits_that_are_too_low(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits.judge() == []
    low = memory_limits.Limit("-v", 300 * MIB, 100 * MIB)
    monkeypatch.setattr(memory_limits, "limits", lambda: [low])
    found = only(limits.judge())
    assert (found.level, found.code, found.cure) == (PROBLEM, 69, "ulimit -v unlimited")
    monkeypatch.undo()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (20, 20))
    monkeypatch.setattr(memory_limits, "limits", list)
    found = only(limits.judge())
    assert found.level == WARNING
    assert "ulimit -n is 20" in found.seen


def test_memory_of_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of files are given back; shared memory, counted with them, is not."""
    group = {
        "memory.max": [["1000"], ["max"]],
        "memory.current": [["800"], ["900"]],
        "memory.stat": [["anon", "100", "file", "500", "shmem", "200"], *[["file", "1"]] * 2],
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
    assert "OPENBLAS_L2_SIZE=1: costs nothing" in only(products.judge(harmless)).seen


def test_a_variable_that_halves_the_speed() -> None:
    slow = replace(FAST, kernel="Haswell", variables=HASWELL, gflops=95.0, ratio=0.5)
    found = only(products.judge(slow))
    assert found.level == WARNING
    assert "OPENBLAS_CORETYPE=Haswell: 95 GFLOP/s, 190 without it" in found.seen
    assert found.cure == "unset OPENBLAS_CORETYPE"
    known = replace(slow, kernel="SkylakeX")
    [busy] = products.judge(known, ", not judged")  # as others use the cores
    assert (busy.level, busy.cure) == (OK, "")
    assert busy.seen.endswith("not judged; OPENBLAS_CORETYPE=Haswell: 190 GFLOP/s without it")


@pytest.mark.parametrize("variables_set", [{}, HASWELL])
def test_a_kernel_without_avx512(variables_set: dict[str, str]) -> None:
    found = only(products.judge(replace(FAST, kernel="Haswell", variables=variables_set)))
    assert (found.level, "AVX-512 unused" in found.seen) == (WARNING, True)
    assert ("unset" in found.cure) == bool(variables_set)
    slow = replace(FAST, kernel="Haswell", variables=variables_set, ratio=0.5)
    assert only(products.judge(slow, ", not judged")).cure == found.cure  # it is no speed
    assert only(products.judge(replace(FAST, kernel="Haswell", avx512=False))).level == OK


def test_a_blas_that_cannot_be_used() -> None:
    found = only(products.judge(products.Products(refused="HPCPGD_BLAS=x: no such file")))
    assert (found.level, found.code) == (PROBLEM, 69)
    stand_in = only(products.judge(replace(FAST, stand_in=True)))
    assert (stand_in.level, "scipy-openblas32" in stand_in.cure) == (WARNING, True)
    crashed = only(products.judge(replace(FAST, trouble="it ended with -11")))
    assert (crashed.level, "it ended with -11" in crashed.seen) == (WARNING, True)


def test_the_rate_of_mkl_and_the_units_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    blas, gain = products.judge(replace(FAST, mkl=209.0))
    assert (blas, gain.level) == (only(products.judge(FAST)), OK)
    assert "HPCPGD_BLAS=mkl: 209 GFLOP/s on one thread in float32, 190 without it" in gain.seen
    _, broken = products.judge(replace(FAST, mkl=float("nan"), mkl_trouble="it ended with -11"))
    assert (broken.level, "it ended with -11" in broken.seen) == (WARNING, True)
    for refused, says in (("no AMX", "would end with exit code 69"), ("", "can run them")):
        monkeypatch.setattr("hpcpgd.kernels.tiles.amx.refusal", lambda text=refused: text)
        found = only(products.judge_tiles())
        assert (found.level, refused in found.seen, says in found.seen) == (OK, True, True)


GOOD = storage.Storage("/data", seconds=0.01, free=GIB)


@pytest.mark.parametrize(
    ("seen", "level", "says", "cure"),
    [
        (GOOD, OK, "written and synced in 10 ms", ""),
        (replace(GOOD, refused="Read-only file system"), PROBLEM, "Read-only", "--output"),
        (replace(GOOD, refused="No space left on device"), PROBLEM, "No space", "make room"),
        (replace(GOOD, unread="unable to lock"), WARNING, "HDF5 cannot lock", "LOCKING=FALSE"),
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


def test_a_folder_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = storage.observe(tmp_path)
    assert (seen.refused, seen.unread, seen.unlocked) == ("", "", "")
    assert [*tmp_path.iterdir()] == []
    missing = storage.observe(tmp_path / "missing")
    assert missing.refused == "No such file or directory"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "No such file" in storage.observe(Path()).refused


def test_the_cache_of_kernels() -> None:
    folders = Folders("/home/me/.cache", read=True, write="", reason="")
    empty = storage.Cache(folders)
    assert "the first job compiles" in only(storage.judge_cache(empty)).seen
    filled = replace(empty, kernels=5, nbytes=3 * 2**20, newest=7200.0)
    found = only(storage.judge_cache(filled))
    assert found.level == OK
    assert found.seen.endswith("5 kernels, 3.0 MiB, the newest 2 h old, will be used")
    full = replace(filled, folders=replace(folders, reason="Read-only file system"))
    fixed = only(storage.judge_cache(full))
    assert (fixed.level, "will be used; nothing is added" in fixed.seen) == (OK, True)
    unread = replace(folders, read=False, reason="Permission denied")
    lost = only(storage.judge_cache(storage.Cache(unread)))
    assert (lost.level, "(Permission denied): every job compiles" in lost.seen) == (WARNING, True)


def test_what_is_in_the_cache_of_kernels(tmp_path: Path) -> None:
    (tmp_path / "a.0.kernel").write_bytes(bytes(1000))
    (tmp_path / ".b.tmp").write_bytes(bytes(10))
    os.utime(tmp_path / "a.0.kernel", (0, time.time() - 90))
    seen = storage.observe_cache(Folders(str(tmp_path), True, str(tmp_path), ""))
    assert (seen.kernels, seen.nbytes) == (1, 1000)
    assert 85 < seen.newest < 300


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
