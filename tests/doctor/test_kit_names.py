"""What replaces names and paths in a kit that is passed on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcpgd.doctor.kit import private_names

HOSTS = ["gpu-n1.site.example", "gpu-n2", "gpu-n2.site.example", "localhost", "10.0.0.7"]


@pytest.fixture
def scrub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A scrubber for a user anna, whose folders have spaces and quotes in their names."""
    for variable in private_names.USER_VARIABLES:
        monkeypatch.setenv(variable, "anna")
    monkeypatch.setenv("SLURM_JOB_ACCOUNT", "proj42")
    monkeypatch.setenv("SLURM_SUBMIT_HOST", "login3.site.example")
    monkeypatch.setenv("HOME", "/home/anna")
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 10.0.0.1\nsearch hpc.site.example local\n")
    monkeypatch.setattr(private_names, "RESOLVER", resolver)
    here = tmp_path / 'my "own"  work'
    here.mkdir()
    monkeypatch.chdir(here)
    places = private_names.folders(here / "kit", here / "kit-private", Path("/scratch/anna"))
    return private_names.scrubber(private_names.numbered(HOSTS), HOSTS, places)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("anna's job, not annabel's or joanna's", "<user>'s job, not annabel's or joanna's"),
        ("account proj42: no hours left", "account <account>: no hours left"),
        ("srun: error: gpu-n2: task 1: exit 78", "srun: error: node2: task 1: exit 78"),
        ("ranks 0-3 on gpu-n1, gpu-n2", "ranks 0-3 on node1, node2"),
        ("gpu-n1.site.example:4000 and gpu-n1-ib0", "node1:4000 and node1-ib0"),
        ("Nodes gpu-n[1-2,4] are not ready", "Nodes <nodes> are not ready"),
        ("gpu-n12 is another's", "gpu-n12 is another's"),
        ("from login3 to ctl.hpc.site.example", "from login to <domain>"),
        ("an example of a local file on db.local", "an example of a local file on <domain>"),
        ("no answer from 10.20.30.40:9000", "no answer from <address>:9000"),
        ("fe80:0:0:0:5054:ff:fe12:3456 at 10:22:33", "<address> at 10:22:33"),
        ("Open MPI v5.0.11, package: Open MPI ad.min@build7 x", "Open MPI v5.0.11, package: Open"
         " MPI <user>@<host> x"),
        ("/home/anna/x.h5 or ~/x.h5", "<home>/... or <home>/..."),
        ("/scratch/anna: 1 MiB", "<folder>: 1 MiB"),
        ("/project/anna/thesis/run.h5, 3 GB/s", "<path>, 3 GB/s"),
        ("PATH=/opt/site/bin:/usr/bin:/usr/local/ours", "PATH=<path>:/usr/bin:<path>"),
        ("two ranks of /opt/site/bin/mpiexec", "two ranks of <path>/mpiexec"),
        ("/opt/site/lib/libmpi.so.12: missing", "<path>/libmpi.so.12: missing"),
        ('File "/opt/site/mpi4py/x.py", line 3', 'File "<path>/x.py", line 3'),
        ("rm -f /dev/shm/mpich_shm_*; ../thesis/x", "rm -f /dev/shm/mpich_shm_*; <path>"),
        ("https://docs.python.org 1/2 and/or", "https://docs.python.org 1/2 and/or"),
        ("schema hpcpgd.run/1, synthetic:60x7x1", "schema hpcpgd.run/1, synthetic:60x7x1"),
    ],
)  # fmt: skip
def test_what_is_replaced_in_a_text(text: str, shown: str, scrub: Callable[[str], str]) -> None:
    assert scrub(text) == shown


def test_folders_are_replaced_in_every_form(scrub: Callable[[str], str]) -> None:
    here = os.fspath(Path.cwd())
    collapsed = " ".join(here.split())
    for text in (here, collapsed, json.dumps(here)[1:-1], f"{here}/secret/x y"):
        assert scrub(f"in {text}: no room").startswith("in <folder>")
        assert "own" not in scrub(text)
    assert scrub(f"{here}/kit/figures/a.png") == "<kit>/figures/a.png"
    assert scrub(f"{here}/kit-private/study/runs") == "<private>/study/runs"
    assert scrub(f"{here}/kitchen") == "<folder>/..."


def test_names_that_are_no_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "caf\udce9-anna")
    scrub = private_names.scrubber({}, [], {})
    for text in ("caf\udce9-anna", "caf\\udce9-anna"):
        assert scrub(f"by {text}.") == "by <user>."


def test_nodes_are_numbered_in_their_order() -> None:
    assert private_names.numbered(HOSTS) == {"gpu-n1": "node1", "gpu-n2": "node2"}
    swapped = private_names.scrubber({"node2": "node1", "node1": "node2"}, [], {})
    assert swapped("node1 node2") == "node2 node1"


def test_what_python_is_made_of_may_be_told(scrub: Callable[[str], str]) -> None:
    if not private_names._public(sys.prefix):
        assert scrub(f"{sys.prefix}/bin/mpiexec") == "<python>/bin/mpiexec"
