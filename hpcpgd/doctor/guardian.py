"""A process beside each rank that reports if a check hangs or kills the rank.

``MPI_Init`` and a rank's first messages may do both, and no handler runs when SIGKILL or SIGSEGV
ends a process.
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

SILENT_SECONDS = 5.0  # how much longer the silent ranks wait, so that the speaker reports first


@dataclass(frozen=True)
class Stage:
    """A check that may hang or kill.

    Attributes
    ----------
    seconds : float
        Time that the check may take.
    cure : str
        What to do if the check does not end.
    """

    subject: str
    seconds: float
    cure: str


class Guardian:
    """Watches this process from another one during a ``with`` statement.

    It forks, so it must be made before MPI and threads are started.
    """

    def __init__(self, report: Report) -> None:
        watched, self._pipe = os.pipe()
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            _watch(watched, parent, report)
        os.close(watched)

    def enter(self, stage: Stage) -> None:
        """Say which check comes next."""
        self._send({"stage": asdict(stage)})

    def learn(self, findings: list[dict[str, Any]]) -> None:
        """Keep findings for the JSON document, which this process writes if a check hangs."""
        self._send({"findings": findings})

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # the other process was ended: the doctor goes on unwatched
            os.write(self._pipe, json.dumps(message).encode() + b"\n")

    def __enter__(self) -> Guardian:
        return self

    def __exit__(self, *error: object) -> None:
        self.dismiss()
        os.close(self._pipe)
        os.waitpid(self._child, 0)

    def dismiss(self) -> None:
        """End the watch: from now on this process reports errors itself."""
        self._send({"done": True})


def _watch(pipe: int, parent: int, report: Report) -> NoReturn:
    """Wait until the parent ends or its time is over; never return."""
    os.closerange(3, pipe)  # files that the launcher opened for its rank
    os.closerange(pipe + 1, 2**16)
    with suppress(OSError):
        os.setsid()  # a launcher that ends the rank's process group does not end this process
    stage, end = Stage("start", 60.0, "run it again"), time.monotonic() + 60.0
    text = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], max(end - time.monotonic(), 0.0))
        received = os.read(pipe, 2**16) if ready else b""
        if not received:
            break
        *lines, text = (text + received).split(b"\n")
        for message in map(json.loads, lines):
            if "done" in message:
                os._exit(0)
            report.findings += message.get("findings", [])
            if "stage" in message:
                stage = Stage(**message["stage"])
                end = time.monotonic() + stage.seconds + (0.0 if report.speaks else SILENT_SECONDS)
    _report(stage, bool(ready), report)
    if not ready:
        with suppress(ProcessLookupError):
            os.kill(parent, signal.SIGKILL)
    os._exit(0)


def _report(stage: Stage, ended: bool, report: Report) -> None:
    seen = "this process was killed here" if ended else f"no answer within {stage.seconds:.0f} s"
    finding = problem(stage.subject, seen, stage.cure, UnavailableError.exit_code)
    if report.speaks:
        text = f"{finding.line()}\nverdict: the checks that come after this one were not made"
        if report.as_json:
            report.findings.append({"rank": 0, **asdict(finding)})
            text = report.document(None)  # the exit code is that of the signal
        with suppress(OSError):
            os.write(1, text.encode(errors="backslashreplace") + b"\n")
