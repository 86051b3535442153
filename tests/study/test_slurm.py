"""On a real SLURM: the four virtual nodes of scripts/slurm_cluster.sh."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from tests.doctor.test_kit import SMALL, Made
from tests.helpers.support import ROOT, Done, physical_cores, run
from tests.helpers.virtual_slurm import SCRIPT, SRUN, TRAIN, Cluster, typed, until

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.long(
        reason="minutes on a virtual cluster; test_slurm_script.py has the scripts and the parsing"
    ),
]

STUDY = """
[study]
kind = "strong"
repeats = 2
time_limit = "2min"
[grid]
ranks = [1, 2]
[train]
dataset = "synthetic:600x16x4"
hidden = [8]
epochs = 2
threads = 1
reduction = "allreduce"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = Cluster(tmp_path_factory.mktemp("slurm") / "c")
    done = found.call(SCRIPT, "start", timeout=90).ended(0)
    assert done.out == f"export SLURM_CONF={found.folder}/slurm.conf\n"
    yield found
    done = found.call(SCRIPT, "stop", timeout=90)
    assert (done.code, done.out) == (0, "stopped\n"), done.err
    assert not found.folder.exists()
    left = subprocess.run(["pgrep", "-f", str(found.folder)], capture_output=True, text=True)
    assert left.stdout == ""


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    text = (ROOT / "slurm/sites/local.toml").read_text()
    path.write_text(text.replace("/tmp/hpcpgd-slurm", str(cluster.folder)))
    (tmp_path / "s.toml").write_text(STUDY)
    return path


def attributes(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return dict(file.attrs)


def test_a_second_cluster_in_the_same_folder_is_refused(cluster: Cluster) -> None:
    cluster.call(SCRIPT, "start").one_line(73, "exists: a cluster runs")
    assert cluster.call(SCRIPT, "status").out.count("idle") == 1
    assert cluster.call(SCRIPT, "restart").code == 2


@pytest.mark.parametrize(
    ("nodes", "launcher"), [(1, SRUN), (2, "mpirun"), (4, SRUN), (4, "mpirun")]
)
def test_training_in_a_batch_job(
    cluster: Cluster, nodes: int, launcher: str, tmp_path: Path
) -> None:
    ranks = min(2 * nodes, 4)
    size, body = f"--ntasks={ranks}", f"{launcher} -n {ranks} {TRAIN} r.h5 --epochs 2"
    cluster.wait(cluster.batch(body, tmp_path, size, f"--nodes={nodes}"))
    found = attributes(tmp_path / "r.h5")
    assert (found["status"], found["ranks"], found["nodes"]) == ("complete", ranks, nodes)
    assert (tmp_path / "log").read_text() == ""
    with h5py.File(tmp_path / "r.h5") as file:  # two cores, whatever the nodes say
        crowded = physical_cores() < ranks
        assert bool(file["segments/oversubscribed"][0]) == crowded


@pytest.mark.parametrize("launcher", [SRUN, "mpirun -n 3"])
def test_a_signal_reaches_the_ranks(cluster: Cluster, launcher: str, tmp_path: Path) -> None:
    body = f"{launcher} {TRAIN} r.h5 --epochs 1000000; echo code $?"
    job = cluster.batch(body, tmp_path, "--ntasks=3", "--nodes=2")
    until((tmp_path / "r.h5").exists, 60)
    time.sleep(1)
    assert cluster.call("scancel", "--signal=USR1", job).code == 0
    cluster.wait(job)
    text = (tmp_path / "log").read_text()
    assert text.endswith("code 75\n")
    assert text.count("stopped after") == 1
    assert attributes(tmp_path / "r.h5")["status"] == "stopped"


def test_an_mpi_that_does_not_fit_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    body = f"srun --mpi=none {TRAIN} r.h5; echo code $?"
    cluster.wait(cluster.batch(body, tmp_path, "--ntasks=2", "--nodes=1"))
    text = (tmp_path / "log").read_text()
    assert text.count("hpcpgd train: error:") == 1
    assert "srun --mpi=pmi2 (MPICH) or --mpi=pmix (Open MPI)" in text
    assert text.endswith("code 78\n")


@pytest.mark.parametrize(("interface", "code"), [("pmi2", 0), ("none", 78)])
def test_the_doctor_in_a_job(cluster: Cluster, interface: str, code: int, tmp_path: Path) -> None:
    body = f"srun --mpi={interface} python -m hpcpgd.doctor; echo code $?"
    cluster.wait(cluster.batch(body, tmp_path, "--ntasks=2", "--nodes=2", "--time=10"))
    text = (tmp_path / "log").read_text()
    assert text.endswith(f"code {code}\n")
    assert text.count("verdict: ") == 1
    if code:
        assert text.count("problem  MPI: the launcher started 2 ranks") == 1
    else:
        assert "ok       MPI: 2 ranks on " in text
        assert "ok       SLURM: 2 ranks, as many as tasks; 0 h 0" in text


def test_the_doctor_as_plain_python_in_an_allocation(cluster: Cluster, tmp_path: Path) -> None:
    cluster.wait(cluster.batch("python -m hpcpgd.doctor", tmp_path, "--ntasks=4", "--nodes=2"))
    text = (tmp_path / "log").read_text()
    assert "warning  SLURM: plain python in a job of 4 tasks is one rank" in text
    assert "-> start it with srun --mpi=" in text


@pytest.mark.parametrize("interface", ["none", "pmi2"])
def test_a_shell_within_a_step_is_no_rank_of_it(
    cluster: Cluster, interface: str, tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text(STUDY.replace("repeats = 2", "repeats = 1"))
    shell = f"srun --ntasks=4 --overcommit --mpi={interface} --pty bash --norc -i"
    seen = typed(
        cluster, tmp_path, shell,
        f"{TRAIN} r.h5 --epochs 1; echo train $?",
        "python -m hpcpgd.study run s.toml; echo study $?",
        f"srun --overlap --overcommit --ntasks=2 --mpi=pmi2 {TRAIN} two.h5 --epochs 1; echo two $?",
        "python -m hpcpgd.doctor | grep SLURM",
    )  # fmt: skip
    assert [word in seen for word in ("train 0", "study 0", "two 0")] == [True] * 3, seen
    assert attributes(tmp_path / "r.h5")["ranks"] == 1
    assert attributes(tmp_path / "two.h5")["ranks"] == 2
    assert "-> start it with srun --overlap --ntasks=4 --mpi=pmi2 python -m hpcpgd.doctor" in seen


def test_ranks_that_a_step_with_a_terminal_starts(cluster: Cluster, tmp_path: Path) -> None:
    typed(cluster, tmp_path, f"srun --ntasks=2 --mpi=pmi2 --pty {TRAIN} r.h5 --epochs 1")
    assert attributes(tmp_path / "r.h5")["ranks"] == 2


def test_plain_python_in_an_allocation_is_one_rank(cluster: Cluster, tmp_path: Path) -> None:
    body = f"{TRAIN} r.h5 --epochs 1"
    cluster.wait(cluster.batch(body, tmp_path, "--ntasks=4", "--nodes=2"))
    assert attributes(tmp_path / "r.h5")["ranks"] == 1


def test_a_study_from_submission_to_figures(cluster: Cluster, site: Path, tmp_path: Path) -> None:
    done = cluster.study("submit", tmp_path, "--site", str(site), "--wait").ended(0)
    assert "4 of 4 runs submitted" in done.out
    assert "4 runs: 4 done" in done.out
    folder = tmp_path / "hpcpgd-study-s"
    assert {"scaling.png", "scaling.pdf"} <= {p.name for p in (folder / "figures").iterdir()}
    with h5py.File(folder / "study.h5") as file:
        assert sorted(file["runs/ranks"][...].tolist()) == [1, 1, 2, 2]
        assert set(file["runs/status"].asstr()) == {"complete"}
        assert file.attrs["name"] == "s"

    assert "0 of 4 runs submitted" in cluster.study("submit", tmp_path, "--site", str(site)).out
    assert cluster.call("squeue", "-h").out == ""
    next((folder / "runs").glob("*r2*-001.h5")).unlink()
    status = cluster.study("status", tmp_path)
    assert (status.code, "3 done, 1 missing" in status.out) == (1, True)
    again = cluster.study("submit", tmp_path, "--site", str(site), "--wait")
    assert (again.code, "1 of 4 runs submitted" in again.out) == (0, True)


def test_a_report_that_was_lost_is_sent_alone(cluster: Cluster, site: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(STUDY.replace("[1, 2]", "[1, 2]\nbatch_size = [50]"))
    assert cluster.study("submit", tmp_path, "--site", str(site), "--wait").code == 0
    (tmp_path / "hpcpgd-study-s" / "study.h5").unlink()
    again = cluster.study("submit", tmp_path, "--site", str(site), "--wait")
    assert (again.code, "0 of 4 runs submitted" in again.out) == (0, True), again.out + again.err
    own = tmp_path / "hpcpgd-study-s" / "slurm"
    cluster.study("submit", tmp_path, "--site", str(own / "site.toml")).ended(0)


def test_a_submission_that_is_ended_leaves_no_job(
    cluster: Cluster, site: Path, tmp_path: Path
) -> None:
    slow = tmp_path / "bin" / "sbatch"  # so that it is ended between two submissions
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\nsleep 1\nexec {shutil.which("sbatch")} "$@"\n')
    slow.chmod(0o755)
    env = {**cluster.env, "PATH": f"{slow.parent}:{cluster.env['PATH']}"}
    command = [sys.executable, "-m", "hpcpgd.study", "submit", "s.toml", "--site", str(site)]
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE)
    until(lambda: cluster.call("squeue", "-h").out or process.poll() is not None, 60)
    process.terminate()
    process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGTERM
    until(lambda: not cluster.call("squeue", "-h").out, 60)


def test_squeue_s_own_settings_hide_nothing(cluster: Cluster, site: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(STUDY.replace("epochs = 2", "epochs = 100000"))
    assert cluster.study("submit", tmp_path, "--site", str(site)).code == 0
    hidden = {**cluster.env, "SQUEUE_STATES": "RUNNING", "LOGNAME": "nobody", "USER": "nobody"}
    words = ["-m", "hpcpgd.study", "submit", "s.toml", "--site", str(site)]
    done = run([sys.executable, *words], 60, hidden, tmp_path)
    assert "0 of 4 runs submitted" in done.out
    _later_submissions_wait(cluster, site, tmp_path)
    cluster.call("scancel", "--user", str(os.getuid()))
    until(lambda: not cluster.call("squeue", "-h").out, 60)


def _later_submissions_wait(cluster: Cluster, site: Path, folder: Path) -> None:
    """The report must know the newest study file, and no two runs share the cores."""
    earlier = set(cluster.call("squeue", "-h", "--format=%F").out.split())
    text = (folder / "s.toml").read_text()
    (folder / "s.toml").write_text(text.replace("[grid]", "[grid]\nseed = [0, 1]"))
    assert "8 of 8 runs" in cluster.study("submit", folder, "--site", str(site)).out
    lines = cluster.call("squeue", "-h", "--format=%F %E").out.splitlines()
    waits = {line.split()[0]: line for line in lines if line.split()[0] not in earlier}
    first, report = min(waits, key=int), max(waits, key=int)
    for job in (first, report):
        assert all(number in waits[job] for number in earlier), lines


def test_what_is_cancelled_is_missing_and_is_sent_again(
    cluster: Cluster, site: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(STUDY.replace("epochs = 2", "epochs = 100000"))
    assert cluster.study("submit", tmp_path, "--site", str(site)).code == 0
    until(lambda: "1 running" in cluster.study("status", tmp_path).out, 60)
    runs = tmp_path / "hpcpgd-study-s" / "runs"
    until(lambda: [*runs.glob(".*running.h5")], 60)  # within the run, not before it
    told = cluster.study("status", tmp_path).out
    assert "3 pending" in told
    assert "JobArrayTaskLimit" in told  # SLURM's reason: one at a time
    assert "0 of 4 runs submitted" in cluster.study("submit", tmp_path, "--site", str(site)).out
    cluster.call("scancel", "--user", subprocess.getoutput("id -un"))
    until(lambda: not cluster.call("squeue", "-h").out, 60)
    status = cluster.study("status", tmp_path)
    assert (status.code, "4 missing" in status.out) == (1, True)
    assert not [*runs.glob("*.failed.json")]
    path.write_text(STUDY)
    done = cluster.study("submit", tmp_path, "--site", str(site), "--wait")
    assert (done.code, "4 of 4 runs submitted" in done.out) == (0, True), done.out


def test_failures_are_told_and_sent_again_on_request(
    cluster: Cluster, site: Path, tmp_path: Path
) -> None:
    text = STUDY.replace("[1, 2]", "[1]").replace("repeats = 2", "repeats = 1")
    text = text.replace("strong", "sweep")
    (tmp_path / "s.toml").write_text(
        text + 'learning_rate = 1e38\noutput_activation = "linear"\nloss = "mse"\n'
    )
    done = cluster.study("submit", tmp_path, "--site", str(site), "--wait").ended(1)
    assert "1 diverged" in done.out
    assert "NaN or Inf" in done.out
    again = cluster.study("submit", tmp_path, "--site", str(site))
    assert "0 of 1 runs submitted" in again.out
    flags = ("--site", str(site), "--retry-failed", "--wait")
    assert "1 of 1 runs submitted" in cluster.study("submit", tmp_path, *flags).out


def test_refused_submissions_leave_no_job(cluster: Cluster, site: Path, tmp_path: Path) -> None:
    good = site.read_text()
    site.write_text(good.replace('partition = "virtual"', 'partition = "nowhere"'))
    submit = ("submit", tmp_path, "--site", str(site))
    cluster.study(*submit).one_line(78, "Invalid partition name")
    site.write_text(good)
    text = STUDY.replace("[1, 2]", "[1, 64]")  # the second array is too large
    (tmp_path / "s.toml").write_text(text)
    cluster.study(*submit).one_line(78)
    assert cluster.call("squeue", "-h").out == ""
    assert not [*(tmp_path / "hpcpgd-study-s" / "slurm").glob("*.sh")]


def test_a_site_whose_slurm_does_not_answer(cluster: Cluster, site: Path, tmp_path: Path) -> None:
    text = (cluster.folder / "slurm.conf").read_text()
    nobody = re.sub(r"SlurmctldPort=\d+", "SlurmctldPort=1", text)
    (cluster.folder / "nobody.conf").write_text(nobody)
    site.write_text(site.read_text().replace("slurm.conf", "nobody.conf"))
    cluster.study("submit", tmp_path, "--site", str(site)).one_line(69, "squeue: ")


@pytest.mark.parametrize("name", ["train", "study", "sweep"])
def test_shipped_scripts(cluster: Cluster, name: str, tmp_path: Path) -> None:
    """They run with fewer ranks than they request: this cluster has eight cores."""
    shutil.copytree(ROOT / "slurm", tmp_path / "slurm")
    folder = tmp_path / "slurm"
    (folder / "strong.toml").write_text(STUDY)
    flags = ["strong.toml"] if name == "study" else ["--epochs", "1", "--quiet"]
    options = ["--ntasks=2", "--export=ALL,MPI=pmi2"]
    if name == "sweep":
        options.append("--array=0-1")
    state = cluster.script(folder, *options, f"{name}.sbatch", *flags)
    logs = "".join(p.read_text() for p in folder.glob("*.log"))
    assert state == "COMPLETED", logs
    if name == "study":
        assert (folder / "strong" / "study.h5").exists()
        assert (folder / "strong" / "figures" / "scaling.png").exists()
    else:
        files = [*folder.glob("*.h5")]
        assert len(files) == (2 if name == "sweep" else 1)
        assert {attributes(path)["ranks"] for path in files} == {2}


def test_first_contact(cluster: Cluster, tmp_path: Path) -> None:
    """With a small study, and one rank on each of four nodes, which share two cores.

    ``test_kit_steps.py`` has what is said of fewer nodes.
    """
    (tmp_path / "small.py").write_text(SMALL)
    script = (ROOT / "slurm/first-contact.sbatch").read_text()
    (tmp_path / "job.sbatch").write_text(script.replace("-m hpcpgd.doctor", "small.py"))
    options = ["--ntasks-per-node=1", "--nodes=4", "--export=ALL,MPI=pmi2"]
    state = cluster.script(tmp_path, *options, "job.sbatch")
    log = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert state == "COMPLETED", log
    (archive,) = tmp_path.glob("first-contact-*.tar.gz")
    made = Made(Done(0, log, ""), archive.with_name(archive.name.removesuffix(".tar.gz")))
    places = "1 rank on 1 node, 2 ranks on 2 nodes, 4 ranks on 4 nodes"
    assert f"equal to the last bit: 3 runs, {places};" in made.summary
    assert {f"doctor-{count}.txt" for count in (1, 2, 4)} <= set(made.members)
    assert sum(name.startswith("runs/") for name in made.members) == 3
    assert "- 4 nodes" not in made.summary
    for where, data in made.all_bytes().items():
        assert str(tmp_path).encode() not in data, where
    told = b"".join(data for name, data in made.members.items() if name.startswith("doctor-"))
    assert re.search(rb" on node[1-4]\b", told)
    assert not re.search(rb"\bn[1-4]\b", told)


def test_a_task_that_is_stopped_goes_on_by_itself(cluster: Cluster, tmp_path: Path) -> None:
    """A job that is stopped and requeued twice, with exit code 75, gives the same bits."""
    shutil.copytree(ROOT / "slurm", tmp_path / "slurm")
    folder = tmp_path / "slurm"
    flags = ["--reduction", "reproducible", "--epochs", "400", "--quiet"]
    options = ["--ntasks=2", "--parsable", "--export=ALL,MPI=pmi2", "--array=5"]
    done = cluster.call("sbatch", *options, "sweep.sbatch", *flags, cwd=folder).ended(0)
    job = done.out.strip()
    output = folder / f"sweep-{job}-1.0.h5"
    for number in (1, 2):

        def begun(number: int = number) -> bool:
            if not output.exists():
                return False
            found = attributes(output)
            with h5py.File(output) as file:
                return found["status"] == "running" and len(file["segments/ranks"]) == number

        until(begun, 60)
        time.sleep(0.3)
        assert cluster.call("scancel", "--signal=USR1", job).code == 0
    cluster.wait(job)
    log = "".join(path.read_text() for path in folder.glob("*.log"))
    with h5py.File(output) as file:
        assert file.attrs["status"] == "complete", log
        assert len(file["segments/ranks"]) == 3, log
        weights = file.attrs["params_sha256"]
    assert log.count("; go on with: ") == 2
    words = ["-m", "hpcpgd.train", *flags, "--learning-rate", "1", "--output", "alone.h5"]
    assert run([sys.executable, *words], 100, cwd=tmp_path).code == 0
    assert attributes(tmp_path / "alone.h5")["params_sha256"] == weights
