"""The configurations that are trained, and everything that must not change their bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.kernels.backends.registry import TILE_PARTS

DEFAULT = "default"  # the BLAS chooses its kernels itself
CORE_TYPES = (DEFAULT, "Haswell")
DTYPES = ("float32", "float64")
NODE = "node"


@dataclass(frozen=True)
class Case:
    """A configuration, of which all runs with one seed and dtype must have the same bits.

    Attributes
    ----------
    words : str
        Its flags, without those that vary.
    threads : tuple of int
        Numbers of threads, each tried with every number of ranks.
    precision : str
        Of products; those on tiles go with float32 alone, and call no BLAS.
    """

    name: str
    words: str
    backend: str = "gemm"
    threads: tuple[int, ...] = (1,)
    reduction: str = "reproducible"
    precision: str = "auto"


MINI = "--dataset tests/samples/mnist-mini --train-rows 150"
DIGITS = "--dataset digits --train-rows 167"
SOFTMAX = "--output-activation softmax --loss cross-entropy"
CASES = (
    Case(
        "softmax",
        f"{MINI} --hidden 40,17 --activation relu {SOFTMAX} --batch-size 37 --learning-rate 0.1",
        threads=(1, 2),
    ),
    Case("few-rows", f"{DIGITS} --hidden 17,15 --activation tanh --batch-size 5", "loops"),
    Case("wide", f"{DIGITS} --hidden 300 --batch-size 41"),
    Case("full-batch", f"{DIGITS} --hidden 30 --batch-size full"),
    Case("vectors", f"{MINI} --hidden 48 --batch-size 23", "gemv"),
)
# Smooth functions, as bf16 may switch a unit of relu whose sum is near zero.
SMOOTH = CASES[0].words.replace("relu", "tanh")
# A full batch of all rows of digits has two partial sums.
FULL = "--dataset digits --hidden 70,33 --activation tanh --batch-size full"
TILED = tuple(
    case
    for name in TILE_PARTS
    for case in (
        Case(name, SMOOTH, threads=(1, 2), precision=name),
        Case(f"{name}-full", FULL, precision=name),
    )
)


@dataclass(frozen=True)
class Run:
    """One run of a case.

    Attributes
    ----------
    program : bool
        Whether it is a separate job, ``python -m hpcpgd.train``; else the same processes train
        many runs.
    """

    case: Case
    seed: int
    dtype: str
    core_type: str
    ranks: int
    group_size: str = NODE
    threads: int = 1
    program: bool = False

    @property
    def group(self) -> tuple[str, int, str, str]:
        """Everything that the bits may depend on: runs of the same group must agree."""
        return self.case.name, self.seed, self.dtype, self.core_type

    @property
    def name(self) -> str:
        """Name of the run, which no other run has."""
        return (
            f"{self.case.name}, seed {self.seed}, {self.dtype}, core type {self.core_type}: "
            f"ranks {self.ranks}, group-size {self.group_size}, threads {self.threads}"
            f"{', own job' if self.program else ''}"
        )

    def words(self, output: Path, epochs: int) -> list[str]:
        """Return the command line of ``hpcpgd train``."""
        case = self.case
        grouped = ["--group-size", self.group_size] if case.reduction == "reproducible" else []
        return [
            *case.words.split(), "--epochs", str(epochs), "--seed", str(self.seed),
            "--backend", case.backend, "--reduction", case.reduction, "--dtype", self.dtype,
            "--matmul-precision", case.precision, *grouped, "--threads", str(self.threads),
            "--output", str(output), "--quiet",
        ]  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What a check covers.

    Attributes
    ----------
    group_sizes : tuple of str
        A size that is not smaller than a job's number of ranks is left out, as it equals ``node``.
    """

    cases: tuple[Case, ...]
    ranks: tuple[int, ...]
    group_sizes: tuple[str, ...]
    seeds: tuple[int, ...]
    dtypes: tuple[str, ...] = DTYPES
    core_types: tuple[str, ...] = CORE_TYPES
    epochs: int = 2

    def jobs(self) -> Iterator[list[Run]]:
        """Yield, for each job, the runs that its processes train one after the other."""
        for ranks in self.ranks:
            for core_type in self.core_types:
                for seed in self.seeds:
                    if runs := list(self._runs(ranks, core_type, seed)):
                        yield runs

    def programs(self) -> list[Run]:
        """Return runs that are separate jobs, one for each number of ranks."""
        first, seed, dtype = self.cases[0], self.seeds[0], self.dtypes[0]
        return [Run(first, seed, dtype, DEFAULT, ranks, program=True) for ranks in self.ranks]

    def references(self) -> list[Run]:
        """Return the runs of ``reference`` with which the others are compared."""
        return [
            Run(reference_of(case), seed, "float64", DEFAULT, 1)
            for case in self.cases
            for seed in self.seeds
        ]

    def _runs(self, ranks: int, core_type: str, seed: int) -> Iterator[Run]:
        for case in self.cases:
            if case.precision != "auto" and core_type != DEFAULT:
                continue
            for dtype in self.dtypes if case.precision == "auto" else DTYPES[:1]:
                for size in self.group_sizes:
                    if size == NODE or int(size) < ranks:
                        for threads in case.threads:
                            yield Run(case, seed, dtype, core_type, ranks, size, threads)


def reference_of(case: Case) -> Case:
    """Return the case as backend ``reference`` computes it."""
    return Case(case.name, case.words, "reference", (1,), "allreduce")


def full(seeds: Sequence[int]) -> Plan:
    from hpcpgd.kernels.tiles.amx import refusal

    ranks = (1, 2, 3, 4, 5, 7, 8, 16, 32)
    cases = CASES if refusal() else CASES + TILED
    return Plan(cases, ranks, ("1", "2", "3", NODE), tuple(seeds))


def quick(seeds: Sequence[int]) -> Plan:
    ranks, sizes = (1, 2, 3, 5), ("2", NODE)
    return Plan(CASES[:2], ranks, sizes, tuple(seeds[:1]), dtypes=DTYPES[:1], epochs=1)
