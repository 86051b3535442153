"""The ten claims of the paper's section 6, held against what was measured here."""

from __future__ import annotations

import numpy as np

from hpcpgd.config.run_config import NETWORKS
from hpcpgd.study.paper.claims_library import library_at_large, odd_widths, own_kernels
from hpcpgd.study.paper.measured_rows import Results
from hpcpgd.study.paper.paper_table import (  # fmt: skip
    FAST,
    FAST_PARALLEL,
    GPU,
    LIBRARY_ROWS,
    MULTICORE,
    NAIVE,
    ROW,
    PaperRow,
)
from hpcpgd.study.paper.verdict import NOT_RUN, Verdict, over, said

CONSTANT = 1.1  # largest over smallest time, within which times are called constant
PAPER_CORES = 32
LITTLE = 2.0  # times slower that is still called a little


def judge(results: Results, cores: int) -> list[Verdict]:
    """Return the verdicts (a) to (j)."""
    return [
        _constant(results, "a", "serial time constant over the batch size",
                  (NAIVE, FAST)),
        _falls(results),
        _gpu_beats(results),
        _constant(results, "d", "Fast Parallel's time constant over the batch size",
                  (FAST_PARALLEL,)),
        _mean_speedups(results, cores),
        _blas_against_examples(results),
        library_at_large(results),
        own_kernels(results),
        _blas_serial(results),
        odd_widths(results),
    ]  # fmt: skip


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
    text = f"largest over smallest: {said(texts)}" if found else ""
    return Verdict(letter, claim, text, over(found, good))


def _falls(results: Results) -> Verdict:
    """Compare the smallest and the largest batch of the rows parallel over examples."""
    texts, good, found = [], True, set()
    for row in (MULTICORE, GPU):
        for network in NETWORKS:
            times = results.seconds(row, network)
            if len(times) < 2:
                continue
            found.add(row)
            ratio = times[max(times)] / times[min(times)]
            good &= ratio < 1 / CONSTANT
            texts.append(f"{row} {network} {ratio:.2f}")
    claim = "example-parallel and GPU time falls with the batch size"
    text = f"time at the largest batch over the smallest: {said(texts)}" if found else ""
    return Verdict("b", claim, _without_gpu(text, found), over(bool(found), good, GPU in found))


def _without_gpu(text: str, found: set[str]) -> str:
    """Say that a claim about the GPU was tried on other rows alone."""
    return f"{text}; GPU not run here" if found and GPU not in found else text


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
    found = _ratios(results, MULTICORE, GPU)
    texts = [f"{network} at least x{min(r):.1f}" for network, r in found.items()]
    good = all(min(r) > 1 for r in found.values())
    whole = all(len(r) == len(results.batches) for r in found.values())
    claim = "the GPU beats multicore at every batch size"
    return Verdict("c", claim, said(texts), over(bool(found), good, whole))


def _mean_speedups(results: Results, cores: int) -> Verdict:
    """Compare efficiencies, as this machine has other cores than the paper's."""
    ratios = _ratios(results, NAIVE, MULTICORE)
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
    gpu = [v for r in _ratios(results, NAIVE, GPU).values() for v in r]
    if gpu:
        text += f"; GPU x{np.mean(gpu):.0f}"
        good &= float(np.mean(gpu)) >= 25
    else:
        text += "; GPU not run here"
    return Verdict("e", claim, text, over(True, good, bool(gpu)))


def _blas_against_examples(results: Results) -> Verdict:
    """Compare Fast Parallel and the libraries' parallel rows with Multicore Parallel."""
    texts, good, found = [], True, set()
    rows = [ROW[FAST_PARALLEL], *(r for r in LIBRARY_ROWS if r.parallel)]
    for network in NETWORKS:
        examples = _means(results, ROW[MULTICORE], network)
        others = {row.name: _means(results, row, network) for row in rows}
        for name, blas in others.items():
            if examples is None or blas is None:
                continue
            found.add("library" if ROW[name].foreign else name)
            good &= blas[0] < examples[0] and blas[1] > examples[1]
            texts.append(
                f"{name} {network}: x{blas[0]:.2f} against x{examples[0]:.2f}, "
                f"{blas[1]:.1f} against {examples[1]:.1f} GFLOP/s"
            )
    claim = "BLAS and library rows speed up less than example-parallel, but win in GFLOPS"
    return Verdict("f", claim, said(texts), over(bool(found), good, len(found) == 2))


def _means(results: Results, row: PaperRow, network: str) -> tuple[float, float] | None:
    """Return the mean speedup and the mean rate of a row, None if it was not run."""
    speedups = list(results.speedups(row, network).values())
    if not speedups:
        return None
    rates = list(results.gflops(row.name, network).values())
    return float(np.mean(speedups)), float(np.mean(rates))


def _blas_serial(results: Results) -> Verdict:
    found = _ratios(results, NAIVE, FAST)
    texts = [f"x{np.median(r):.2f} ({network})" for network, r in found.items()]
    good, whole = all(5 <= np.median(r) <= 20 for r in found.values()), False
    for row in (r for r in LIBRARY_ROWS if not (r.parallel or r.on_gpu)):
        for network, ratios in _ratios(results, FAST, row.name).items():
            texts.append(f"{row.name} x{np.median(ratios):.2f} faster still ({network})")
            good &= bool(1 <= np.median(ratios) <= LITTLE)
            whole = bool(found)
    claim = "BLAS serial about 10 times naive serial, a little slower than the library's serial"
    return Verdict("i", claim, said(texts), over(bool(texts), good, whole))
