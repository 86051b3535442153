"""``python -m tests.faults.corrupt RANK WHAT STEP SEED FOLDER WORDS``: a rank with a wrong number.

In step ``STEP`` of the run, from 1, that rank has NaN in a row of its share (``WHAT`` is
``row``) or in its gradient (``gradient``), or, before it, a flipped bit in its weights
(``flip``).  Every rank writes to ``FOLDER`` the error with which it ends, and a hash of its
weights wherever ranks compare theirs.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.cli.launcher import launcher_rank
from hpcpgd.environment.fault_points import hooks
from hpcpgd.errors import HpcpgdError
from hpcpgd.train import cli


def _row(trainer: Any, epoch: int, step: int, draw: random.Random) -> str:
    """Make one of the rows that this rank gathers in this step NaN.

    All of it: a rank may compute with some of the columns alone.
    """
    begin, end = _share(trainer, step)
    number = np.zeros(1, np.int64)
    trainer.sampler.numbers(epoch, draw.randrange(begin, end), number)
    trainer.dataset.train.features[number[0]] = np.nan
    return f"row {number[0]}"


def _share(trainer: Any, step: int) -> tuple[int, int]:
    """Return the positions of rows that no other rank gathers, and that this one scores."""
    from hpcpgd.kernels.core.partition import block_range
    from hpcpgd.reductions.shared import SharedEngine, group_rows

    engine, sampler, comm = trainer.engine, trainer.sampler, trainer.comm
    group = getattr(engine, "group", None)
    if group is None:
        found: tuple[int, int] = sampler.slice(step, comm.size, comm.rank)
        return found
    begin, end = sampler.minibatch(step)
    if isinstance(engine, SharedEngine):
        begin, end = group_rows(sampler, step, comm.size, group)
    elif group.size == 1:  # each gathers all rows, and begins with those of its units
        schedule = engine.plan.schedule
        grid, units = schedule.phases[0].grid, schedule.bounds[0][comm.rank : comm.rank + 2]
        parts = units[0] // grid.tiles, (units[1] - 1) // grid.tiles
        spans = [block_range(end - begin, grid.parts, int(part)) for part in parts]
        return begin + spans[0][0], begin + spans[1][1]
    first, last = block_range(end - begin, group.size, group.index)
    return begin + first, begin + last


def _gradient(trainer: Any, epoch: int, step: int, draw: random.Random) -> str:
    """Put NaN into the gradient that this rank hands over in this step."""
    engine = trainer.engine
    place = draw.random()
    if not hasattr(engine, "partial_and_sum"):
        partial = engine.partial

        def outer(*arguments: Any) -> None:
            partial(*arguments)
            engine.partial = partial
            engine._gradient[int(place * engine.network.size)] = np.nan

        engine.partial = outer
        return "the gradient"
    send = engine._send

    def sent(comm: Any, piece: Any, requests: Any) -> None:
        if piece.size and piece is not engine._slots:
            engine._send = send
            piece[int(place * piece.size)] = np.nan
        send(comm, piece, requests)

    engine._send = sent
    return "a piece of the gradient"


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
    "row": _row, "gradient": _gradient, "flip": _flip,
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
