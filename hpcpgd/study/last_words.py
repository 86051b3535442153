"""The reason why a program failed: one line of what it and its launcher wrote."""

from __future__ import annotations

import re
from itertools import pairwise

EXCEPTION = re.compile(r"[\w.]+(Error|Exception|Exit|Interrupt)\b")  # the last line of a traceback
RULE = re.compile(r"-{20,}")  # Open MPI prints it above and below its messages
LONGEST = 500
# What Open MPI prints when it refuses to run as root, and what it then needs.
ROOT = "run as root"
ROOT_CURE = (
    "Open MPI wants OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 in the "
    "environment, or another user than root"
)


def reason(error: str) -> str:
    """Return the line of a standard error that gives the reason, "" if it is empty."""
    lines = [" ".join(line.split()) for line in error.splitlines()]
    said = [line for line in lines if any(map(str.isalpha, line))]  # launchers draw boxes
    ours = [line for line in said if line.startswith("hpcpgd")]
    errors = [line for line in said if "error" in line.lower()]
    told = (ours or errors or _boxed(lines) or said or [""])[-1]
    if "internal error" in told:  # the exception is what stands below
        told = ": ".join([told, *filter(EXCEPTION.match, said)][:2])
    return told[:LONGEST]


def cure(told: str) -> str:
    """Return what to do about a ``reason``, "" if nothing is known."""
    return ROOT_CURE if ROOT in told else ""


def _boxed(lines: list[str]) -> list[str]:
    """Return the texts above each rule, each as one line."""
    rules = [number for number, line in enumerate(lines) if RULE.fullmatch(line)]
    texts = [" ".join(lines[a:b]) for a, b in pairwise([0, *(rule + 1 for rule in rules)])]
    plain = [" ".join(RULE.sub("", text).split()) for text in texts]
    return [text for text in plain if text]
