"""A running peer program: a process of another Python, with which we exchange lines of JSON."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from hpcpgd.errors import UnavailableError

PATIENCE = 300.0  # seconds for an answer; compilation takes longest
FAREWELL = 10.0  # seconds in which the program must end after the end of its input
# BLAS libraries and OpenMP read their numbers of threads when they are loaded.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class PeerProcess:
    """A peer program, which runs on the cores that this thread may use when it is started.

    Parameters
    ----------
    label : str
        The program's name in errors.

    Raises
    ------
    UnavailableError
        Here and in every method, if the program cannot be started, has ended or has failed.
    """

    def __init__(self, label: str, command: Sequence[str], threads: int) -> None:
        self._label = label
        self._owed = 0
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        environ = os.environ | dict.fromkeys(THREADS, str(threads))
        try:
            # Unbuffered: what has not been read is in the pipe, so that `select` reports it.
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
        """Return the answer to the last request; an earlier answer that is an error is raised."""
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
        """End the program's input, and kill the program if it does not end then."""
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
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> UnavailableError:
        """Return the error for a program that has ended: its exit status and last line."""
        try:
            status = self._process.wait(FAREWELL)
        except subprocess.TimeoutExpired:  # it has closed its output, but still runs
            return UnavailableError(f"{self._label}: closed its output")
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        last = f": {words[-1]}" if words else ""
        return UnavailableError(f"{self._label}: ended with exit status {status}{last}")
