"""The claims about the libraries and about the GPU's widths: (g), (h) and (j)."""

from __future__ import annotations

from hpcpgd.config.run_config import NETWORKS
from hpcpgd.study.paper.measured_rows import Results
from hpcpgd.study.paper.paper_rows import ODD_WIDTHS
from hpcpgd.study.paper.paper_table import GPU, LIBRARY_ROWS, PAPERS_OWN, ROW, PaperRow
from hpcpgd.study.paper.verdict import Seen, Verdict, judged

LARGE = (512, 1024)
NEAR = 128
OUR_BEST = "gemm parallel"
FULL_WIDTH = 1024
LOSES = 1.02  # times slower for an operation, from which a width "loses"


def _fastest(
    results: Results, rows: tuple[str, ...], network: str, batch: int
) -> tuple[str, float]:
    """Return the row with the lowest time, "" if none was run."""
    times = {row: results.seconds(row, network).get(batch) for row in rows}
    known = {row: time for row, time in times.items() if time is not None}
    return min(known.items(), key=lambda item: item[1], default=("", 0.0))


def library_at_large(results: Results) -> Verdict:
    """Claim (g): compare the fastest library with the fastest of the paper's own rows."""
    seen: Seen = []
    libraries = tuple(row.name for row in LIBRARY_ROWS)
    for network in NETWORKS:
        for batch in LARGE:
            library, time = _fastest(results, libraries, network, batch)
            own, theirs = _fastest(results, PAPERS_OWN, network, batch)
            if not (library and own):
                continue
            text = f"{network} batch {batch}: {library} {time:.3g} s, {own} {theirs:.3g} s"
            ours = results.seconds(OUR_BEST, network).get(batch)
            seen.append((text + (f", {OUR_BEST} {ours:.3g} s" if ours else ""), time < theirs))
    claim = "the library has the lowest time at large batches"
    asked = len(NETWORKS) * len({*LARGE} & {*results.batches})
    fair = _as_much_on_the_gpu(results)
    return judged("g", claim, seen, whole=len(seen) == asked, fair=fair)


def _as_much_on_the_gpu(results: Results) -> bool:
    """Return whether the paper's row and a library's were both timed on a GPU, or neither."""
    names = [row.name for row in LIBRARY_ROWS if row.on_gpu]
    for network in NETWORKS:
        own = bool(results.seconds(GPU, network))
        if own != any(results.seconds(name, network) for name in names):
            return False
    return True


def own_kernels(results: Results) -> Verdict:
    """Claim (h): compare our CUDA kernels with the libraries on the GPU."""
    seen: Seen = []
    whole = True
    for network in NETWORKS:
        own, ours = results.seconds(GPU, network), _growth(results, ROW[GPU], network)
        for row in (r for r in LIBRARY_ROWS if r.on_gpu):
            theirs, growth = results.seconds(row.name, network), _growth(results, row, network)
            if NEAR not in own or NEAR not in theirs:
                continue
            good = own[NEAR] < theirs[NEAR]
            text = f"{network} batch {NEAR}: own {own[NEAR]:.3g} s, {row.name} {theirs[NEAR]:.3g} s"
            if ours is None or growth is None:
                whole = False
            else:
                good = good and growth > ours
                text += (
                    f"; speedup at batch {max(own)} over that at {min(own)}: own x{ours:.1f}, "
                    f"{row.name} x{growth:.1f}"
                )
            seen.append((text, good))
    claim = "own CUDA kernels beat the library's GPU near batch 128, whose speedup grows fastest"
    return judged("h", claim, seen, whole=whole)


def _growth(results: Results, row: PaperRow, network: str) -> float | None:
    """Return a row's speedup at the largest batch over that at the smallest."""
    speedups = results.speedups(row, network)
    return speedups[max(speedups)] / speedups[min(speedups)] if len(speedups) > 1 else None


def odd_widths(results: Results) -> Verdict:
    """Claim (j), by times alone: to count bank conflicts needs a profiler."""
    seen: Seen = []
    for width in ODD_WIDTHS:
        losses = {}
        for batch in results.batches:
            whole, odd = (results.at(GPU, (w,), batch) for w in (FULL_WIDTH, width))
            if whole and odd:
                losses[batch] = whole.gflops / odd.gflops
        if len(losses) < 2:
            continue
        least, most = losses[min(losses)], losses[max(losses)]
        text = (
            f"an operation at width {width} takes x{least:.2f} (batch {min(losses)}) to "
            f"x{most:.2f} (batch {max(losses)}) of its time at width {FULL_WIDTH}"
        )
        seen.append((text, most > LOSES and most > least))
    claim = "GPU bank conflicts grow with the batch, and widths off multiples of 32 lose"
    return judged("j", claim, seen)
