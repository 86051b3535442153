"""The NUMA domains of a node, and whether the cores of a rank lie in several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.doctor.finding import Finding, ok, warning
from hpcpgd.machine.cores import processors

SUBJECT = "NUMA"
DOMAINS = Path("/sys/devices/system/node")


@dataclass(frozen=True)
class Domains:
    """The domains of a node.

    Attributes
    ----------
    sizes : tuple of int
        Number of logical processors of each.
    spanned : int
        Number of domains with a processor that this rank may use.
    """

    sizes: tuple[int, ...]
    spanned: int


def observe(allowed: Sequence[int], folder: Path = DOMAINS) -> Domains:
    """Return the domains, none if they are unknown; ``allowed`` are a rank's processors."""
    lists = [path.read_text() for path in sorted(folder.glob("node[0-9]*/cpulist"))]
    domains = [numbers for numbers in map(processors, lists) if numbers]
    spanned = sum(not numbers.isdisjoint(allowed) for numbers in domains)
    return Domains(tuple(map(len, domains)), spanned)


def judge(seen: Domains, threads: int) -> list[Finding]:
    """Warn where a rank with several threads may use cores of several domains."""
    if not seen.sizes:
        return []
    sizes = " + ".join(map(str, seen.sizes))
    text = f"{len(seen.sizes)} domain{'s' * (len(seen.sizes) != 1)}, {sizes} logical processors"
    if threads > 1 and seen.spanned > 1:
        text += f"; a rank's {threads} threads may run in {seen.spanned} domains"
        return [warning(SUBJECT, text, "start a rank a domain, or one a core, with --group-size")]
    return [ok(SUBJECT, text)]
