"""Whether MPI library and launcher fit."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hpcpgd.cli.launcher import launcher_size, mismatch
from hpcpgd.doctor.finding import Finding, counted, ok, problem, warning
from hpcpgd.doctor.probe import ask
from hpcpgd.errors import ConfigError
from hpcpgd.study.last_words import cure
from hpcpgd.study.launchers import mpiexec_here

SUBJECT = "MPI"
PAIR_SECONDS = 30.0


def judge(library: str, ranks: int, nodes: int, environ: Mapping[str, str]) -> list[Finding]:
    """Judge whether the MPI library sees as many ranks as the launcher started."""
    alone = mismatch(ranks, environ)
    if alone is not None:
        text, _, fitting = alone.partition("; ")
        return [problem(SUBJECT, f"{text} ({library})", fitting, ConfigError.exit_code)]
    size = launcher_size(environ)
    source = "" if size is None else ", as the launcher says"
    where = f"{counted(ranks, 'rank')} on {counted(nodes, 'node')}"
    return [ok(SUBJECT, f"{where}{source} ({library})")]


def try_pair() -> list[Finding]:
    """Judge whether the ``mpiexec`` of this machine starts two ranks that see each other."""
    mpiexec = mpiexec_here()
    if mpiexec is None:
        load = "load the site's MPI module, or pip install 'hpcpgd[mpich]', to start several ranks"
        return [warning("mpiexec", "none beside Python or in PATH", load)]
    pair = (mpiexec, "-n", "2")
    out, trouble = ask("hpcpgd.doctor.print_world_size", seconds=PAIR_SECONDS, launcher=pair)
    # If two ranks write at once, the line end between their outputs may be missing.
    return [judge_pair(mpiexec, re.findall("size=([0-9]+)", out), trouble)]


def judge_pair(mpiexec: str, sizes: list[str], trouble: str) -> Finding:
    """Judge whether two ranks of ``mpiexec`` see each other.

    ``sizes`` has the size of the MPI world that each rank sees; ``trouble`` says what went wrong.
    """
    if sizes == ["2", "2"] and not trouble:
        return ok("mpiexec", f"two ranks of {mpiexec} see each other")
    if sizes == ["1", "1"]:
        text = f"two ranks of {mpiexec} are each alone: it does not belong to mpi4py's MPI library"
        other = "use that library's mpiexec: of the site's MPI module, or the one beside Python"
        return warning("mpiexec", text, other)
    text = f"{mpiexec} -n 2 does not work here: {trouble or ' '.join(sizes)}"
    known = cure(trouble)
    return warning("mpiexec", text, known or "start ranks as the site documents it, or with srun")
