"""The command line that continues a stopped run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence


def command(
    words: Sequence[str], ranks: int, resume: str, environ: Mapping[str, str] = os.environ
) -> str:
    """Return a whole command line, ready for a shell.

    Parameters
    ----------
    words : sequence of str
        The arguments after ``hpcpgd train``.
    resume : str
        The new value of ``--resume``; "" leaves the arguments as they are.
    environ : mapping
        Shows whether ``srun`` has started the ranks.
    """
    start: list[str] = []
    if ranks > 1:
        by_srun = environ.get("SLURM_STEP_NUM_TASKS") == str(ranks)
        start = ["srun" if by_srun else "mpiexec", "-n", str(ranks)]
    more = ["--resume", resume] if resume else []
    kept = _without(words, "--resume") if resume else words
    return shlex.join([*start, "python", "-m", "hpcpgd.train", *kept, *more])


def _without(words: Sequence[str], flag: str) -> list[str]:
    """Return a command line's words without a flag and its value."""
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word != flag and not word.startswith(f"{flag}="):
            kept.append(word)
        skip = word == flag and not skip
    return kept
