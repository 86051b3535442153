"""Hostile text files: tables with any separator, header and labels, plain or gzipped."""

from __future__ import annotations

import gzip

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.faults.hostile.damage import damaged, weighted
from tests.faults.hostile.format import Files

WORDS = (
    "", " ", "0", "1", "2", "-1", "1.5", "1e400", "-1e-400", "inf", "-inf", "nan", "NaN", "1_0",
    "0x10", "1e", "١٢", "１", "²", "\x00", "\x1b[2J", "\x0c", "\x85", "\u2028", "\ufeff1", "a",
    "#1",
    '"1"', '"', '""', '"1,2"', '"1\n2"', '1"2', "'1'", "2147483647", "2147483648", "-2147483649",
    "9" * 400, "1" + "0" * 300, "0." + "0" * 400 + "1", "True", "1+2j", "1;2", "1\t2", "\\n",
    "9" * 140_000, "0" * 140_000 + "1", "x" * 140_000, '"' * 1001, "1" + " " * 5000,
)  # fmt: skip
_hostile = st.sampled_from(WORDS)
_label = st.sampled_from(("0", "1", "1.0"))
_words = st.sampled_from(
    ("cat", "dog", "cat", "dog", "a,b", "größe", "\x1b[2J", "", "1", "é" * 999)
)
_number = st.one_of(
    st.sampled_from(("0", "0.5", "-3e2", "7")), st.floats(-9, 9, width=32).map(repr)
)
ENDS = ("\n", "\n", "\n", "\n", "\n", "\r\n", "\r", "\n\n", " \n", "\x0b", "\u2028")
CODINGS = ("utf-8", "utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32")


def _row(columns: int) -> SearchStrategy[list[str]]:
    numbers = st.tuples(*[_number] * (columns - 1), _label).map(list)
    words = st.tuples(*[_number] * (columns - 1), _words).map(list)
    first = numbers.map(lambda row: row[::-1])
    good = weighted((6, numbers), (1, words), (1, first))
    spoilt = st.builds(
        lambda row, at, word: [*row[: at % len(row)], word, *row[at % len(row) + 1 :]],
        good, st.integers(0, 9), _hostile,
    )  # fmt: skip
    return weighted((20, good), (1, spoilt), (1, st.lists(_hostile, max_size=4)))


def _text(
    head: list[str], rows: list[list[str]], more: int, end: str, last: bool, separator: str
) -> str:
    decimal = "," if separator == ";" and more else "."
    lines = [separator.join(row).replace(".", decimal) for row in ([head] if head else []) + rows]
    lines += lines[-1:] * more
    return end.join(lines) + (end if last else "")


_heads = st.sampled_from((
    [], [], ["a", "b", "label"], ["0", "1", "y"], ["1", "2", "3"], ['"', "y"], ["0", "1", "2"],
    ["label", "a", "b"], ["", "a", "y"], ["y", "label"], ["# a"], ["\x1b[2J", "a" * 9000, "y"],
))  # fmt: skip
_texts = st.sampled_from((1, 2, 3, 3, 4)).flatmap(
    lambda columns: st.builds(
        _text, _heads, st.lists(_row(columns), min_size=3, max_size=6),
        st.sampled_from((0, 0, 0, 1, 300)), st.sampled_from(ENDS), st.booleans(),
        st.sampled_from((",", ",", ",", ",", ";", "\t", "|", " ", "  ")),
    )
)  # fmt: skip
_bombs = st.sampled_from((
    "," * 100_000, ",\n" * 20_000, "\n" * 100_000, "1,0\n1,1\n" * 20_000, '"' * 100_000,
    "a" + ",a" * 20_000 + "\n" + "1\n" * 20_000, '1,"' + "1\n" * 50_000, "1,0\r" * 20_000,
    '"\n' * 20_000, "1,1\n" + '"1' * 50_000,
))  # fmt: skip


def cases() -> SearchStrategy[Files]:
    """Return one file each."""
    texts = weighted((30, _texts), (1, _bombs))
    content = st.builds(
        lambda text, coding: text.encode(coding, "backslashreplace"),
        texts,
        st.sampled_from(CODINGS),
    )
    plain = damaged(content, 2)
    packed = damaged(plain.map(lambda data: gzip.compress(data, 1, mtime=0)), 1)
    return weighted(
        (8, plain.map(lambda data: {"data.csv": data})),
        (1, plain.map(lambda data: {"data.txt": data})),
        (1, packed.map(lambda data: {"data.csv.gz": data})),
    )
