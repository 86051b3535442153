"""The claims about the libraries and about the GPU's widths: (g), (h) and (j)."""

from __future__ import annotations

from hpcpgd.config import NETWORKS
from hpcpgd.study.paper.plan import ODD_WIDTHS
from hpcpgd.study.paper.results import Results
from hpcpgd.study.paper.table import (
    FAST,
    FAST_PARALLEL,
    GPU,
    LIBRARY_ROWS,
    MULTICORE,
    NAIVE,
)  # fmt: skip
from hpcpgd.study.paper.verdict import Verdict, over, said

PAPERS_OWN = (NAIVE, MULTICORE, GPU, FAST, FAST_PARALLEL)
LARGE = (512, 1024)
NEAR = 128
OUR_BEST = "gemm parallel"
FULL_WIDTH = 1024
LOSES = 1.02  # times slower an operation, from which a width is said to lose


def _fastest(
    results: Results, rows: tuple[str, ...], network: str, batch: int
) -> tuple[str, float]:
    """Return the row with the lowest time, "" if none was run."""
    times = {row: results.seconds(row, network).get(batch) for row in rows}
    found = {row: time for row, time in times.items() if time is not None}
    return min(found.items(), key=lambda item: item[1], default=("", 0.0))


def library_at_large(results: Results) -> Verdict:
    """Claim (g): compare the fastest library with the fastest of the paper's own rows."""
    texts, good, found = [], True, False
    libraries = tuple(row.name for row in LIBRARY_ROWS)
    for network in NETWORKS:
        for batch in LARGE:
            library, time = _fastest(results, libraries, network, batch)
            own, theirs = _fastest(results, PAPERS_OWN, network, batch)
            if not (library and own):
                continue
            found = True
            good &= time < theirs
            text = f"{network} batch {batch}: {library} {time:.3g} s, {own} {theirs:.3g} s"
            ours = results.seconds(OUR_BEST, network).get(batch)
            texts.append(text + (f", {OUR_BEST} {ours:.3g} s" if ours else ""))
    claim = "the library has the lowest time at large batches"
    return Verdict("g", claim, said(texts), over(found, good))


def own_kernels(results: Results) -> Verdict:
    """Claim (h): compare our CUDA kernels with the libraries on the GPU."""
    texts, good, found = [], True, False
    for network in NETWORKS:
        own = results.seconds(GPU, network)
        for row in (r.name for r in LIBRARY_ROWS if r.on_gpu):
            theirs = results.seconds(row, network)
            if NEAR not in own or NEAR not in theirs:
                continue
            found = True
            good &= own[NEAR] < theirs[NEAR]
            growth = theirs[min(theirs)] / theirs[max(theirs)]
            ours = own[min(own)] / own[max(own)]
            good &= growth > ours
            texts.append(
                f"{network} batch {NEAR}: own {own[NEAR]:.3g} s, {row} {theirs[NEAR]:.3g} s; from "
                f"batch {min(own)} to {max(own)} x{ours:.1f} and x{growth:.1f} faster"
            )
    claim = "own CUDA kernels beat the library's GPU near batch 128, whose speedup grows fastest"
    return Verdict("h", claim, said(texts), over(found, good))


def odd_widths(results: Results) -> Verdict:
    """Claim (j), as far as times tell: conflicts themselves need a profiler."""
    texts, good, found = [], True, False
    for width in ODD_WIDTHS:
        losses = {}
        for batch in results.batches:
            whole, odd = (results.at(GPU, (w,), batch) for w in (FULL_WIDTH, width))
            if whole and odd:
                losses[batch] = whole.gflops / odd.gflops
        if len(losses) < 2:
            continue
        found = True
        least, most = losses[min(losses)], losses[max(losses)]
        good &= most > LOSES and most > least
        texts.append(
            f"an operation at width {width} takes x{least:.2f} (batch {min(losses)}) to "
            f"x{most:.2f} (batch {max(losses)}) of its time at width {FULL_WIDTH}"
        )
    claim = "GPU bank conflicts grow with the batch, and widths off multiples of 32 lose"
    return Verdict("j", claim, said(texts), over(found, good))
