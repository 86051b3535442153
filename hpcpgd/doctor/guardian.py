"""A process beside each rank that speaks where a check hangs, or kills the rank.

``MPI_Init`` and a rank's first messages do both, and a signal that kills runs no handler.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from hpcpgd.doctor.finding import problem
from hpcpgd.doctor.report import Report
from hpcpgd.errors import UnavailableError

DEAF_SECONDS = 5.0  # how much longer those wait who do not speak: the speaker comes first


@dataclass(frozen=True)
class Stage:
    """A check that may hang or kill.

    Attributes
    ----------
    subject : str
    seconds : float
        Time that it may take.
    cure : str
        What to do if it does not come back.
    """

    subject: str
    seconds: float
    cure: str


class Guardian:
    """Watches over this process from another one, between ``with`` and its end.

    Must be made before MPI and threads are started: it forks.

    Parameters
    ----------
    report : Report
        What this process has reported when it forks.
    """

    def __init__(self, report: Report) -> None:
        watched, self._pipe = os.pipe()
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            _watch(watched, parent, report)
        os.close(watched)

    def enter(self, stage: Stage) -> None:
        """Say what comes next."""
        self._send({"stage": asdict(stage)})

    def learn(self, findings: list[dict[str, Any]]) -> None:
        """Take findings that the one JSON document must hold if the next check hangs."""
        self._send({"findings": findings})

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # somebody ended it: nobody watches, that is all
            os.write(self._pipe, json.dumps(message).encode() + b"\n")

    def __enter__(self) -> Guardian:
        return self

    def __exit__(self, *error: object) -> None:
        self.dismiss()
        os.close(self._pipe)
        os.waitpid(self._child, 0)

    def dismiss(self) -> None:
        """End the watch: from now on this process reports its own end."""
        self._send({"done": True})


def _watch(pipe: int, parent: int, report: Report) -> NoReturn:
    """Wait for the end of the parent or of its time; never return."""
    os.closerange(3, pipe)  # what the launcher gave to its rank is the rank's alone
    os.closerange(pipe + 1, 2**16)
    with suppress(OSError):
        os.setsid()  # a launcher that ends the rank's group leaves it time for a line
    stage, end = Stage("start", 60.0, "run it again"), time.monotonic() + 60.0
    text = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], max(end - time.monotonic(), 0.0))
        said = os.read(pipe, 2**16) if ready else b""
        if not said:
            break
        *lines, text = (text + said).split(b"\n")
        for message in map(json.loads, lines):
            if "done" in message:
                os._exit(0)
            report.findings += message.get("findings", [])
            if "stage" in message:
                stage = Stage(**message["stage"])
                end = time.monotonic() + stage.seconds + (0.0 if report.speaks else DEAF_SECONDS)
    _tell(stage, bool(ready), report)
    if not ready:
        with suppress(ProcessLookupError):
            os.kill(parent, signal.SIGKILL)
    os._exit(0)


def _tell(stage: Stage, ended: bool, report: Report) -> None:
    seen = "this process was killed here" if ended else f"no answer within {stage.seconds:.0f} s"
    found = problem(stage.subject, seen, stage.cure, UnavailableError.exit_code)
    if report.speaks:
        text = f"{found.line()}\nverdict: the checks that come after this one were not made"
        if report.as_json:
            report.findings.append({"rank": 0, **asdict(found)})
            text = report.document(None)  # the exit code is that of the signal
        with suppress(OSError):
            os.write(1, text.encode(errors="backslashreplace") + b"\n")
