"""On a virtual SLURM: jobs that come to their time limit, nodes that die."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py

from hpcpgd.cli.launcher import without_launcher
from hpcpgd.errors import UnavailableError
from tests.faults.jobs import launch, told
from tests.faults.kind import Kind, Trial
from tests.helpers.support import ROOT

SCRIPT = str(ROOT / "scripts" / "slurm_cluster.sh")
PATIENCE = 1200.0  # seconds of a job with all its starts
LIMIT, NOTICE = 60, 15  # seconds of a start, and of the signal before its end
MORE = 40  # seconds of training beyond two starts
# Seconds to minutes of training on two cores, with a checkpoint every few seconds.
LONG = (
    "--dataset", "synthetic:6000x256x10", "--hidden", "512", "--batch-size", "64",
    "--learning-rate", "0.1", "--reduction", "reproducible", "--checkpoint-every", "3s",
    "--threads", "1", "--quiet",
)  # fmt: skip
STUDY = """
[study]
kind = "strong"
repeats = 3
time_limit = "2min"
[grid]
ranks = [1, 2]
batch_size = [32, 64]
[train]
dataset = "synthetic:6000x256x10"
hidden = [512]
epochs = 6
threads = 1
reduction = "allreduce"
"""
SITE = """
[site]
partition = "virtual"
mpi = "pmi2"
cpu_bind = "none"
cores_per_node = 2
at_once = 1
"""


class Cluster:
    """A virtual SLURM with a folder and ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cluster"
        with socket.socket() as any_port:
            any_port.bind(("127.0.0.1", 0))
            port = any_port.getsockname()[1] % 9000 + 20000
        beside = Path(sys.executable).parent
        self.environ = {
            **without_launcher(os.environ),
            "HPCPGD_SLURM_DIR": str(self.folder), "HPCPGD_SLURM_PORT": str(port),
            "SLURM_CONF": str(self.folder / "slurm.conf"), "PYTHONPATH": str(ROOT),
            "PATH": f"{beside}:{os.environ['PATH']}:/usr/sbin:/sbin",
        }  # fmt: skip

    def call(self, *words: str, folder: Path | None = None) -> str:
        """Run a command and return what it printed."""
        done = subprocess.run(
            words, env=self.environ, cwd=folder, capture_output=True, text=True, timeout=PATIENCE,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise UnavailableError(f"{' '.join(words[:2])}: {(done.stderr or done.stdout).strip()}")
        return done.stdout.strip()

    def empty(self) -> bool:
        """Return whether no job waits or runs."""
        return not self.call("squeue", "--noheader", "--all")

    def busy(self) -> list[str]:
        """Return the nodes that jobs run on."""
        lists = self.call("squeue", "--noheader", "--states=running", "--format=%N").split()
        return self.call("scontrol", "show", "hostnames", ",".join(lists)).split()

    def kill_node(self, node: str) -> int:
        """Kill all that runs on a node; return how many of its processes were ours.

        Its daemons go first: a node that is dead does not report how its jobs ended.
        """
        daemon = int((self.folder / f"slurmd-{node}.pid").read_text())
        mine = [process for process in Path("/proc").glob("[0-9]*") if self._is_on(node, process)]
        steps = {_parent(process) for process in mine if _name(_parent(process)) == "slurmstepd"}
        ours = sum("hpcpgd" in _words(process) for process in mine)
        for what in (signal.SIGSTOP, signal.SIGKILL):  # none sees another die
            for number in [daemon, *steps, *(int(process.name) for process in mine)]:
                with suppress(ProcessLookupError):
                    os.kill(number, what)
        return ours

    def _is_on(self, node: str, process: Path) -> bool:
        with suppress(OSError):
            words = (process / "environ").read_bytes().split(b"\0")
            here = f"SLURM_CONF={self.folder / 'slurm.conf'}".encode() in words
            return here and f"SLURMD_NODENAME={node}".encode() in words
        return False


def _parent(process: Path) -> int:
    with suppress(OSError):
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _name(number: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{number}/comm").read_text().strip()
    return ""


def _words(process: Path) -> str:
    with suppress(OSError):
        return (process / "cmdline").read_text(errors="replace")
    return ""


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Start a cluster, and stop it in the end."""
    cluster = Cluster(folder)
    cluster.call(SCRIPT, "start")
    try:
        yield cluster
    finally:
        cluster.call(SCRIPT, "stop")


def limit_trial(trial: Trial, cluster: Cluster) -> str:
    """Let a job come to its time limit at least twice; its bits must be those of one start."""
    words = [*LONG, "--epochs", _epochs(trial.folder, 2 * (LIMIT - NOTICE) + MORE)]
    limits = (f"--time={LIMIT // 60}", f"--signal=USR1@{NOTICE}")
    job = _submit(cluster, trial.folder, words, *limits)
    _until(cluster.empty, PATIENCE)
    output = trial.folder / "slurm" / f"hpcpgd-{job}.h5"
    with h5py.File(output) as file:
        starts, status = len(file["segments/ranks"]), str(file.attrs["status"])
    if status != "complete" or starts < 3:
        return f"time limit: {starts} starts, {status}"
    return _compare(trial.folder, words, output)


def _epochs(folder: Path, seconds: float) -> str:
    """Return how many epochs take about so long here."""
    output = folder / "pace.h5"
    python = [sys.executable, "-m", "hpcpgd.train", *LONG, "--epochs", "50"]
    launch(["-n", "2", *python, "--output", str(output)]).wait(PATIENCE)
    with h5py.File(output) as file:
        return str(round(50 * seconds / float(file["history/epoch_seconds"][...].sum())))


def node_trial(trial: Trial, cluster: Cluster) -> str:
    """Let a node die under a training; the job must go on elsewhere to the same bits."""
    words = [*LONG, "--epochs", "80"]
    job = _submit(cluster, trial.folder, words, "--nodes=2", "--ntasks-per-node=1", "--time=10")
    output = trial.folder / "slurm" / f"hpcpgd-{job}.h5"
    folder = output.with_suffix(".checkpoints")
    _until(lambda: any(folder.glob("*.ckpt.h5")), PATIENCE)
    node = _busy_node(trial, cluster)
    ranks = cluster.kill_node(node)
    _until(cluster.empty, PATIENCE)
    with h5py.File(output) as file:
        starts, status = len(file["segments/ranks"]), str(file.attrs["status"])
    if not ranks or status != "complete" or starts != 2:
        return f"{node} dead with {ranks} ranks: {starts} starts, {status}"
    return _compare(trial.folder, words, output)


def study_trial(trial: Trial, cluster: Cluster) -> str:
    """Let a node die under a study, which must then finish."""
    (trial.folder / "s.toml").write_text(STUDY)
    (trial.folder / "site.toml").write_text(SITE)
    study = [sys.executable, "-m", "hpcpgd.study"]
    cluster.call(*study, "submit", "s.toml", "--site", "site.toml", folder=trial.folder)
    runs = trial.folder / "hpcpgd-study-s" / "runs"
    _until(lambda: len(list(runs.glob("[!.]*.h5"))) >= 2, PATIENCE)
    node = _busy_node(trial, cluster)
    ranks = cluster.kill_node(node)
    _until(cluster.empty, PATIENCE)
    done = len(list(runs.glob("[!.]*.h5")))  # a dead attempt's file begins with a dot
    whole = (runs.parent / "study.h5").exists()
    return "" if done == 12 and whole else f"{node} dead with {ranks} ranks: {done} of 12 runs"


def _busy_node(trial: Trial, cluster: Cluster) -> str:
    """Return a node that a job runs on; between two jobs there is none."""
    seen: list[str] = []

    def look() -> bool:
        seen[:] = cluster.busy()
        return bool(seen)

    _until(look, PATIENCE)
    return trial.draw.choice(seen)


def _submit(cluster: Cluster, folder: Path, words: list[str], *options: str) -> str:
    """Give a training of two ranks to sbatch, by the script that we ship; return its number."""
    shutil.copytree(ROOT / "slurm", folder / "slurm")
    always = ("--parsable", "--ntasks=2", "--export=ALL,MPI=pmi2")
    command = ["sbatch", *always, *options, "train.sbatch", *words]
    return cluster.call(*command, folder=folder / "slurm")


def _compare(folder: Path, words: list[str], output: Path) -> str:
    """Compare a run with one that nothing disturbed."""
    whole = folder / "whole.h5"
    python = [sys.executable, "-m", "hpcpgd.train", *words, "--output", str(whole)]
    launch(["-n", "2", *python]).wait(PATIENCE)
    return "" if told(output) == told(whole) else "other bits"


def _until(happened: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"it did not happen in {seconds:.0f} s")
        time.sleep(0.5)


TRIALS = (limit_trial, node_trial, study_trial)


def slurm_trial(trial: Trial) -> str:
    """Make one of ``TRIALS`` on a cluster of its own."""
    with running(trial.folder) as cluster:
        try:
            return TRIALS[trial.number % len(TRIALS)](trial, cluster)
        except (TimeoutError, UnavailableError) as error:
            queue = cluster.call("squeue", "--all")
            return f"{TRIALS[trial.number % len(TRIALS)].__name__}: {error}: {queue[-300:]}"


# The tests on a virtual SLURM have shorter ones.
SLURM = Kind(len(TRIALS), 0, slurm_trial)
