"""``python -m hpcpgd.doctor``: report what is wrong or slow here, and what to do about it."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hpcpgd.cli.launcher import guarded, launcher_rank, launcher_size, let_speak, ranks_here
from hpcpgd.cli.parser import OneLineParser
from hpcpgd.doctor import kept_rates, limits, shared_memory
from hpcpgd.doctor.finding import problem
from hpcpgd.doctor.guardian import Guardian, Stage
from hpcpgd.doctor.report import Report
from hpcpgd.errors import UnavailableError, UsageError
from hpcpgd.parallel.startup import Endings
from hpcpgd.version import __version__

PROGRAM = "hpcpgd doctor"
DESCRIPTION = """Report what is wrong or slow about this installation and this job, and what to do.
Run it as you run train: alone, under mpirun or under srun.  Each line is a finding: ok, a
warning (something is slow or in doubt) or a problem (training cannot work)."""
EPILOG = """Exit code: 0 without a problem, else the code of the first problem, with which train
would end: 69 MPI, BLAS, memory or a folder for kernels is unavailable, 70 kernels cannot be
compiled, 74 the folder cannot be written, 78 MPI and launcher do not fit.  With --kit: 1 if a step
failed.  With --reference: 1 if a rate is too low, or if rates were not kept, as others used the
cores or the rates were not steady; 65 if FILE is damaged or cannot be read;
74 if it cannot be written; 78 if it was made on another processor or with other numbers of ranks or
threads.  If a check kills or stops the process, a line says so; with --json it is the last finding
of a document whose exit_code is null.  The exit code is then that of the system or the launcher.
An error that ends the checks is in the document, too."""
START_SECONDS = 180.0  # loading Python and MPI on many nodes may take minutes
TRANSPORTS = "UCX_TLS=self,sm,tcp (MPICH), FI_PROVIDER=tcp (Intel MPI), OMPI_MCA_pml=ob1 (Open MPI)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hpcpgd doctor`` and return its exit code.  Collective over all ranks."""

    def run() -> int:
        options = _parse(sys.argv[1:] if argv is None else argv)
        if options.kit is not None:
            from hpcpgd.doctor.kit.first_contact import make

            return make(options.kit, options.folder, options.launcher, options.with_names)
        report = Report(launcher_rank() == 0, options.json)
        if options.reference is not None and "one process" in _ranks():
            with report.documented():  # if the file is refused; several ranks agree on that by MPI
                kept_rates.read(options.reference)
        text = f"hpcpgd {__version__} on {socket.gethostname()}, {_ranks()}"
        report.say(f"{text}: this takes about 10 s on an idle node, more if loops must be compiled")
        with Guardian(report) as guardian:
            report.on_findings = guardian.learn
            return _examine(report, guardian, options)

    return guarded(PROGRAM, run)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = OneLineParser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    text = "the folder that runs will be written to (default: this folder)"
    parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help=text)
    text = "print one JSON document in place of lines: the findings, and the rates of each node"
    parser.add_argument("--json", action="store_true", help=text)
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="write the rates of this node to FILE if there is no such file; else compare with it, "
        "and exit with 1 if a rate is lower by more than --tolerance",
    )
    text = "with --reference: in percent (default: 10)"
    parser.add_argument("--tolerance", type=_percent, metavar="PERCENT", help=text)
    parser.add_argument(
        "--kit",
        type=Path,
        metavar="DIR",
        help="make a folder and DIR.tar.gz to attach to a question: findings of the doctor, "
        "Allreduce times, a comparison of bits and a small scaling study on 1, 2 and 4 nodes of "
        "the job, in at most 15 minutes; start it without mpiexec or srun",
    )
    text = "with --kit: the launcher, such as 'srun --mpi=pmi2' (default: mpiexec of this Python)"
    parser.add_argument("--launcher", metavar="COMMAND", help=text)
    text = "with --kit: do not replace names of users and nodes, nor paths"
    parser.add_argument("--with-names", action="store_true", help=text)
    options = parser.parse_args(argv)
    if options.kit is None and (options.launcher is not None or options.with_names):
        raise UsageError("--launcher and --with-names go with --kit DIR only")
    if options.kit is not None and (options.json or options.reference is not None):
        raise UsageError("--json and --reference do not go with --kit DIR, which makes text files")
    if options.reference is None and options.tolerance is not None:
        raise UsageError("--tolerance goes with --reference FILE only")
    return options


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 100:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to below 100, got {text!r}")
    return value


def _ranks() -> str:
    size = launcher_size()
    return f"started as {size[1]} ranks" if size and size[1] > 1 else "one process"


def _examine(report: Report, guardian: Guardian, options: argparse.Namespace) -> int:
    """Check what may kill MPI, start MPI, and make the other checks with all ranks."""
    ranks = ranks_here() or 1
    report.add(*limits.judge())
    if report.code:
        report.verdict()
        let_speak(report.speaks)
        return report.code
    memory = shared_memory.observe()
    report.add(*shared_memory.judge(memory, ranks))
    cure = _cure(memory is not None and shared_memory.is_small(memory, ranks))
    guardian.enter(Stage("MPI", START_SECONDS, cure))
    try:
        from hpcpgd.doctor.examine import Asked, examine  # loads MPI, so not before
    except UnavailableError as error:
        seen, _, cure = str(error).rpartition(": ")
        report.add(problem("MPI", seen, cure, error.exit_code))
        report.verdict()
        let_speak(report.speaks)
        return report.code
    tolerance = 10.0 if options.tolerance is None else options.tolerance
    asked = Asked(options.folder, options.reference, tolerance / 100)
    return examine(report, guardian, asked, _Endings(report, guardian, cure))


def _cure(small: bool) -> str:
    """Return what may help if MPI does not start; ``small``: too little shared memory."""
    cures = ["enlarge /dev/shm, see the line on shared memory"] if small else []
    if "one process" in _ranks():
        cures.append(f"try another of its transports: {TRANSPORTS}; or another MPI library")
    else:
        cures.append(
            "check that every rank starts; under srun try --mpi=pmi2 (MPICH) or --mpi=pmix "
            "(Open MPI), else the mpirun of mpi4py's MPI library"
        )
    return f"MPI_Init did not return: {'; '.join(cures)}"


class _Endings(Endings):
    """How the doctor ends if MPI does not start: with a finding."""

    def __init__(self, report: Report, guardian: Guardian, cure: str) -> None:
        super().__init__(PROGRAM)
        self._report, self._guardian, self._cure = report, guardian, cure

    def at_signal(self, code: int) -> None:
        self._guardian.dismiss()
        super().at_signal(code)

    def at_failure(self) -> NoReturn:
        self._guardian.dismiss()
        seen, code = "MPI_Init fails with the message above", UnavailableError.exit_code
        self._report.add(problem("MPI", seen, self._cure, code))
        self._report.verdict()
        let_speak(self._report.speaks)
        os._exit(code)
