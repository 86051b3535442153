"""The summary of a kit as plain text, by pure functions of the outcomes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from hpcpgd.doctor.kit.allocation import NODE_COUNTS, Allocation
from hpcpgd.doctor.kit.outcome import FAILED, LEFT_OUT, Outcome

WIDTH = 96
FILES = (
    "doctor-N.txt: the findings of hpcpgd doctor on N nodes",
    "allreduce.txt: the time of an Allreduce by size and number of ranks",
    "study.toml: the scaling study, which hpcpgd study run runs again",
    "study.txt: its tables: medians, intervals, and where the time went",
    "study.h5: all its runs (schema hpcpgd.study/1)",
    "figures: speedup, efficiency and phases",
    "runs: its run files (schema hpcpgd.run/1) without the weights",
)
REPLACED = (
    "Nodes are called node1 to nodeN here. User and account names, domains, addresses and paths "
    "are replaced by words such as <user> and <home>, in all files. Processors, versions and "
    "times are not changed."
)
AS_THEY_ARE = "Names and paths are not replaced, because --with-names was given."


def tried(outcomes: Sequence[Outcome]) -> str:
    """Return a line for each step."""
    width = max(len(one.name) for one in outcomes)
    return "\n".join(
        f"{one.status:<8}  {one.name:<{width}}  {one.seconds:4.0f} s  {' '.join(one.line.split())}"
        for one in outcomes
    )


def wrong(outcomes: Sequence[Outcome]) -> list[str]:
    """Return what is wrong by the steps' lines; equal advice of several steps appears once."""
    advice: dict[str, str] = {}
    for one in outcomes:
        lines = [*one.odd]
        if one.status == FAILED:
            lines = [one.line, *(line for line in one.odd if line not in one.line)]
        for line in lines:
            words = " ".join(line.split())
            advice.setdefault(words.rpartition(" -> ")[2], f"{one.name}: {words}")
    return list(advice.values())


def left_out(outcomes: Sequence[Outcome], allocation: Allocation) -> list[str]:
    """Return what was not tried, with the reasons."""
    missing = [str(count) for count in NODE_COUNTS if count > allocation.nodes]
    left_out = [f"{' and '.join(missing)} nodes: {allocation.lacking}"] if missing else []
    most = allocation.counts[-1]
    if most < allocation.nodes:
        left_out.append(
            f"{allocation.nodes} nodes: a kit uses {' or '.join(map(str, NODE_COUNTS))}"
        )
    return left_out + [f"{one.name}: {one.line}" for one in outcomes if one.status == LEFT_OUT]


def section(title: str, lines: Sequence[str]) -> str:
    """Return lines as a list under a title; "nothing" if there are none."""
    shown = [
        textwrap.fill(
            line, WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines or ["nothing"]
    ]  # fmt: skip
    return "\n".join([title, "-" * len(title), *shown])


def summary(
    head: Sequence[str],
    outcomes: Sequence[Outcome],
    allocation: Allocation,
    tables: Sequence[tuple[str, str]],
    with_names: bool,
) -> str:
    """Return the text of the summary.

    Parameters
    ----------
    head : sequence of str
        Lines on the machine, the versions and the job.
    tables : sequence of (str, str)
        Titles and tables.
    with_names : bool
        Whether names are not replaced.
    """
    title, first = "hpcpgd: first contact", "What was tried, and what came out"
    names = AS_THEY_ARE if with_names else REPLACED
    parts = [
        "\n".join([title, "=" * len(title), *head]),
        "\n".join([first, "-" * len(first), tried(outcomes)]),
        section("What looks wrong", wrong(outcomes)),
        section("What was left out", left_out(outcomes, allocation)),
        *("\n".join([name, "-" * len(name), table]) for name, table in tables),
        section("Files of this folder; a step that failed may not have written its own", FILES),
        section("Names", [names]),
    ]
    return "\n\n".join(parts) + "\n"
