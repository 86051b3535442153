"""A kit of first contact: its steps, its messages, and that it has no names of users."""

from __future__ import annotations

import gzip
import io
import os
import re
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import pytest
import xarray as xr

from hpcpgd.doctor.kit.shared_folder import Share
from hpcpgd.environment.user_dirs import user_cache
from tests.helpers.support import Done, environment, mpiexec, run

HOST, USER, ACCOUNT = "quiet-n1.veiled.example", "annabella-k", "proj-veiled42"
# A small study in place of the shipped one.
SMALL = """
import sys
from hpcpgd.doctor import cli
from hpcpgd.doctor.kit import kit_steps
kit_steps.STUDY["repeats"] = 1
kit_steps.REDUCTIONS[:] = ["reproducible"]
kit_steps.TRAIN = {"dataset": "synthetic:600x16x4", "hidden": [8], "epochs": 2}
sys.exit(cli.main(sys.argv[1:]))
"""
# Starts ranks here, whatever nodes are asked for, and none at all on four.
SRUN = f"""#!/bin/bash
while [[ $1 == --* ]]; do
    [[ $1 != --nodes=* ]] || nodes=${{1#*=}}
    [[ $1 != --ntasks=* ]] || ranks=${{1#*=}}
    shift
done
if [ "$nodes" = 4 ]; then
    echo "srun: error: quiet-n[3-4], quiet-n3.veiled.example (10.9.8.7): $USER has no" \\
        "/disk/veiled/$USER, $HOME, $PWD/x or ctl.veiled.example for proj-veiled42" >&2
    exit 1
fi
unset "${{!SLURM_@}}"
exec {mpiexec()} -n "$ranks" "$@"
"""
SCONTROL = """#!/bin/sh
[ "$2" != hostnames ] || printf 'quiet-n%s\\n' 1 2 3 4
"""
SQUEUE = """#!/bin/sh
echo RUNNING
"""


def as_host(*command: str) -> list[str]:
    """Return a command that runs on a machine of another name, where one may say so."""
    shell = ["unshare", "--uts", "--user", "--map-root-user", "sh", "-ec"]
    named = [*shell, f'hostname {HOST}; exec "$@"', "sh"]
    done = subprocess.run([*named, "true"], capture_output=True, timeout=20)
    return [*(named if done.returncode == 0 else []), *command]


class Made:
    """A kit, and the content of its archive."""

    def __init__(self, done: Done, folder: Path) -> None:
        self.done, self.folder = done, folder
        self.private = folder.with_name(f"{folder.name}-private")
        self.packed = folder.with_name(f"{folder.name}.tar.gz").read_bytes()
        with tarfile.open(fileobj=io.BytesIO(self.packed)) as tar:
            files = [member for member in tar.getmembers() if member.isfile()]
            self.members = {
                member.name.partition("/")[2]: tar.extractfile(member).read()  # type: ignore[union-attr]  # a file
                for member in files
            }
        self.summary = self.members["SUMMARY.txt"].decode()

    def all_bytes(self) -> dict[str, bytes]:
        """Return all bytes of the archive: its headers, and what is packed in its members."""
        found = {"archive": self.packed, "headers": gzip.decompress(self.packed)}
        for name, data in self.members.items():
            found[name] = data
            if name.endswith(".pdf"):
                streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
                found[f"{name}, streams"] = b"".join(map(inflated, streams))
            if name.endswith(".h5"):
                found[f"{name}, texts"] = "\n".join(texts(io.BytesIO(data))).encode()
        return found


def inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return stream


def texts(source: Any) -> list[str]:
    """Return every text of an HDF5 file: names, attributes and values."""
    found: list[str] = []

    def look(name: str, thing: Any) -> None:
        found.extend([name, *(f"{key}: {value}" for key, value in thing.attrs.items())])
        if isinstance(thing, h5py.Dataset) and h5py.check_string_dtype(thing.dtype):
            found.extend(map(str, thing.asstr()[...].ravel()))

    with h5py.File(source) as file:
        look("/", file)
        file.visititems(look)
    return found


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A kit of a job on four nodes, of which the last two fail."""
    room = tmp_path_factory.mktemp("kit")
    home, here, tools = room / USER, room / "veiled project", room / "bin"
    for path in (home, here, tools):
        path.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("squeue", SQUEUE)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    env = environment(
        PATH=f"{tools}:{os.environ['PATH']}", HOME=str(home), USER=USER, LOGNAME=USER,
        SLURM_JOB_ID="77", SLURM_JOB_NUM_NODES="4", SLURM_TASKS_PER_NODE="1(x4)",
        SLURM_JOB_NODELIST="quiet-n[1-4]", SLURM_JOB_ACCOUNT=ACCOUNT,
        NUMBA_CACHE_DIR=os.environ.get("NUMBA_CACHE_DIR", f"{user_cache()}/numba"),
    )  # fmt: skip
    words = ["--kit", "fc", "--launcher", "srun --mpi=pmi2"]
    done = run(as_host(sys.executable, "-c", SMALL, *words), 200, env, here)
    return Made(done, here / "fc")


def test_every_step_has_its_line_and_stops_no_other(kit: Made) -> None:
    assert (kit.done.code, kit.done.err) == (1, "")  # four nodes did not start
    *lines, last, names = kit.done.out.splitlines()
    steps = [re.split(r"  +", line) for line in lines]
    assert [(status, name) for status, name, *_ in steps] == [
        ("ok", "doctor, 1 rank on 1 node"),
        ("ok", "doctor, 2 ranks on 2 nodes"),
        ("failed", "doctor, 4 ranks on 4 nodes"),
        ("left out", "Allreduce, 1 rank on 1 node"),
        ("ok", "Allreduce, 2 ranks on 2 nodes"),
        ("failed", "Allreduce, 4 ranks on 4 nodes"),
        ("failed", "scaling study"),
        ("ok", "Allreduce table"),
        ("ok", "scaling"),
        ("ok", "the same bits"),
        ("ok", "figures"),
    ]
    assert steps[2][3].startswith("srun: error: quiet-n[3-4]")
    assert steps[6][3].startswith("2 of 3 runs ended well; ")
    assert last.endswith(f"attach {kit.folder}.tar.gz to a question")
    assert "names.txt" in names


def test_the_summary_says_what_was_tried_and_what_looks_wrong(kit: Made) -> None:
    assert kit.summary == (kit.folder / "SUMMARY.txt").read_text()
    tried, wrong, missing, sums, scaling, *_ = kit.summary.split("\n\n")[1:]
    assert tried.count("\n") == 1 + 11
    assert "equal to the last bit: 2 runs, 1 rank on 1 node, 2 ranks on 1 node" in tried
    line = "srun: error: <nodes>, node3 (<address>): <user> has no <path>, <home>, <folder>/... or"
    assert f"{line} <domain> for <account>" in tried
    assert line in " ".join(wrong.split())
    assert "- scaling: reproducible, 2 ranks on 1 node: it was meant for 2 nodes" in wrong
    assert "- Allreduce, 2 ranks on 2 nodes: ran on 1 node, meant for 2" in wrong
    assert "a sum needs two ranks" in missing
    assert sums.splitlines()[2].split() == ["bytes", "2", "ranks,", "1", "node"]
    assert scaling.count("reproducible") == 2


def test_what_is_in_the_archive(kit: Made) -> None:
    figures = [
        f"figures/{what}.{kind}" for what in ("phases", "scaling") for kind in ("pdf", "png")
    ]
    runs = [name for name in kit.members if name.startswith("runs/")]
    assert sorted(set(kit.members) - set(runs)) == sorted(
        ["SUMMARY.txt", "allreduce.txt", "doctor-1.txt", "doctor-2.txt", "doctor-4.txt",
         "study.h5", "study.toml", "study.txt", *figures]
    )  # fmt: skip
    assert len(runs) == 2
    assert b"verdict: " in kit.members["doctor-2.txt"]
    assert b"2 of 3 runs, the others have not ended" in kit.members["study.txt"]
    on_disk = {str(p.relative_to(kit.folder)) for p in kit.folder.rglob("*") if p.is_file()}
    assert on_disk == set(kit.members)


def test_nothing_in_the_archive_names_user_host_or_folder(kit: Made) -> None:
    said = kit.all_bytes()
    for secret in (USER, ACCOUNT, "veiled", "quiet-n", str(kit.folder.parent), "10.9.8.7"):
        for where, data in said.items():
            assert secret.encode() not in data, f"{secret} in {where}"


def test_the_archive_has_no_owner(tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    folder.mkdir()
    Share(folder, str).text("SUMMARY.txt", "it")
    if os.geteuid() == 0:  # whose number would not show
        os.chown(folder / "SUMMARY.txt", 4321, 4321)
    Share(folder, str).pack(tmp_path / "kit.tar.gz")
    with tarfile.open(tmp_path / "kit.tar.gz") as tar:
        for member in tar.getmembers():
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")


def test_what_is_hidden_was_there(kit: Made) -> None:
    """Else the test above could not fail."""
    raw = [path.read_bytes() for path in kit.private.rglob("*") if path.is_file()]
    everything = b"".join(raw) + kit.done.out.encode()
    for secret in (USER, ACCOUNT, "veiled project", "quiet-n3", "10.9.8.7", "ctl.veiled.example"):
        assert secret.encode() in everything
    assert (kit.private / "names.txt").read_text().startswith("node1 quiet-n1\nnode2 quiet-n2\n")


def test_run_files_tell_all_but_names_and_weights(kit: Made, tmp_path: Path) -> None:
    (name, *_) = [name for name in kit.members if "-r2-" in name]
    copy, source = tmp_path / "copy.h5", kit.private / "study" / name
    copy.write_bytes(kit.members[name])
    with h5py.File(source) as old, h5py.File(copy) as new:
        assert "model" in old
        assert set(new) == set(old) - {"model"}
        assert set(new.attrs) == set(old.attrs)
        changed = {key for key, value in old.attrs.items() if new.attrs[key] != value}
        assert changed == {"argv", "config"}
        assert '"<private>/study/runs/' in new.attrs["argv"]
        hosts = set(new["ranks/segment1/host"].asstr())
        assert hosts == {"node1" if as_host() else "node5"}  # node5 is none of the job's
    ours, theirs = (xr.open_datatree(path, engine="h5netcdf") for path in (copy, source))
    for group in ("history", "timing/segment1", "segments", "cost"):
        xr.testing.assert_identical(ours[group].to_dataset(), theirs[group].to_dataset())


def test_with_names_nothing_is_replaced(kit: Made, tmp_path: Path) -> None:
    share = Share(tmp_path, str)
    path = next((kit.private / "study" / "runs").glob("*.h5"))
    share.run_file(path)
    with h5py.File(path) as old, h5py.File(tmp_path / "runs" / path.name) as new:
        assert dict(new.attrs) == dict(old.attrs)


def test_a_kit_without_an_mpi_library(tmp_path: Path) -> None:
    env = environment(MPI4PY_LIBMPI="/nonexistent/libmpi.so")
    done = run([sys.executable, "-c", SMALL, "--kit", "fc"], 100, env, tmp_path)
    assert (done.code, done.err) == (1, "")
    made = Made(done, tmp_path / "fc")
    assert "problem  MPI: MPI cannot be loaded" in made.members["doctor-1.txt"].decode()
    assert "- results: MPI cannot be loaded" in made.summary
    assert "- 2 and 4 nodes: no launcher for several nodes was named: submit slurm/" in made.summary
