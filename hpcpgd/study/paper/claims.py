"""The ten claims of the paper's section 6, compared with what was measured here."""

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
from hpcpgd.study.paper.verdict import Seen, Verdict, judged

CONSTANT = 1.1  # largest over smallest time, within which times are called constant
PAPER_CORES = 32
LITTLE = 2.0  # up to this factor "a little slower"
NO_GPU = ("GPU not run here", True)  # is printed, but does not count


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
    seen: Seen = []
    for row in rows:
        for network in NETWORKS:
            times = list(results.seconds(row, network).values())
            if len(times) > 1:
                spread = max(times) / min(times)
                seen.append((f"{row} {network} {spread:.2f}", spread <= CONSTANT))
    return judged(letter, claim, seen, what="largest over smallest: ")


def _falls(results: Results) -> Verdict:
    """Compare the smallest and the largest batch of the rows parallel over examples."""
    seen: Seen = []
    on_gpu = False
    for row in (MULTICORE, GPU):
        for network in NETWORKS:
            times = results.seconds(row, network)
            if len(times) > 1:
                on_gpu = on_gpu or row == GPU
                ratio = times[max(times)] / times[min(times)]
                seen.append((f"{row} {network} {ratio:.2f}", ratio < 1 / CONSTANT))
    if seen and not on_gpu:
        seen.append(NO_GPU)
    claim = "example-parallel and GPU time falls with the batch size"
    what = "time at the largest batch over the smallest: "
    return judged("b", claim, seen, whole=on_gpu, what=what)


def _ratios(results: Results, slow: str, fast: str) -> dict[str, list[float]]:
    """Return the ratios of two rows' times at each batch size, by network."""
    by_network = {}
    for network in NETWORKS:
        one, other = results.seconds(slow, network), results.seconds(fast, network)
        ratios = [one[b] / other[b] for b in one if b in other]
        if ratios:
            by_network[network] = ratios
    return by_network


def _gpu_beats(results: Results) -> Verdict:
    ratios = _ratios(results, MULTICORE, GPU)
    seen = [(f"{network} at least x{min(r):.1f}", min(r) > 1) for network, r in ratios.items()]
    whole = all(len(r) == len(results.batches) for r in ratios.values())
    claim = "the GPU beats multicore at every batch size"
    return judged("c", claim, seen, whole=whole)


def _mean_speedups(results: Results, cores: int) -> Verdict:
    """Compare efficiencies, as this machine has other cores than the paper's."""
    ratios = _ratios(results, NAIVE, MULTICORE)
    every = [value for values in ratios.values() for value in values]
    claim = "mean speedup 10 with 32 cores, 25 on the GPU"
    if not every:
        return judged("e", claim, [])
    mean = float(np.mean(every))
    text = (
        f"multicore x{mean:.2f} with {cores} cores, efficiency {mean / cores:.2f} "
        f"(the paper's {10 / PAPER_CORES:.2f})"
    )
    gpu = [v for r in _ratios(results, NAIVE, GPU).values() for v in r]
    on_gpu = (f"GPU x{np.mean(gpu):.0f}", float(np.mean(gpu)) >= 25) if gpu else NO_GPU
    seen = [(text, mean / cores >= 10 / PAPER_CORES), on_gpu]
    return judged("e", claim, seen, whole=bool(gpu))


def _blas_against_examples(results: Results) -> Verdict:
    """Compare Fast Parallel and the libraries' parallel rows with Multicore Parallel."""
    seen: Seen = []
    kinds = set()
    rows = [ROW[FAST_PARALLEL], *(r for r in LIBRARY_ROWS if r.parallel)]
    for network in NETWORKS:
        examples = _means(results, ROW[MULTICORE], network)
        others = {row.name: _means(results, row, network) for row in rows}
        for name, blas in others.items():
            if examples is None or blas is None:
                continue
            kinds.add("library" if ROW[name].foreign else name)
            text = (
                f"{name} {network}: x{blas[0]:.2f} against x{examples[0]:.2f}, "
                f"{blas[1]:.1f} against {examples[1]:.1f} GFLOP/s"
            )
            seen.append((text, blas[0] < examples[0] and blas[1] > examples[1]))
    claim = "BLAS and library rows speed up less than example-parallel, but win in GFLOPS"
    return judged("f", claim, seen, whole=len(kinds) == 2)


def _means(results: Results, row: PaperRow, network: str) -> tuple[float, float] | None:
    """Return the mean speedup and the mean rate of a row, None if it was not run."""
    speedups = list(results.speedups(row, network).values())
    if not speedups:
        return None
    rates = list(results.gflops(row.name, network).values())
    return float(np.mean(speedups)), float(np.mean(rates))


def _blas_serial(results: Results) -> Verdict:
    by_network = _ratios(results, NAIVE, FAST)
    middle = {network: float(np.median(ratios)) for network, ratios in by_network.items()}
    seen = [(f"x{ratio:.2f} ({network})", 5 <= ratio <= 20) for network, ratio in middle.items()]
    for row in (r for r in LIBRARY_ROWS if not (r.parallel or r.on_gpu)):
        for network, ratios in _ratios(results, FAST, row.name).items():
            ratio = float(np.median(ratios))
            text = f"{row.name} x{ratio:.2f} faster still ({network})"
            seen.append((text, 1 <= ratio <= LITTLE))
    claim = "BLAS serial about 10 times naive serial, a little slower than the library's serial"
    return judged("i", claim, seen, whole=0 < len(by_network) < len(seen))
