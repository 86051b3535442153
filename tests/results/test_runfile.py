"""The run file: its content, and that it is written completely or not at all."""

from __future__ import annotations

import hashlib
import os
import resource
import tomllib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from hpcpgd.errors import OutputError
from hpcpgd.kernels.core.network import Network
from hpcpgd.results.atomic import check_writable, write_atomically
from hpcpgd.results.history import Epoch
from hpcpgd.results.runfile import write_run_file
from tests.helpers.made_run import PHASE_SECONDS, made_run
from tests.helpers.support import TRAIN, python

ATTRIBUTES = """
schema hpcpgd_version git_revision started argv config status backend reduction dtype ranks threads
nodes cpu_model mpi_library blas_library gpu_model gpu_library precision dataset dataset_sha256 seed
n_parameters flops_per_example params_sha256
"""


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the program on 2 ranks."""
    folder = tmp_path_factory.mktemp("run")
    python(*TRAIN, "--epochs", "3", "--output", "run.h5", ranks=2, cwd=folder).good()
    assert {p.name for p in folder.iterdir()} == {"run.checkpoints", "run.h5"}
    return folder / "run.h5"


def test_h5py_finds_the_schema(run_file: Path) -> None:
    with h5py.File(run_file) as file:
        attributes = dict(file.attrs)
        assert set(ATTRIBUTES.split()) <= set(attributes)
        assert attributes["schema"] == "hpcpgd.run/1"
        assert attributes["status"] == "complete"
        assert attributes["ranks"] == 2
        assert attributes["n_parameters"] == 64 * 32 + 32 + 32 * 10 + 10
        config = tomllib.loads(attributes["config"])["train"]
        assert (config["epochs"], config["reduction"]) == (3, "shared")
        assert file["segments/last_step"][0] == 3 * 40
        assert file["ranks/segment1/host"].shape == (2,)
        seconds = file["timing/segment1/seconds"]
        assert seconds.shape == (3, 2, 5)
        assert seconds.attrs["units"] == "s"
        assert (seconds[...] >= 0).all()
        rows = file["timing/segment1/rows"][...]
        assert (rows.sum(axis=1) == 1250).all()
        assert (rows > 0).all()


def test_the_model_in_the_file_gives_the_test_result(run_file: Path) -> None:
    """Predict with nothing but the file and NumPy."""
    from hpcpgd.data import load

    test = load("digits", seed=0).test
    assert test is not None
    with h5py.File(run_file) as file:
        model = file["model"]
        a = test.features * model.attrs["input_scale"] + model.attrs["input_offset"]
        digest = hashlib.sha256()
        for layer, function in (("layer1", "relu"), ("layer2", "softmax")):
            for part in ("weights", "biases"):
                digest.update(model[layer][part][...].astype("<f4").tobytes())
            z = a @ model[layer]["weights"][...] + model[layer]["biases"][...]
            assert model[layer].attrs["activation"] == function
            a = np.maximum(z, 0) if function == "relu" else np.exp(z)
        a /= a.sum(axis=1, keepdims=True)
        assert file.attrs["params_sha256"] == digest.hexdigest()
        predicted = model["class_labels"][...][a.argmax(axis=1)]
        confusion = np.zeros((10, 10), int)
        np.add.at(confusion, (test.labels, predicted), 1)
        assert np.array_equal(file["test/confusion"][...], confusion)
        assert file["test/accuracy"][()] == np.mean(predicted == test.labels)
        loss = -np.mean(np.log(a[np.arange(test.rows), test.labels]))
        assert abs(file["test/loss"][()] - loss) < 1e-6


def test_xarray_reads_it_as_a_tree(run_file: Path) -> None:
    with xr.open_datatree(run_file, engine="h5netcdf") as tree:
        history = tree["history"].to_dataset()
        assert history.sizes == {"epoch": 3}
        assert set(history) == set(Epoch.__dataclass_fields__)
        assert history["epoch_seconds"].attrs["units"] == "s"
        timing = tree["timing/segment1"]
        phases = timing["phase"].to_numpy().tolist()
        assert phases == ["data", "compute", "reduce", "wait", "update"]
        assert timing["seconds"].dims == ("epoch", "rank", "phase")
        assert tree["test/confusion"].dims == ("true", "predicted")
        assert tree["model/layer1/weights"].dims == ("fan_in", "fan_out")
        rate = history["gflop_per_epoch"] / history["epoch_seconds"]
        np.testing.assert_allclose(history["gflops"], rate)
        work = 1250 * (4 * (64 * 32 + 32 * 10) + 2 * 32 * 10) / 1e9
        np.testing.assert_allclose(history["gflop_per_epoch"], work)


def test_the_cost_of_a_step_counted_by_hand(run_file: Path) -> None:
    """64-32-10 on batches of 32, float32: 8 bytes an element of a gradient, read and written."""
    with h5py.File(run_file) as file:
        cost = file["cost"]
        names = [
            (n.decode(), int(l))
            for n, l in zip(cost["product"], cost["product_layer"], strict=True)
        ]
        assert names == [
            ("forward", 1), ("forward", 2), ("back", 2), ("gradient", 2), ("gradient", 1)
        ]  # fmt: skip
        one, two = 2 * 32 * 64 * 32, 2 * 32 * 32 * 10
        assert list(cost["flops"]) == [one, two, two, two, one]
        assert file.attrs["flops_per_example"] * 32 == sum(cost["flops"])
        first = 4 * (32 * 64 + 64 * 32 + 32 * 32)
        assert cost["bytes_moved"][0] == first
        assert cost["bytes_moved"][4] == 4 * (64 * 32 + 32 * 32 + 2 * 64 * 32)
        assert list(cost["bytes_communicated"]) == [0, 0, 0]  # two ranks that share memory


def test_above_1024_ranks_statistics_take_the_place_of_rows(tmp_path: Path) -> None:
    write_run_file(tmp_path / "many.h5", made_run(ranks=1025))
    with xr.open_datatree(tmp_path / "many.h5", engine="h5netcdf") as tree:
        seconds = tree["timing/segment1/seconds"]
        assert seconds.dims == ("epoch", "statistic", "phase")
        for name, rank in (("minimum", 0), ("median", 512), ("maximum", 1024)):
            column = seconds.sel(epoch=2, statistic=name).to_numpy()
            np.testing.assert_allclose(column, (1 + rank) * PHASE_SECONDS)
    write_run_file(tmp_path / "fewer.h5", made_run(ranks=1024))
    with h5py.File(tmp_path / "fewer.h5") as file:
        assert file["timing/segment1/seconds"].shape == (3, 1024, 5)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may pass a megabyte, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, small_files: None
) -> None:
    path = tmp_path / "run.h5"
    path.write_text("old")
    with pytest.raises(OutputError, match=r"run.h5: cannot be written: File too large"):
        write_atomically(path, bytes(2**21))
    assert path.read_text() == "old"
    big = made_run()
    big.network = Network((1024, 1024))
    big.parameters = big.network.zeros()
    with pytest.raises(OutputError, match="File too large"):
        write_run_file(path, big)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_reader_sees_the_old_file_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.h5"
    path.write_text("old")
    synced: list[str] = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        synced.append(path.read_text())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write_atomically(path, b"new")
    assert synced == ["old", "new"]  # the file before its renaming, the folder after


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link.h5").symlink_to(tmp_path / "target.h5")
    write_atomically(tmp_path / "link.h5", b"new")
    assert (tmp_path / "target.h5").read_bytes() == b"new"
    assert (tmp_path / "link.h5").is_symlink()


def test_where_a_run_file_may_go(tmp_path: Path) -> None:
    file, data = tmp_path / "run.h5", tmp_path / "data.npz"
    check_writable(file, False, data)
    file.write_text("old")
    data.write_text("rows")
    check_writable(file, True, data)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    refused = {
        (tmp_path / "loop", False): r"exists: .*--overwrite",
        (file, False): r"exists: .*--overwrite",
        (tmp_path / "dangling", False): r"exists: .*--overwrite",
        (tmp_path, True): "is a folder",
        (Path("/dev/null"), True): "is no regular file",
        (tmp_path / "pipe", True): "is no regular file",
        (data, True): "is a file that is read",
        (tmp_path / "none" / "run.h5", True): "there is no folder",
        (tmp_path / ("x" * 300), True): "File name too long",
    }
    for (path, overwrite), message in refused.items():
        with pytest.raises(OutputError, match=message):
            check_writable(path, overwrite, data)


def test_synthetic_data_never_report_an_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    python(
        *TRAIN, "--dataset", "synthetic:60x5x3", "--epochs", "2", "--output", "s.h5", cwd=tmp_path
    ).ended(0)
    with h5py.File("s.h5") as file:
        assert np.isnan(file["history/train_accuracy"][...]).all()
        assert np.isnan(file["history/validation_accuracy"][...]).all()
        assert np.isfinite(file["history/train_loss"][...]).all()
        assert "test" not in file
    more = ("--test-fraction", "0.5", "--overwrite")
    done = python(*TRAIN, "--dataset", "synthetic:60x5x3", *more, "--output", "s.h5", cwd=tmp_path)
    assert done.code == 0
    with h5py.File("s.h5") as file:
        assert file.attrs["test_rows"] == 30
        assert "test" not in file
