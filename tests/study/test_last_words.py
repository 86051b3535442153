"""The one line that is picked from the output of a program and its launcher."""

from __future__ import annotations

import pytest

from hpcpgd.doctor import launcher_check
from hpcpgd.study.last_words import LONGEST, cure, reason

RULE = "-" * 74 + "\n"
AS_ROOT = f"""prterun has detected an attempt to run as root.

Running as root is *strongly* discouraged as any mistake (e.g., in
defining TMPDIR) or bug can result in catastrophic damage to the OS
file system, leaving your system in an unusable state.

We strongly suggest that you run prterun as a non-root user.

You can override this protection by adding the --allow-run-as-root
option to your command line.  However, we reiterate our strong advice
against doing so - please do so at your own risk.
{RULE}"""
SLOTS = f"""{RULE}There are not enough slots available in the system to satisfy the 8
slots that were requested by the application:

  python

Either request fewer procs for your application, or make more slots
available for use.
{RULE}"""


def test_all_that_stands_in_a_launcher_s_box() -> None:
    told = reason(AS_ROOT)
    assert told.startswith("prterun has detected an attempt to run as root. Running as root is")
    assert "--allow-run-as-root option to your command line." in told
    told = reason(SLOTS)
    assert told.startswith("There are not enough slots available in the system to satisfy the 8")
    assert "python Either request fewer procs" in told
    assert reason(f"something before\n{SLOTS}") == told
    assert reason(f"{RULE}{'word ' * 500}\n{RULE}") == ("word " * 500)[:LONGEST]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", ""),
        (RULE, ""),
        ("one\ntwo\n", "two"),
        ("srun: error: n1\nsrun: Terminating\n", "srun: error: n1"),
        (f"hpcpgd train: error: bad\n{SLOTS}", "hpcpgd train: error: bad"),
        ("hpcpgd: internal error on rank 1 of 2\nTraceback:\n  File x\nKeyError: 'a'\nAbort(70)\n",
         "hpcpgd: internal error on rank 1 of 2: KeyError: 'a'"),
        ("-----\nThere are not enough slots: error\nuse --oversubscribe\n-----\n",
         "There are not enough slots: error"),
        ("slurmstepd: error: Detected 1 oom_kill event\nsrun: error: n1: task 0: Out Of Memory\n"
         "srun: Terminating StepId=12.0\n", "srun: error: n1: task 0: Out Of Memory"),
        ("=====\n=   BAD TERMINATION\n=   EXIT CODE: 9\n=====\nKilled (signal 9)\n",
         "Killed (signal 9)"),
    ],
)  # fmt: skip
def test_the_line_that_says_why(said: str, told: str) -> None:
    assert reason(said) == told


def test_root_is_told_what_open_mpi_needs() -> None:
    assert cure("killed") == ""
    found = launcher_check.judge_pair("mpiexec", [], reason(AS_ROOT))
    assert "an attempt to run as root" in found.seen
    assert "OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1" in found.cure
