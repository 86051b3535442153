"""Hostile TOML: configurations, study files and site files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from hpcpgd.config.read_options import read_toml
from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.resolve import resolve
from hpcpgd.config.run_config import FIELDS
from hpcpgd.kernels.backends.registry import BACKENDS
from hpcpgd.study import studyfile
from hpcpgd.study.grid import points
from hpcpgd.study.slurm import site
from tests.faults.hostile.damage import damaged, weighted
from tests.faults.hostile.format import Files, UnsoundError

DEEP = 20_000
VALUES = (
    "0", "1", "-1", "3", "1.5", "0.1", "1e400", "-0.0", "inf", "nan", "true", "''", "'auto'",
    "'none'", "'full'",
    "9" * 4000, "9" * 5000, "0x" + "f" * 3000, "0x" + "f" * 6000, "-1" + "0" * 30, "0o7", "0b1",
    "1979-05-27T07:32:00Z", "1979-05-27", "07:32:00", "9999-99-99", "[]", "[1]", "[0]", "[1, 'a']",
    "[[1]]", "[1, 1]", "[1, 1.0, true]", "{}", "{a = 1}", "{a.b = 1}", "[" * 400 + "]" * 400,
    "[" * DEEP, "{a=" * 300 + "1" + "}" * 300, "{a=" * DEEP, "{" + ".".join("a" * DEEP) + " = 1}",
    "[{" + ".".join("a" * 2000) + " = 1}]", '"\\u001b[2J"', '"a\\nb"', '"\\u0000"', '"\\ud800"',
    '"""\na\nb"""', "'x.npz'", '"a\\nb.csv"', "'synthetic:9x9x9'",
    "'synthetic:" + "9" * 5000 + "x1x1'",
    "'" + "x" * 70_000 + "'", "'" + "x/" * 3000 + "'", "'10min'", "'1e3s'", "'\u0661s'",
    "'999999999999h'", "'2h'",
    "[" + "1, " * 50_000 + "]", "[" + ", ".join(map(str, range(1, 4000))) + "]", "'net-1h'",
    "['net-1h']",
    "[0x" + "f" * 6000 + "]", "[-0x" + "f" * 6000 + ", 1]", "{a = 0x" + "f" * 6000 + "}",
)  # fmt: skip
# What the fields may be; as one value, or as a list of values in a grid.
GOOD = {
    "dataset": ("'digits'", "'mnist'", "'synthetic:64x4x2'"), "train_rows": ("64", "'all'"),
    "backend": tuple(f"'{name}'" for name in BACKENDS), "dtype": ("'float32'", "'float64'"),
    "reduction": tuple(f"'{name}'" for name in REDUCTIONS), "hidden": ("[4]", "[4, 3]"),
    "learning_rate": ("0.5", "1e-50", "1e300"), "batch_size": ("8", "'full'"), "threads": ("1",
    "2"),
    "loss": ("'mse'", "'cross-entropy'"), "output_activation": ("'softmax'", "'sigmoid'"),
    "ranks": ("1", "2"), "rows_per_rank": ("32",), "batch_per_rank": ("4",), "epochs": ("2",),
    "matmul_precision": ("'tf32'", "'float32'"), "shards": ("2",), "group_size": ("1",),
    "name": ("'a'", "'..'"), "kind": ("'strong'", "'weak'", "'sweep'"), "repeats": ("1", "1000"),
    "time_limit": ("'1h'",), "warmup_epochs": ("0",), "network": ("'net-1h'",),
    "partition": ("'p'",), "options": ("['-x']",), "setup": ("['module load']",), "at_once": ("2",),
}  # fmt: skip
STRANGE = (
    "", "''", '"a\\nb"', '"\\u001b[2J"', "é", "a.b", ".".join("a" * DEEP), "x" * 60_000, "Epochs",
    "batchsize",
)  # fmt: skip
TABLES = (
    *["train"] * 3, "study", "grid", "base", "site", "environment", "x", '"a\\nb"', "train.a",
)  # fmt: skip

_key = weighted(
    (9, st.sampled_from(sorted(GOOD))),
    (4, st.sampled_from(sorted(FIELDS))),
    (1, st.sampled_from(STRANGE)),
)


def _lines(table: str, keys: list[tuple[str, int, str | None]]) -> str:
    """Return a table; values are good ones where None stands for them, else hostile."""
    lines = [f"[{table}]"]
    for key, number, hostile in keys:
        known = GOOD.get(key, ("1",))
        value = known[number % len(known)] if hostile is None else hostile
        if table == "grid" and number % 8:
            value = f"[{', '.join(known) if hostile is None else hostile}]"
        lines.append(f"{key} = {value}")
    return "\n".join(lines)


_value = weighted((5, st.none()), (1, st.sampled_from(VALUES)))
_pairs = st.lists(
    st.tuples(_key, st.integers(0, 255), _value), max_size=5, unique_by=lambda pair: pair[0]
)


def _tables(names: tuple[str, ...]) -> SearchStrategy[str]:
    some = st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True)
    return some.flatmap(
        lambda tables: st.tuples(*[st.builds(_lines, st.just(table), _pairs) for table in tables])
    ).map("\n".join)


BOMBS = (
    "[train]\n" + "a.a.a.a.a = 1\n" * 2, "[" + ".".join("a" * DEEP) + "]\n",
    "[[train]]\n" * 20_000, "[train]\n" * 2,
    "".join(f"[t{n}]\n" for n in range(20_000)), "[grid]\n" + "".join(
        f"{key} = [{', '.join(map(str, range(1, 200)))}]\n"
        for key in ("epochs", "seed", "batch_size", "train_rows", "ranks", "threads")
    ), "\n" * 200_000, "# " + "x" * 200_000, "\x00", "[train]\r\nepochs = 1\r\n", "\ufeff[train]",
    "[grid]\nepochs = [" + ", ".join(map(str, range(1, 20_000))) + "]\n", "a" * 2_000_000,
    "[" * 100_000,
    "".join(f"{'a.' * n}b = 1\n" for n in range(500)), "[train]\nx = " + '"' * 5 + "\\" * 90_000,
)  # fmt: skip


def _file(name: str, tables: tuple[str, ...]) -> SearchStrategy[Files]:
    text = _tables(tables)
    texts = weighted((14, text), (1, _tables(TABLES)), (1, st.sampled_from(BOMBS)))
    return damaged(texts.map(lambda text: text.encode("utf-8", "surrogatepass")), 1).map(
        lambda data: {name: data}
    )


def cases() -> SearchStrategy[Files]:
    """Return a configuration, a study file or a site file."""
    run = _file("run.toml", ("train",))
    study = _file("study.toml", ("study", "grid", "train", "base"))
    return weighted((2, run), (2, study), (1, _file("site.toml", ("site", "environment"))))


def read(folder: Path) -> None:
    """Read what is there as the program does, to the end of what it checks before it starts."""
    path = next(folder.iterdir())
    if path.name == "run.toml":
        _read_run(path)
    elif path.name == "study.toml":
        for point in points(studyfile.read(path)):
            point.key, point.setting, point.as_json(), point.flags()  # they compute
    else:
        site.read(path)


def _read_run(path: Path) -> None:
    """Read a configuration; what is printed of it must read back as the same."""
    config = resolve(read_toml(str(path)), {})
    again = path.with_name("again.toml")
    again.write_text(config.to_toml(), encoding="utf-8")
    if resolve(read_toml(str(again)), {}) != config:
        raise UnsoundError(f"does not read back: {asdict(config)}"[:300])
