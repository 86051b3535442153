"""Where compiled kernels go: the cache, a private folder without one, and for all ranks."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hpcpgd import jitcache
from tests.support import TRAIN, environment, python


def test_folder_is_named_after_the_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = jitcache.choose_folder()
    assert folder.is_relative_to(tmp_path)
    assert folder.name == jitcache.sources_hash()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    assert jitcache.choose_folder() == tmp_path / "mine" / jitcache.sources_hash()


def test_private_folder_where_none_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder, even for root")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked / "cache"))
    folder = jitcache.choose_folder()
    assert folder.is_dir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_training_without_a_usable_cache(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    env = environment(NUMBA_CACHE_DIR=str(blocked / "cache"), TMPDIR=str(tmp_path))
    done = python(*TRAIN, "--epochs", "1", "--output", "run.h5", ranks=3, env=env, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("no cache folder can be written") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "run.h5"]
