"""Ranks whose configuration, program or machine differs are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.support import ROOT, environment, python

CODE = (
    "from hpcpgd.train.same_on_all_ranks import program_facts; print(program_facts(None)['hpcpgd'])"
)


@pytest.mark.parametrize("changed", ["hpcpgd/train/job.py", "kernels/core/partition.py"])
def test_a_changed_source_is_another_program(changed: str, tmp_path: Path) -> None:
    for name in ("hpcpgd", "kernels"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True)
    env = environment(PYTHONPATH=str(tmp_path))
    before = python("-c", CODE, env=env, cwd=tmp_path)
    (tmp_path / changed).write_text((tmp_path / changed).read_text() + "\n")
    after = python("-c", CODE, env=env, cwd=tmp_path)
    assert before.out.startswith("0.1.0 with sources ")
    assert before.out != after.out
