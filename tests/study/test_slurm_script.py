"""The scripts for sbatch, as text."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from hpcpgd.errors import ConfigError, UnavailableError, UsageError
from hpcpgd.study import launchers
from hpcpgd.study.grid import points
from hpcpgd.study.slurm.script import MOST, Array, array_script, arrays, report_script
from hpcpgd.study.slurm.site import Site, read
from hpcpgd.study.studyfile import StudyFile
from tests.helpers.support import ROOT, Done, environment, run

PATHS = (Path("my study.toml"), Path("runs"))
ARRAY = Array(6, 4, False, ("a-001", "b-001"))


def lines(site: Site, array: Array = ARRAY, limit: float = 600) -> list[str]:
    return array_script("strong", array, limit, site, *PATHS).splitlines()


def test_what_an_array_asks_for() -> None:
    found = lines(Site(cores_per_node=8, partition="p", account="a", at_once=2))
    options = [line.removeprefix("#SBATCH ") for line in found if line.startswith("#SBATCH")]
    assert options == [
        "--job-name=hpcpgd-strong-6x4", "--nodes=3", "--ntasks=6", "--cpus-per-task=4",
        "--time=12", "--array=0-1%2", "--open-mode=append", "--partition=p", "--account=a",
    ]  # fmt: skip
    assert found[1 + len(options)] == "set -eo pipefail"  # the first command ends the options
    assert "    a-001" in found
    assert "'my study.toml'" in found[-2]
    assert found[-1].endswith(
        """'srun --cpu-bind=cores' --task "${names[$SLURM_ARRAY_TASK_ID]}\""""
    )


@pytest.mark.parametrize(
    ("ranks", "threads", "cores", "nodes"),
    [(4, 1, 4, 1), (5, 1, 4, 2), (4, 3, 4, 4), (1, 8, 4, 1), (7, 2, 4, 4)],
)
def test_nodes(ranks: int, threads: int, cores: int, nodes: int) -> None:
    found = lines(Site(cores_per_node=cores), Array(ranks, threads, False, ("a",)))
    assert f"#SBATCH --nodes={nodes}" in found
    assert not any("--nodes" in line for line in lines(Site()))


def test_gpus_are_asked_for_where_they_are_needed() -> None:
    site = Site(gpu_option="--gres=gpu:4")
    assert "#SBATCH --gres=gpu:4" in lines(site, Array(4, 1, True, ("a",)))
    assert "#SBATCH --gres=gpu:4" not in lines(site)
    cores = Site(cores_per_node=32)  # a node has fewer GPUs: SLURM counts the nodes
    assert not any("--nodes" in line for line in lines(cores, Array(8, 1, True, ("a",))))


def test_the_site_s_environment_comes_before_the_run() -> None:
    site = Site(
        modules=("openmpi/4", "a b"), setup=('source "$HOME/x"',), environment=(("A", "$b"),),
        launcher="mpirun", python="/opt/py 3/python",
    )  # fmt: skip
    found = lines(site)
    places = [found.index(text) for text in (
        "module load openmpi/4 'a b'", 'source "$HOME/x"', "export A='$b'", "names=(",
    )]  # fmt: skip
    assert places == sorted(places)
    assert found[-2].startswith("exec '/opt/py 3/python' -m hpcpgd.study run")
    assert "--launcher mpirun " in found[-1]
    assert report_script("s", site, *PATHS).count("'/opt/py 3/python' -m hpcpgd.study") == 2


def study(**grid: list[object]) -> StudyFile:
    return StudyFile("s", repeats=2, grid=grid, train={"dataset": "digits"})


def test_one_array_a_size_and_repeats_apart() -> None:
    found = points(study(ranks=[1, 2], batch_size=[8, 16], backend=["gemm", "cuda"]))
    names = {f"{p.key}-{repeat:03d}" for p in found for repeat in (1, 2)}
    made = arrays(found, 2, names)
    sizes = [(a.ranks, a.threads, a.on_gpu) for a in made]
    assert sorted(sizes) == [(1, 1, False), (1, 1, True), (2, 1, False), (2, 1, True)]
    assert sorted(name for a in made for name in a.names) == sorted(names)
    for a in made:
        assert [name[-3:] for name in a.names] == ["001", "001", "002", "002"]
    wanted = {sorted(names)[0]}
    assert [a.names for a in arrays(found, 2, wanted)] == [tuple(wanted)]


def test_no_array_is_larger_than_slurm_takes() -> None:
    found = points(study(batch_size=list(range(1, 800))))
    made = arrays(found, 2, {f"{p.key}-{repeat:03d}" for p in found for repeat in (1, 2)})
    assert [len(a.names) for a in made] == [MOST, 2 * 799 - MOST]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[site]\npartitoin = 'p'", "unknown key 'partitoin'; did you mean 'partition'?"),
        ("[site]\npartition = 'a b'", "partition: expected a word of letters"),
        ("[site]\npartition = 'a\\n#SBATCH --wrap=x'", "partition: expected a word"),
        ("[site]\nlauncher = 'aprun'", "launcher: expected one of srun, mpirun"),
        ("[site]\ncores_per_node = 0", "cores_per_node: expected"),
        ("[site]\nmodules = 'openmpi'", "modules: expected a list"),
        ("[site]\noptions = ['--a b']", "options: expected a list"),
        ("[sites]\n", "unknown table [sites]"),
        ("site = 1", "'site' must be a table"),
        ("[environment]\nA = 1", "[environment] A: expected a text, got 1"),
        ("[environment]\n'A;B' = 'x'", "'A;B' is no name of a variable"),
        ("[site", "not a TOML file"),
    ],
)
def test_wrong_site_files(text: str, word: str, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert word in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "slurm").rglob("*.toml")), ids=lambda p: p.stem)
def test_what_is_shipped_can_be_read(path: Path) -> None:
    if path.parent.name == "sites":
        read(path)
        return
    from hpcpgd.study.studyfile import read as read_study

    assert points(read_study(path))


def test_random_texts_come_through(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "scripts.check_quoting", "--quick"], cwd=ROOT, timeout=250)
    assert done.code == 0, done.out
    assert "300 of 300" in done.out


def test_launchers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="no-such-launcher was not found"):
        launchers.find("no-such-launcher --mpi=pmi2")
    with pytest.raises(UsageError, match="No closing quotation"):
        launchers.find("srun 'a")
    with pytest.raises(UsageError, match="expected a command"):
        launchers.find(" ")
    srun = launchers.Launcher(("srun", "--mpi=pmi2"), True)
    assert srun.command(3, 2) == [
        "srun", "--mpi=pmi2", "--ntasks=3", "--cpus-per-task=2", "--kill-on-bad-exit=1",
    ]  # fmt: skip
    job = {"SLURM_JOB_NUM_NODES": "4", "SLURM_TASKS_PER_NODE": "16(x4)"}
    for ranks, threads, nodes in ((2, 1, 1), (17, 1, 2), (16, 2, 2), (64, 4, 4)):
        assert launchers.placement(ranks, threads, job) == [f"--nodes={nodes}"]
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    assert srun.command(3, 2)[:3] == ["srun", "--nodes=1", "--mpi=pmi2"]
    assert launchers.Launcher(("/x/mpirun",), True).command(3, 2) == ["/x/mpirun", "-n", "3"]


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("mpiexec (Open MPI) 5.0.11", ["--bind-to", "none", "--oversubscribe"]),
        ("mpiexec (OpenRTE) 4.1.4", ["--bind-to", "none", "--oversubscribe"]),
        ("HYDRA build details:", []),
    ],
)
def test_no_launcher_binds_the_threads_of_a_rank(
    says: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mpiexec = tmp_path / "mpiexec"
    mpiexec.write_text(f"#!/bin/sh\necho '{says}'\n")
    mpiexec.chmod(0o755)
    monkeypatch.setattr(launchers, "mpiexec_here", lambda: str(mpiexec))
    assert launchers.find(None).command(3, 2) == [str(mpiexec), *words, "-n", "3"]


def test_a_named_launcher_keeps_the_allocation_and_no_ranks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SLURM_JOB_ID", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.setenv(name, "1")
    named = launchers.find(shlex.quote(sys.executable)).environment()
    assert "SLURM_JOB_ID" in named
    assert not {"PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"} & named.keys()
    assert "SLURM_JOB_ID" not in launchers.find(None).environment()


def submit(folder: Path, *flags: str) -> Done:
    """Submit where there is Python and no SLURM."""
    (folder / "s.toml").write_text("[grid]\nranks = [1, 2]\n")
    (folder / "site.toml").write_text("[site]\n")
    words = ("-m", "hpcpgd.study", "submit", "s.toml", "--site", "site.toml", *flags)
    env = environment(PATH=str(Path(sys.executable).parent))
    return run([sys.executable, *words], 60, env, folder)


def test_without_slurm_one_line_says_so(tmp_path: Path) -> None:
    submit(tmp_path).one_line(69, "squeue is not installed here: submit from a login node")


def test_a_dry_run_needs_no_slurm_and_leaves_nothing(tmp_path: Path) -> None:
    done = submit(tmp_path, "--dry-run").good()
    assert done.out.count("#!/bin/bash") == 3  # two sizes and the report
    assert not (tmp_path / "hpcpgd-study-s").exists()
    submit(tmp_path, "--dry-run", "--folder", "a\\b").one_line(78)
