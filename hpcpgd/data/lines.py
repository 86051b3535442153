"""Lines of text files in UTF-8, or UTF-16 with a byte-order mark, plain or gzipped."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hpcpgd.errors import DataError

LONGEST_LINE = 2**24  # characters; split into cells, a line takes 25 times as many bytes


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """Open a text file in the encoding that its first bytes state.

    Bytes that are not UTF-8 are kept: they may be in a name that is not used.
    """
    with path.open("rb") as file:
        packed = path.suffix.lower() == ".gz"
        stream = gzip.GzipFile(fileobj=file) if packed else file
        mark = stream.read(2)
        stream.seek(0)
        wide = mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding, errors = ("utf-16", "strict") if wide else ("utf-8-sig", "surrogateescape")
        with io.TextIOWrapper(stream, encoding, errors) as text:
            yield text


def lines(file: TextIO, path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line that is neither blank nor a comment.

    Raises
    ------
    DataError
        If a line is longer than `LONGEST_LINE`, or holds a NUL.
    """
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise DataError(f"{path}: line {number} has more than {LONGEST_LINE} characters")
        if "\0" in line:
            raise DataError(f"{path}: line {number} has a NUL: is it text? save the file as UTF-8")
        text = line.strip(" \r\n")
        excel = number == 1 and text.startswith("sep=")  # a directive that only Excel reads
        if text and not text.startswith("#") and not excel:
            yield number, line.rstrip("\r\n")
