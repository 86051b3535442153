"""The table that ``data info`` prints."""

from __future__ import annotations

import numpy as np

from hpcpgd.data.checks import extent
from hpcpgd.data.dataset import RawData, Split, sha256, splits_of
from hpcpgd.errors import printable

_MOST_CLASSES = 20  # up to this many are listed one by one; more are summarised


def describe(raw: RawData) -> str:
    """Return a short aligned table: rows, inputs, dtype, classes, counts, scale and hash."""
    splits = splits_of(raw)
    facts = [
        ("dataset", raw.name if raw.name.isprintable() else ascii(raw.name)),
        *((name, f"{split.rows} rows") for name, split in splits.items()),
        ("inputs", str(raw.train.features.shape[1])),
        ("dtype", str(raw.train.features.dtype)),
        ("scale", f"{raw.scale:.10g}"),
        ("offset", f"{raw.offset:.10g}"),
        ("range", "{:.6g} to {:.6g} as stored".format(*extent(raw.train.features))),
        ("sha256", sha256(raw)),
        ("targets" if raw.regression else "classes", str(raw.n_out)),
        *(("inferred", printable(note)) for note in raw.notes),
        *([("caution", raw.range_note)] if raw.range_note else []),
    ]
    lines = [f"{name:<11} {value}" for name, value in facts]
    return "\n".join([*lines, *_class_counts(splits, raw)])


def _class_counts(splits: dict[str, Split], raw: RawData) -> list[str]:
    if raw.regression:
        head = f"{'target':>11} {'minimum':>12}{'mean':>12}{'maximum':>12}"
        y = splits["train"].labels
        rows = zip(raw.class_names or range(raw.n_out), y.min(0), y.mean(0), y.max(0), strict=True)
        return [
            head,
            *(
                f"{printable(str(n))[:11]:>11} {a:>12.6g}{b:>12.6g}{c:>12.6g}"
                for n, a, b, c in rows
            ),
        ]
    n_classes, names = raw.n_out, raw.class_names
    counts = {n: np.bincount(s.labels, minlength=n_classes) for n, s in splits.items()}
    if n_classes > _MOST_CLASSES:
        return [
            f"{f'in {name}':<13} {c.min()} to {c.max()} rows a class" for name, c in counts.items()
        ]
    head = f"{'class':>11} " + "".join(f"{name:>12}" for name in counts)
    body = (
        f"{k:>11} "
        + "".join(f"{column[k]:>12}" for column in counts.values())
        + (f"  {printable(names[k])}" if names else "")
        for k in range(n_classes)
    )
    return [head, *body]
