"""``python -m tests.faults.corrupt RANK WHAT STEP SEED FOLDER WORDS``: a rank with a wrong number.

In step ``STEP`` of the run, from 1, that rank has NaN in a row of its share (``WHAT`` is
``row``) or in its gradient (``gradient``), Inf in a row (``infinity``), or, before it, a flipped
bit in its weights (``flip``).  Every rank writes to ``FOLDER`` the error with which it ends, and
a hash of its weights wherever ranks compare theirs.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.cli.launcher import launcher_rank
from hpcpgd.environment.fault_points import hooks
from hpcpgd.errors import HpcpgdError
from hpcpgd.train import cli


def _row(trainer: Any, epoch: int, step: int, draw: random.Random, value: float = np.nan) -> str:
    """Make all of a row NaN, or another value, that this rank gathers in this step.

    One column would not do: a rank may compute with some of the columns alone.
    """
    begin, end = _share(trainer, step)
    number = np.zeros(1, np.int64)
    trainer.sampler.numbers(epoch, draw.randrange(begin, end), number)
    trainer.dataset.train.features[number[0]] = value
    return f"row {number[0]}"


def _share(trainer: Any, step: int) -> tuple[int, int]:
    """Return the positions of rows that no other rank gathers, and that this one scores."""
    from hpcpgd.kernels.core.partition import block_range
    from hpcpgd.reductions.reproducible import Reproducible

    begin, end = trainer.reduction.rows(step)
    if trainer.context.arena is None:
        return begin, end
    group, comm = trainer.context.group, trainer.comm
    if isinstance(trainer.reduction, Reproducible) and group.size == 1:
        # Each gathers all rows, and begins with those of its units.
        schedule = trainer.engine.plan.schedule
        first, last = schedule.bounds[0][comm.rank : comm.rank + 2]
        phase, network = schedule.phases[0], trainer.engine.network
        blocks = [phase.block(network, end - begin, int(unit)) for unit in (first, last - 1)]
        return begin + blocks[0][0][0], begin + blocks[1][0][1]
    first, last = block_range(end - begin, group.size, group.index)
    return begin + first, begin + last


def _gradient(trainer: Any, epoch: int, step: int, draw: random.Random) -> str:
    """Put NaN into the gradient that this rank passes to MPI in this step."""
    from hpcpgd.engines.host_engine import SLOTS

    place = draw.random()

    def spoil(piece: Any) -> None:
        if piece.size > SLOTS:  # not the flags alone
            del hooks["gradient"]
            piece[int(place * min(piece.size, trainer.engine.network.size))] = np.nan

    hooks["gradient"] = spoil
    return "the gradient"


def _flip(trainer: Any, epoch: int, step: int, draw: random.Random) -> str:
    """Flip a bit of this rank's parameters; return their layer."""
    network, flat = trainer.engine.network, trainer.engine.parameters
    layer = draw.randint(1, network.depth)
    inside = draw.choice((network.weights, network.biases))(flat, layer)
    if not np.shares_memory(inside, flat):
        raise ValueError("a copy of the parameters: nothing would be changed")
    place = tuple(draw.randrange(n) for n in inside.shape)
    words = inside.view(f"u{inside.itemsize}")
    words[place] ^= words.dtype.type(1 << draw.randrange(8 * inside.itemsize))
    return f"layer {layer}"


WHAT: dict[str, Callable[[Any, int, int, random.Random], str]] = {
    "row": _row, "infinity": partial(_row, value=np.inf), "gradient": _gradient, "flip": _flip,
}  # fmt: skip


def corrupt(what: str, number: int, seed: str, folder: Path) -> None:
    """Let this rank be wrong in step ``number``."""

    def step(trainer: Any, epoch: int, minibatch: int) -> None:
        if trainer.engine.steps == number - 1:
            done = WHAT[what](trainer, epoch, minibatch, random.Random(seed))
            (folder / "done").write_text(done)

    hooks["step"] = step


def report(folder: Path) -> None:
    """Let this rank write its weights' hashes, and the error with which its run ends."""

    def compared(comm: Any, parameters: Any, step: int) -> None:
        digest = hashlib.sha256(np.ascontiguousarray(parameters).data).hexdigest()
        (folder / f"weights{comm.rank}-{step}").write_text(digest)

    def ended(error: HpcpgdError) -> None:
        (folder / f"rank{launcher_rank()}").write_text(str(error))

    hooks["comparison"], hooks["error"] = compared, ended


def main(argv: list[str]) -> int:
    rank, what, number, seed, name, *words = argv
    folder = Path(name)
    report(folder)
    if launcher_rank() == int(rank):
        corrupt(what, int(number), seed, folder)
    return cli.main(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
