"""Compiled kernels on disk: the folder, what is loaded and kept, and the messages."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcpgd.compile import cli as compiling
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.kernel_files import SUFFIX, KernelDisk
from hpcpgd.machine import jit_cache
from tests.helpers.many import Case, together
from tests.helpers.support import ROOT, TRAIN, environment, python, script

NAME = "room.kernel-0123"


@pytest.fixture
def disk(tmp_path: Path) -> KernelDisk:
    return KernelDisk([tmp_path], tmp_path)


def files(folder: Path) -> list[str]:
    """Return the names of all files, temporary ones too, but not CuPy's folder."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_what_one_process_publishes_another_loads(disk: KernelDisk, tmp_path: Path) -> None:
    assert disk.load(NAME) is None
    disk.publish(NAME, b"machine code")
    assert KernelDisk([tmp_path]).load(NAME) == b"machine code"
    assert files(tmp_path) == [f"{NAME}.0.kernel"]  # and no temporary file


def test_the_second_to_publish_changes_nothing(disk: KernelDisk, tmp_path: Path) -> None:
    disk.publish(NAME, b"first")
    before = (tmp_path / f"{NAME}.0.kernel").stat()
    disk.publish(NAME, b"second")
    after = (tmp_path / f"{NAME}.0.kernel").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert disk.load(NAME) == b"first"


@pytest.mark.parametrize("content", [b"", b"short", bytes(100)])
def test_a_damaged_file_stays_and_is_told_of_once(
    content: bytes, disk: KernelDisk, tmp_path: Path
) -> None:
    damaged = tmp_path / f"{NAME}.0.kernel"
    damaged.write_bytes(content)
    assert disk.load(NAME) is None
    assert disk.damaged == [damaged]
    disk.publish(NAME, b"whole")
    assert damaged.read_bytes() == content
    later = KernelDisk([tmp_path], tmp_path)
    assert later.load(NAME) == b"whole"
    assert later.damaged == []


def test_a_file_system_without_links(
    disk: KernelDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    disk.publish(NAME, b"first")
    disk.publish(NAME, b"second")
    assert disk.load(NAME) == b"first"
    assert files(tmp_path) == [f"{NAME}.0.kernel"]


def test_a_folder_that_takes_nothing(tmp_path: Path) -> None:
    disk = KernelDisk([], tmp_path / "gone")
    disk.publish(NAME, b"machine code")
    assert "No such file" in disk.unkept


def test_a_kernel_called_by_a_kernel_is_compiled_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file for the function that Python calls, none for those that it calls."""
    disk = KernelDisk([tmp_path], tmp_path)
    monkeypatch.setattr("hpcpgd.kernels.core.compiled.DISK", disk)

    @compiled()
    def inner(x: int) -> Any:
        if x > 100:
            raise ValueError("too large")
        return x + 1

    def outer(x: int) -> Any:
        return inner(x) * inner(x + 1)

    first, second = compiled()(outer), compiled()(outer)
    assert first(3) == 20
    (name,) = files(tmp_path)
    assert disk.compiled == 1
    assert second(4) == 30  # another dispatcher, as in another process: it loads
    assert (files(tmp_path), disk.compiled) == ([name], 1)
    for call in (first, second):
        with pytest.raises(ValueError, match="too large"):  # raised in what was linked
            call(1000)
    assert first(2.0) == 12.0
    assert len(files(tmp_path)) == 2  # a signature, a file
    assert inner(4) == 5  # called from Python, it has machine code of its own
    assert len(files(tmp_path)) == 3


def test_a_kernel_s_module_and_source_are_part_of_its_name(tmp_path: Path) -> None:
    """A file that has moved, or changed, finds no kernel of before: it would not load."""
    program = (
        "import sys; from pathlib import Path; from hpcpgd.kernels.core.kernel_files import DISK; "
        "DISK.write = Path('cache'); DISK.read = [DISK.write]; DISK.write.mkdir(exist_ok=True); "
        "from importlib import import_module; module = import_module(sys.argv[1]); "
        "print(module.add_one(1), DISK.compiled)"
    )
    source = (
        "from hpcpgd.kernels.core.compiled import compiled\n\n"
        "STEP = 1\n\n\n@compiled()\ndef add_one(x):\n    return x + STEP\n"
    )
    env = environment(PYTHONPATH=str(ROOT))
    seen: list[tuple[str, list[str]]] = []
    for folder, text in (("a", source), ("a", source), ("b", source), ("b", source + "# new\n")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "module.py").write_text(text)
        done = python("-c", program, f"{folder}.module", env=env, cwd=tmp_path)
        if folder == "a" and len(seen) == 1:
            shutil.rmtree(tmp_path / "a")
        seen.append((done.err, done.out.split()))
    assert seen == [("", ["2", "1"]), ("", ["2", "0"]), ("", ["2", "1"]), ("", ["2", "1"])]


def test_folder_is_named_after_the_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = jit_cache.choose()
    assert Path(found.shared).is_relative_to(tmp_path)
    assert Path(found.shared).name == jit_cache.sources_hash()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    shared = str(tmp_path / "mine" / jit_cache.sources_hash())
    assert jit_cache.choose() == jit_cache.Folders(shared, True, shared, "")


def test_private_folder_where_none_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder, even for root")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked / "cache"))
    found = jit_cache.choose()
    assert (found.read, found.reason) == (False, "Not a directory")
    assert stat.S_IMODE(Path(found.write).stat().st_mode) == 0o700


def test_code_that_others_may_have_written_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    folder = Path(jit_cache.choose().shared)
    assert stat.S_IMODE(folder.stat().st_mode) & 0o022 == 0
    folder.chmod(0o777)
    found = jit_cache.choose()
    assert (found.read, found.reason) == (False, "can be written by other users")


def test_a_filled_folder_that_takes_nothing_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*arguments: Any, **more: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    found = jit_cache.choose()
    assert (found.read, found.reason) == (True, "No space left on device")
    assert found.write != found.shared
    disk = KernelDisk()
    monkeypatch.setattr(jit_cache, "DISK", disk)
    jit_cache.use(found)
    assert [*map(str, disk.read)] == [found.shared, found.write]
    assert jit_cache.notice() == ""  # as long as nothing had to be compiled
    disk.compiled = 1
    assert "for this job alone" in jit_cache.notice()


def copied_cache(tmp_path: Path) -> Path:
    """Return a copy of the cached kernels that the tests share, so that few are compiled."""
    source = jit_cache.shared_folder()
    assert source is not None
    target = tmp_path / "cache" / source.name
    shutil.copytree(source, target)
    return target


def test_training_without_a_usable_cache(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    env = environment(NUMBA_CACHE_DIR=str(blocked / "cache"), TMPDIR=str(tmp_path))
    done = python(*TRAIN, "--epochs", "1", "--output", "run.h5", ranks=3, env=env, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("for this job alone") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "run.checkpoints", "run.h5"]


@pytest.mark.parametrize("threads", [1, 2])
def test_damaged_kernels_are_compiled_anew(threads: int, tmp_path: Path) -> None:
    """Also kernels that other threads run: their errors would be lost."""
    cache = copied_cache(tmp_path)
    env = environment(NUMBA_CACHE_DIR=str(cache.parent))
    arguments = ("--epochs", "1", "--overwrite", "--output", "r.h5", "--threads", str(threads))
    assert python(*TRAIN, *arguments, env=env, cwd=tmp_path).code == 0
    whole = [*cache.glob("*.kernel")]  # not CuPy's folder
    for number, file in enumerate(whole):
        content = file.read_bytes()
        cut = content[: len(content) // 2 * (number % 3)]  # nothing, half
        flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        file.write_bytes(flipped if number % 3 == 2 else cut)
    done = python(*TRAIN, *arguments, ranks=2, env=env, cwd=tmp_path).good()
    assert "a damaged kernel was compiled anew" in done.out
    done = python(*TRAIN, *arguments, ranks=2, env=env, cwd=tmp_path).good()
    assert "damaged" not in done.out


# Of one data type, as the kernels of each are the same sources; runs of one number of ranks share
# a job.
DTYPE = ("--dtype", "float32")
RUNS = (
    (1, ("--threads", "2")),
    (2, ("--reduction", "shared")),
    (2, ("--reduction", "overlap")),
    (3, ("--reduction", "reproducible", "--group-size", "2")),
    (1, ("--backend", "loops", "--threads", "2")),
    (2, ("--backend", "loops", "--reduction", "reproducible")),
    (1, ("--backend", "gemv")),
    (1, ("--backend", "gemv", "--optimizer", "nesterov", "--clip-norm", "1")),
    (2, ("--dataset", "synthetic:64x20x3")),
)


@pytest.mark.long(reason="compiles everything; which kernels runs share is tested above")
def test_a_cache_filled_in_advance_has_all_that_runs_need(tmp_path: Path) -> None:
    shared = jit_cache.shared_folder()
    assert shared is not None
    # An empty folder: kernels of other tests would hide what is missing.
    cache = tmp_path / "cache" / shared.name
    env = environment(NUMBA_CACHE_DIR=str(cache.parent))
    python("-m", "hpcpgd.compile", *DTYPE, ranks=2, env=env, cwd=tmp_path, timeout=280).good()
    filled = files(cache)
    cases = {}
    for number, (ranks, flags) in enumerate(RUNS):
        words = ("train", *DTYPE, *flags, "--epochs", "1", "--output", f"{number}.h5")
        cases[f"{ranks} {flags}"] = Case(words, str(tmp_path), ranks)
    for name, done in together(cases, NUMBA_CACHE_DIR=str(cache.parent)).items():
        assert (done.code, done.err) == (0, ""), name
    assert files(cache) == filled


def test_all_backends_and_data_types_are_filled() -> None:
    assert {
        (v.backend, v.dtype) for v in compiling.variants(compiling.COMPILED, compiling.DTYPES)
    } == {
        *(
            (backend, dtype)
            for backend in ("gemm", "loops", "gemv")
            for dtype in ("float32", "float64")
        ),
        ("reference", "float64"),
    }


def test_a_kernel_under_the_name_of_another_is_not_loaded(disk: KernelDisk) -> None:
    disk.publish("a", b"machine code of a")
    assert disk.write is not None
    (disk.write / f"a.0{SUFFIX}").rename(disk.write / f"b.0{SUFFIX}")
    assert disk.load("b") is None
    assert [path.name for path in disk.damaged] == [f"b.0{SUFFIX}"]


@pytest.mark.parametrize("value", ["0", "many"])
def test_variables_that_numba_refuses(value: str, tmp_path: Path) -> None:
    done = python(*TRAIN, ranks=2, env=environment(NUMBA_NUM_THREADS=value), cwd=tmp_path)
    done.one_line(69, "numba does not take what NUMBA_NUM_THREADS says")


def test_filling_a_folder_that_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env = environment(NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache"), TMPDIR=str(tmp_path))
    python("-m", "hpcpgd.compile", ranks=2, env=env, cwd=tmp_path).one_line(74, "Not a directory")


@pytest.mark.parametrize("flag", ["--backend", "--dtype"])
def test_filling_with_what_is_unknown(flag: str, tmp_path: Path) -> None:
    python("-m", "hpcpgd.compile", flag, "gem", cwd=tmp_path).one_line(2)


def test_a_compiled_function_in_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views made in linked code see the caller's memory."""
    from hpcpgd.kernels.core.views import matrix_at

    monkeypatch.setattr("hpcpgd.kernels.core.compiled.DISK", KernelDisk([tmp_path], tmp_path))

    @compiled()
    def mark(flat: Any) -> Any:
        view = matrix_at(flat, 2, 3, 4)
        view[1, 2] = 7
        some = view[1:, 1:3]
        some[1, 0] = 8
        return view.size + some.shape[0]

    flat = np.zeros(20)
    assert mark(flat) == 14
    expected = np.zeros(20)
    expected[2:14].reshape(3, 4)[1, 2] = 7
    expected[2:14].reshape(3, 4)[2, 1] = 8
    np.testing.assert_array_equal(flat, expected)


@pytest.mark.long(reason="40 processes that compile; publishing and loading are tested alone above")
def test_jobs_and_processes_that_start_together(tmp_path: Path) -> None:
    """A few trials of the check, which kills some; and proof that it can fail."""
    words = ("--quick", "--only", "rounds", "--output", str(tmp_path / "found.json"))
    script("check_kernel_cache", *words, timeout=200).good()
    found = json.loads((tmp_path / "found.json").read_text())["kinds"]["rounds"]
    assert (found["trials"], found["compiled"]) == (5, 15)
    broken = (
        "import sys; from scripts import check_kernel_cache as check; "
        "from hpcpgd.kernels.core import kernel_files; "
        # Half a file, at once in its place.
        "kernel_files._place = lambda temporary, folder, name: "
        "(folder / f'{name}.0{kernel_files.SUFFIX}').write_bytes(temporary.read_bytes()[:100]); "
        "sys.exit(check.main(sys.argv[1:]))"
    )
    done = python("-c", broken, *words, cwd=ROOT, timeout=200).ended(1)
    assert "is damaged" in done.err
