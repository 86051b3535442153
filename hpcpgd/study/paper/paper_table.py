"""The rows of the paper's Table 1 and of ours beside them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """A row of Table 1, or of ours beside it.

    Attributes
    ----------
    backend : str
        Of ``hpcpgd train``; for a library its key in ``LIBRARIES``.
    parallel : bool
        Threads on all cores, or one.
    base : str
        The row that its speedup is relative to, "" for none.
    on_gpu : bool
        Whether it needs a device.
    """

    name: str
    backend: str
    parallel: bool = False
    base: str = ""
    on_gpu: bool = False

    @property
    def foreign(self) -> bool:
        """Whether it is the program of another library."""
        return self.backend in LIBRARIES

    @property
    def family(self) -> str:
        """The family that has a colour; the hatch marks serial, parallel and GPU rows."""
        return {"cuda-loops": "loops", "cuda": "gemm"}.get(self.backend, self.backend)


# The living successors of Keras on Theano: the program of each, in hpcpgd/study/libraries.
LIBRARIES = {"pytensor": "pytensor_cpu.py", "keras-jax": "keras_jax.py", "pytorch": "pytorch.py"}

NAIVE, MULTICORE, GPU = "Naive Serial", "Multicore Parallel", "GPU Parallel"
FAST, FAST_PARALLEL = "Fast Serial", "Fast Parallel"
PAPERS_OWN = (NAIVE, MULTICORE, GPU, FAST, FAST_PARALLEL)
GEMM, CUDA = "gemm serial", "cuda"
ROWS = (
    PaperRow(NAIVE, "loops"),
    PaperRow(MULTICORE, "loops", True, NAIVE),
    PaperRow(GPU, "cuda-loops", base=NAIVE, on_gpu=True),
    PaperRow(FAST, "gemv"),
    PaperRow(FAST_PARALLEL, "gemv", True, FAST),
    PaperRow(GEMM, "gemm"),
    PaperRow("gemm parallel", "gemm", True, GEMM),
    PaperRow(CUDA, "cuda", base=GEMM, on_gpu=True),
    PaperRow("PyTensor serial", "pytensor"),
    PaperRow("PyTensor parallel", "pytensor", True, "PyTensor serial"),
    PaperRow("Keras/JAX serial", "keras-jax"),
    PaperRow("Keras/JAX parallel", "keras-jax", True, "Keras/JAX serial"),
    PaperRow("Keras/JAX GPU", "keras-jax", base="Keras/JAX serial", on_gpu=True),
    PaperRow("PyTorch serial", "pytorch"),
    PaperRow("PyTorch parallel", "pytorch", True, "PyTorch serial"),
    PaperRow("PyTorch GPU", "pytorch", base="PyTorch serial", on_gpu=True),
)
ROW = {row.name: row for row in ROWS}
LIBRARY_ROWS = tuple(row for row in ROWS if row.foreign)


def rows(only_gpu: bool) -> tuple[PaperRow, ...]:
    """Return all rows, or those that need a device."""
    return tuple(row for row in ROWS if row.on_gpu or not only_gpu)
