"""A peer program at work: a process of another Python, spoken to in lines of JSON."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from hpcpgd.errors import UnavailableError

PATIENCE = 300.0  # seconds for an answer; the longest wait is for a compiler
FAREWELL = 10.0  # seconds to end after its input has
# BLAS libraries and OpenMP count their threads when they are loaded.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class PeerProcess:
    """A peer program, which runs where this thread may run when it is started.

    Parameters
    ----------
    label : str
        Names it in errors.
    command : sequence of str
    threads : int

    Raises
    ------
    UnavailableError
        Here and in every method, with one line: it cannot be started, ended or failed.
    """

    def __init__(self, label: str, command: Sequence[str], threads: int) -> None:
        self._label = label
        self._owed = 0
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        environ = os.environ | dict.fromkeys(THREADS, str(threads))
        try:
            # Unbuffered: what has not been read is in the pipe, where `select` sees it.
            self._process = subprocess.Popen(
                command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self._complaints, env=environ,
            )  # fmt: skip
        except OSError as error:
            self._complaints.close()
            raise UnavailableError(f"{label}: cannot be started: {error.strerror}") from error
        self._requests: Any = self._process.stdin
        self._answers: Any = self._process.stdout

    def post(self, **request: Any) -> None:
        """Send a request; ``wait`` reads the answer."""
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._ended() from None
        self._owed += 1

    def wait(self) -> dict[str, Any]:
        """Return the answer to the last request; none before it may be an error."""
        answer: dict[str, Any] = {}
        while self._owed > 0:
            self._owed -= 1
            answer = self._read()
            if "error" in answer:
                raise UnavailableError(f"{self._label}: {answer['error']}")
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return its answer."""
        self.post(**request)
        return self.wait()

    def close(self) -> None:
        """End the program's input, and the program if it does not end by itself."""
        self._requests.close()
        try:
            self._process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._complaints.close()

    def _read(self) -> dict[str, Any]:
        ready, _, _ = select.select([self._answers], [], [], PATIENCE)
        if not ready:
            raise UnavailableError(f"{self._label}: no answer for {PATIENCE:g} s")
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise self._ended()
        found: dict[str, Any] = json.loads(line)
        return found

    def _ended(self) -> UnavailableError:
        """Return the error for a program that ended: its exit status and last words."""
        try:
            status = self._process.wait(FAREWELL)
        except subprocess.TimeoutExpired:  # it closed its output, and goes on
            return UnavailableError(f"{self._label}: closed its output")
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        last = f": {words[-1]}" if words else ""
        return UnavailableError(f"{self._label}: ended with exit status {status}{last}")
