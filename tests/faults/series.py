"""``python -m tests.faults.series PLAN``: trainings one after the other in the same processes.

``PLAN`` is JSON.  ``trainings`` end in a way that all ranks agree on and give all shared memory
back: each has the words of its command line, a rank that asks all to stop and after how many
milliseconds (or null), and the exit codes that it may have.  The last training is the program's
own, with the faulty rank of ``victim``: its words are ``last``.  Before these, only the steps of a
training with words ``bare`` are made a number of times, and memory is freed right after the last
step.  In a whole training late threads would arrive before that.  With ``join`` false threads are
not joined.  Threads that still run when memory is freed, or when MPI ends or aborts, are reported
on stderr, as they rarely read the memory and crash.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

from hpcpgd.config.flags import parse
from hpcpgd.errors import HpcpgdError
from hpcpgd.machine import jit_cache
from hpcpgd.parallel import mpi
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.train import job
from tests.faults import victim

THREADS = ("pool", "team")  # how the names of threads that compute begin
OUTLIVED = "threads outlive memory"


def _train(world: Any, words: list[str], asked: list[int] | None, codes: list[int]) -> None:
    """Train once; collective over the world."""
    stop = StopRequest()
    if asked is not None and asked[0] == world.rank:
        timer = threading.Timer(asked[1] / 1000, setattr, (stop, "signalled", True))
        timer.daemon = True
        timer.start()
    code = 0
    try:
        job.train(world, parse(words)[0], words, stop)
    except HpcpgdError as error:
        if not error.agreed:
            raise
        code = error.exit_code
    if code not in codes:
        raise RuntimeError(f"exit code {code}, not one of {codes}: {words}")


def _bare(world: Any, words: list[str], turns: int) -> None:
    """Make a few steps and free the memory of groups at once, again and again; collective."""
    ranks = mpi.join(world)
    jit_cache.share_folder(ranks)  # before numba is imported
    from hpcpgd.engines.parameters import initial_parameters, make_network
    from hpcpgd.machine.resources import claim
    from hpcpgd.parallel.groups import Arena, make_group
    from hpcpgd.train.distribute import load_on_all
    from hpcpgd.train.planning import make_trainer
    from hpcpgd.train.warmup import compile_kernels

    config = parse(words)[0]
    dataset, resources = load_on_all(ranks, config), claim(ranks, config, 0.0)
    network = make_network(config, dataset.n_in, dataset.n_out)
    group = make_group(ranks, None)
    for _ in range(turns):
        arena, parameters = Arena(ranks, group), initial_parameters(network, 0)
        trainer = make_trainer(
            ranks.comm, config, dataset, network, parameters, resources, arena=arena
        )
        with closing(trainer):
            compile_kernels(ranks, trainer, None)
            trainer.reduction.step(1, 0, 0.1)
        arena.free()
    group.free()
    mpi.leave(ranks)


def _without_join() -> None:
    """Do not wait for worker threads, as if ``close`` did nothing."""
    join = threading.Thread.join

    def leave(thread: threading.Thread, timeout: float | None = None) -> None:
        if not thread.name.startswith(THREADS):
            join(thread, timeout)

    threading.Thread.join = leave  # type: ignore[method-assign,assignment]  # the fault


def _watched(inner: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``inner``, which frees memory, with a check for threads before it."""

    def outer(*arguments: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            late = [t.name for t in threading.enumerate() if t.name.startswith(THREADS)]
            if late:
                sys.stderr.write(f"{OUTLIVED} ({inner.__name__}): {late}\n")
                sys.stderr.flush()
        return inner(*arguments)

    return outer


def main(argv: list[str]) -> int:
    plan = json.loads(argv[0])
    for name in ("free_window", "finish", "abort"):
        setattr(mpi, name, _watched(getattr(mpi, name)))
    if not plan["join"]:
        _without_join()
    world = mpi.start()
    try:
        _bare(world, plan["bare"], plan["turns"])
        for words, asked, codes in plan["trainings"]:
            _train(world, words, asked, codes)
    except BaseException as error:
        mpi.abort_with_traceback(world, error)
    return victim.main(plan["last"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
