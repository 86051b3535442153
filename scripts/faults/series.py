"""``python -m faults.series PLAN``: trainings one after the other in the same processes.

``PLAN`` is JSON.  ``trainings`` end in a way that all ranks agree on and give all shared memory
back: each has the words of its command line, a rank that asks all to stop and after how many
milliseconds (or null), and the exit codes that it may have.  The last training is the program's
own, with the faulty rank of ``victim``: its words are ``last``.  ``join`` false takes the joining
of threads out.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from faults import victim
from hpcpgd import job, mpi
from hpcpgd.errors import HpcpgdError
from hpcpgd.options import parse
from hpcpgd.stop import StopRequest


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


def _without_join() -> None:
    """Let nobody wait for threads that compute, as before there was ``close``."""
    join = threading.Thread.join

    def leave(thread: threading.Thread, timeout: float | None = None) -> None:
        if not thread.name.startswith(("crew", "team")):
            join(thread, timeout)

    threading.Thread.join = leave  # type: ignore[method-assign,assignment]  # the fault


def main(argv: list[str]) -> int:
    plan = json.loads(argv[0])
    if not plan["join"]:
        _without_join()
    world = mpi.start()
    try:
        for words, asked, codes in plan["trainings"]:
            _train(world, words, asked, codes)
    except BaseException as error:
        mpi.abort_with_traceback(world, error)
    return victim.main(plan["last"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
