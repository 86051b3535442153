"""The program on emulated GPUs, and its message on a machine without a GPU."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcpgd.cli.launcher import without_launcher
from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.device.cublas import Cublas, CublasError
from hpcpgd.machine.gpu import device_errors, why_mpi_is_not_gpu_aware
from tests.conftest import gpu_missing
from tests.emulation.build import compiler
from tests.helpers.many import Case, together
from tests.helpers.support import TRAIN, Done, python

emulated = pytest.mark.skipif(compiler() is None, reason="no C++ compiler to emulate a GPU with")


EMULATE = "from tests.emulation import job; job.emulate()"
SHORT = ("train", "--backend", "cuda", "--epochs", "2", "--output", "r.h5")
WILD = ("--loss", "mse", "--output-activation", "linear", "--learning-rate", "1e30")
# Runs on emulated GPUs: their words, their ranks, whether MPI is taken to be GPU-aware.
RUNS = {
    "one": (SHORT, 0, "staged"),
    "staged": (SHORT, 2, "staged"),
    "overlap": ((*SHORT, "--reduction", "overlap"), 2, "staged"),
    "direct": (SHORT, 2, "direct"),
    "wild": (("train", "--backend", "cuda", *WILD, "--output", "r.h5"), 3, "staged"),
}
Runs = dict[str, tuple[Done, Path]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Return the outcomes of the runs, and their folders."""
    found: Runs = {}
    for mpi in ("staged", "direct"):
        cases = {
            name: Case(words, str(tmp_path_factory.mktemp("gpu")), ranks, setup=EMULATE)
            for name, (words, ranks, way) in RUNS.items()
            if way == mpi
        }
        done = together(cases, EMULATED_MPI=mpi)
        found |= {name: (done[name], Path(case.folder)) for name, case in cases.items()}
    return found


@emulated
@pytest.mark.parametrize("mpi", ["staged", "direct"])
def test_two_ranks_that_share_a_gpu_say_so(runs: Runs, mpi: str) -> None:
    (one, first), (two, second) = runs["one"], runs[mpi]
    assert (one.code, one.err, two.code, two.err) == (0, "", 0, "")
    assert "GPU emulated, float32 products" in one.out
    staged = "through pinned host memory (as told)"
    way = staged if mpi == "staged" else "on the GPUs by GPU-aware MPI"
    assert f"GPU emulated, 2 ranks share one, gradients summed {way}, float32 products" in two.out
    with h5py.File(first / "r.h5") as alone, h5py.File(second / "r.h5") as shared:
        assert shared.attrs["gpu_model"] == "emulated"
        assert shared.attrs["precision"] == "float32"
        assert shared["segments/transport"].asstr()[0] == {"direct": "device"}.get(mpi, mpi)
        assert shared["segments/ranks_per_gpu"][0] == 2
        assert list(shared["ranks/segment1/gpu"].asstr()) == ["emulated 0000:00:00.0"] * 2
        for layer in ("layer1", "layer2"):
            one_rank, two_ranks = (file[f"model/{layer}/weights"][...] for file in (alone, shared))
            np.testing.assert_allclose(one_rank, two_ranks, rtol=0, atol=1e-5)
        assert shared["timing/segment1/rows"][...].sum() == 2 * 1250


@emulated
def test_the_run_file_says_how_much_was_hidden(runs: Runs) -> None:
    done, folder = runs["overlap"]
    assert (done.code, done.err) == (0, "")
    assert "backend cuda, reduction overlap" in done.out
    with h5py.File(folder / "r.h5") as file:
        assert file["segments/reduction"].asstr()[0] == "overlap"
        assert 0 <= file["segments/hidden_share"][0] <= 1


@emulated
def test_divergence_ends_all_ranks(runs: Runs) -> None:
    done, folder = runs["wild"]
    done.one_line(3, "epoch 1, step")
    with h5py.File(folder / "r.h5") as file:
        assert file.attrs["status"] == "diverged"
        assert f"step {file['segments/last_step'][0]} of" in done.err


@pytest.mark.parametrize(("backend", "ranks"), [("cuda", 3), ("cuda-loops", None)])
@pytest.mark.skipif(not gpu_missing(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so(backend: str, ranks: int | None, tmp_path: Path) -> None:
    done = python(*TRAIN, "--backend", backend, ranks=ranks, cwd=tmp_path)
    done.one_line(69, f"backend {backend}: ", out="")
    assert "hpcpgd[gpu" in done.err or "no CUDA device is visible" in done.err
    assert list(tmp_path.iterdir()) == []


CLASHES: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("--matmul-precision", "tf32"), ("backend gemm", "needs backend cuda")),
    (("--backend", "cuda-loops", "--matmul-precision", "tf32"), ("needs backend cuda",)),
    (("--backend", "cuda", "--dtype", "float64", "--matmul-precision", "tf32"), ("float32",)),
    (("--backend", "cuda", "--matmul-precision", "float64"), ("set dtype to float64",)),
    (("--backend", "cuda", "--threads", "4"), ("leave threads out", "4")),
]


@pytest.fixture(scope="module")
def clashes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    folder = str(tmp_path_factory.mktemp("clashes"))
    return together({" ".join(flags): Case(("train", *flags), folder) for flags, _ in CLASHES})


@pytest.mark.parametrize(("flags", "words"), CLASHES)
def test_what_does_not_go_together_is_refused(
    flags: tuple[str, ...], words: tuple[str, ...], clashes: dict[str, Done]
) -> None:
    clashes[" ".join(flags)].one_line(78, *words, out="")


def test_without_a_gpu_mpi_is_not_gpu_aware() -> None:
    """The probe in its own process, as far as it comes here: it must not be taken for a yes."""
    if gpu_missing():
        assert "ended with" in why_mpi_is_not_gpu_aware()


def test_children_do_not_think_they_are_ranks() -> None:
    ours = {"PATH": "/bin", "OMPI_MCA_pml": "ucx", "OMPI_ALLOW_RUN_AS_ROOT": "1"}
    theirs = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "PMI_FD")
    assert without_launcher({**ours, **dict.fromkeys(theirs, "1")}) == ours


COMPILE = type("CompileException", (Exception,), {"__module__": "cupy.cuda.compiler"})


@pytest.mark.parametrize(
    ("error", "translated"),
    [
        (MemoryError("out of memory"), True),
        (CublasError("cublasCreate_v2 returned status 1"), True),
        (COMPILE("a\nb"), True),
        (ImportError('Failure finding "libcublasLt.so.13"'), True),
        (RuntimeError("a defect of ours"), False),
        (OSError("no space"), False),
    ],
)
def test_what_the_gpu_s_software_raises_becomes_one_line(
    error: Exception, translated: bool
) -> None:
    with (
        pytest.raises(UnavailableError if translated else type(error)) as caught,
        device_errors("X"),
    ):
        raise error
    if translated:
        assert str(caught.value).startswith(f"X: {type(error).__name__}: ")
        assert "\n" not in str(caught.value)


def test_an_error_from_within_cupy_is_its_own() -> None:
    """A plain RuntimeError, as CuPy raises where headers are missing."""
    code = compile("raise RuntimeError('headers')", "raw.pyx", "exec")
    with pytest.raises(UnavailableError, match="RuntimeError: headers"), device_errors("X"):
        exec(code, {"__name__": "cupy._core.raw"})


def test_a_cublas_that_is_not_there_is_named() -> None:
    with pytest.raises(CublasError, match=r"cannot be loaded: libcublas\.so\.99"):
        Cublas("libcublas.so.99", 0, None)
