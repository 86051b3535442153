"""MPI library and launcher: whether they fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hpcpgd.cli.launcher import launcher_size, mismatch
from hpcpgd.doctor.finding import Finding, counted, ok, problem, warning
from hpcpgd.doctor.probe import ask
from hpcpgd.errors import ConfigError
from hpcpgd.study.last_words import cure
from hpcpgd.study.launchers import mpiexec_here

SUBJECT = "MPI"
PAIR_SECONDS = 30.0


def judge(library: str, ranks: int, nodes: int, environ: Mapping[str, str]) -> list[Finding]:
    """Say whether the launcher started the ranks and nodes that the MPI library sees."""
    alone = mismatch(ranks, environ)
    if alone is not None:
        text, _, fitting = alone.partition("; ")
        return [problem(SUBJECT, f"{text} ({library})", fitting, ConfigError.exit_code)]
    told = launcher_size(environ)
    said = "" if told is None else ", as the launcher says"
    where = f"{counted(ranks, 'rank')} on {counted(nodes, 'node')}"
    return [ok(SUBJECT, f"{where}{said} ({library})")]


@dataclass(frozen=True)
class Pair:
    """What two ranks saw that the ``mpiexec`` of this machine started.

    Attributes
    ----------
    mpiexec : str
        "" if there is none.
    sizes : tuple of str
        The MPI world's size, as each rank sees it.
    trouble : str
    """

    mpiexec: str
    sizes: tuple[str, ...] = ()
    trouble: str = ""


def try_pair() -> Pair:
    """Start two ranks with the ``mpiexec`` beside this Python, else with that in PATH."""
    found = mpiexec_here()
    if found is None:
        return Pair("")
    pair = (found, "-n", "2")
    out, trouble = ask("hpcpgd.doctor.print_world_size", seconds=PAIR_SECONDS, launcher=pair)
    # Two ranks that write at once may come without the line's end between them.
    return Pair(found, tuple(re.findall("size=([0-9]+)", out)), trouble)


def judge_pair(seen: Pair) -> list[Finding]:
    """Say whether that ``mpiexec`` starts ranks that see each other."""
    if not seen.mpiexec:
        load = "load the site's MPI module, or pip install 'hpcpgd[mpich]', to start several ranks"
        return [warning("mpiexec", "none beside Python or in PATH", load)]
    if seen.sizes == ("2", "2") and not seen.trouble:
        return [ok("mpiexec", f"two ranks of {seen.mpiexec} see each other")]
    if seen.sizes == ("1", "1"):
        text = f"two ranks of {seen.mpiexec} are each alone: it is not of mpi4py's MPI library"
        other = "use the mpiexec of that library: the site's MPI module, or that beside Python"
        return [warning("mpiexec", text, other)]
    text = f"{seen.mpiexec} -n 2 does not work here: {seen.trouble or ' '.join(seen.sizes)}"
    known = cure(seen.trouble)
    return [warning("mpiexec", text, known or "start ranks as the site says, or by srun")]
