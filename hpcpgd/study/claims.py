"""The ten claims of the paper's section 6, held against what was measured here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcpgd.config import NETWORKS
from hpcpgd.study.paper import ROWS, Results

HOLDS, DOES_NOT, NOT_RUN = "holds", "does not", "not run here"
CONSTANT = 1.1  # largest over smallest time, within which times are called constant
PAPER_CORES = 32
ROW = {row.name: row for row in ROWS}


@dataclass(frozen=True)
class Verdict:
    """One claim: its letter, its words, our numbers, and whether it holds."""

    letter: str
    claim: str
    numbers: str
    verdict: str


def judge(results: Results, cores: int) -> list[Verdict]:
    """Return the verdicts (a) to (j)."""
    return [
        _constant(results, "a", "serial time constant over the batch size",
                  ("Naive Serial", "Fast Serial")),
        _falls(results),
        _gpu_beats(results),
        _constant(results, "d", "Fast Parallel's time constant over the batch size",
                  ("Fast Parallel",)),
        _mean_speedups(results, cores),
        _blas_against_examples(results),
        Verdict("g", "the library has the lowest time at large batches", "", NOT_RUN),
        Verdict("h", "own CUDA kernels beat the library's GPU near batch 128", "", NOT_RUN),
        _blas_serial(results),
        Verdict("j", "GPU bank conflicts grow with the batch; widths off 32 lose", "", NOT_RUN),
    ]  # fmt: skip


def _said(texts: list[str]) -> str:
    return "; ".join(texts)


def _over(found: bool, good: bool) -> str:
    if not found:
        return NOT_RUN
    return HOLDS if good else DOES_NOT


def _constant(results: Results, letter: str, claim: str, rows: tuple[str, ...]) -> Verdict:
    texts, good, found = [], True, False
    for row in rows:
        for network in NETWORKS:
            times = list(results.seconds(row, network).values())
            if len(times) < 2:
                continue
            found = True
            spread = max(times) / min(times)
            good &= spread <= CONSTANT
            texts.append(f"{row} {network} {spread:.2f}")
    text = f"largest over smallest: {_said(texts)}" if found else ""
    return Verdict(letter, claim, text, _over(found, good))


def _falls(results: Results) -> Verdict:
    """Compare the smallest and the largest batch of the rows parallel over examples."""
    texts, good, found = [], True, False
    for row in ("Multicore Parallel", "GPU Parallel"):
        for network in NETWORKS:
            times = results.seconds(row, network)
            if len(times) < 2:
                continue
            found = True
            ratio = times[max(times)] / times[min(times)]
            good &= ratio < 1 / CONSTANT
            texts.append(f"{row} {network} {ratio:.2f}")
    claim = "example-parallel and GPU time falls with the batch size"
    text = f"time at the largest batch over the smallest: {_said(texts)}" if found else ""
    return Verdict("b", claim, text, _over(found, good))


def _ratios(results: Results, slow: str, fast: str) -> dict[str, list[float]]:
    """Return the ratios of two rows' times at each batch size, by network."""
    found = {}
    for network in NETWORKS:
        one, other = results.seconds(slow, network), results.seconds(fast, network)
        ratios = [one[b] / other[b] for b in one if b in other]
        if ratios:
            found[network] = ratios
    return found


def _gpu_beats(results: Results) -> Verdict:
    found = _ratios(results, "Multicore Parallel", "GPU Parallel")
    texts = [f"{network} at least x{min(r):.1f}" for network, r in found.items()]
    good = all(min(r) > 1 for r in found.values())
    claim = "the GPU beats multicore at every batch size"
    return Verdict("c", claim, _said(texts), _over(bool(found), good))


def _mean_speedups(results: Results, cores: int) -> Verdict:
    """Compare efficiencies, as this machine has other cores than the paper's."""
    ratios = _ratios(results, "Naive Serial", "Multicore Parallel")
    every = [value for values in ratios.values() for value in values]
    claim = "mean speedup 10 with 32 cores, 25 on the GPU"
    if not every:
        return Verdict("e", claim, "", NOT_RUN)
    mean = float(np.mean(every))
    text = (
        f"multicore x{mean:.2f} with {cores} cores, efficiency {mean / cores:.2f} "
        f"(the paper's {10 / PAPER_CORES:.2f})"
    )
    good = mean / cores >= 10 / PAPER_CORES
    gpu = [v for r in _ratios(results, "Naive Serial", "GPU Parallel").values() for v in r]
    if gpu:
        text += f"; GPU x{np.mean(gpu):.0f}"
        good &= float(np.mean(gpu)) >= 25
    else:
        text += "; GPU not run here"
    return Verdict("e", claim, text, _over(True, good))


def _blas_against_examples(results: Results) -> Verdict:
    texts, good, found = [], True, False
    for network in NETWORKS:
        blas = results.speedups(ROW["Fast Parallel"], network)
        examples = results.speedups(ROW["Multicore Parallel"], network)
        if not blas or not examples:
            continue
        found = True
        speedups = [float(np.mean(list(s.values()))) for s in (blas, examples)]
        rates = [
            float(np.mean(list(results.gflops(row, network).values())))
            for row in ("Fast Parallel", "Multicore Parallel")
        ]
        good &= speedups[0] < speedups[1] and rates[0] > rates[1]
        texts.append(
            f"{network}: x{speedups[0]:.2f} against x{speedups[1]:.2f}, "
            f"{rates[0]:.1f} against {rates[1]:.1f} GFLOP/s"
        )
    claim = "BLAS rows speed up less than example-parallel, but win in GFLOPS"
    return Verdict("f", claim, _said(texts), _over(found, good))


def _blas_serial(results: Results) -> Verdict:
    found = _ratios(results, "Naive Serial", "Fast Serial")
    texts = [f"{network} x{np.median(r):.2f}" for network, r in found.items()]
    good = all(5 <= np.median(r) <= 20 for r in found.values())
    claim = "BLAS serial about 10 times naive serial"
    return Verdict("i", claim, _said(texts), _over(bool(found), good))
