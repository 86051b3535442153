"""``python -m hpcpgd.predict``: apply the network of a run file, alone or under ``mpirun``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from hpcpgd.cli.launcher import guarded
from hpcpgd.cli.parser import OneLineParser
from hpcpgd.errors import UsageError, nearest

PROGRAM = "hpcpgd predict"
SPLITS = ("train", "validation", "test", "all")
WEIGHTS = (
    "last: of the end; best: of the lowest validation loss, by train --keep-best (default: last)"
)
SUFFIXES = (".npz", ".csv", ".h5")
DESCRIPTION = """Apply the network of a run file to rows of a dataset, and write their classes and
the outputs of the network, or the numbers that a regression predicts.  Where the rows have labels,
print accuracy, loss and, for up to 20 classes, the confusion matrix, or R2 and the mean squared
error.  Under mpirun the ranks divide the rows; the result has the same
bits on any number of ranks."""
EPILOG = """Exit code: 0 done, 2 wrong flag, 65 bad run file or dataset, such as one with another
number of inputs, 69 no MPI or too little memory, 74 the output cannot be written, 78 flags that do
not go together."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hpcpgd predict`` and return its exit code.  Collective over all ranks."""
    return guarded(PROGRAM, lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> Namespace:
    parser = OneLineParser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument("run", type=Path, metavar="RUN.h5")
    parser.add_argument(
        "--dataset", metavar="NAME|PATH", help="as for train --dataset (default: that of the run)"
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="train, validation or test: for the dataset of the run the rows that it used so, else "
        "those of the file; all: all rows in the order of the file (default: all with --dataset, "
        "else test)",
    )
    parser.add_argument(
        "--label-column",
        metavar="auto|none|first|last|NAME|N",
        help="as for train --label-column; none: the text file has no labels (default: for the "
        "dataset of the run and for a regression as in the run, else auto)",
    )
    parser.add_argument("--weights", choices=("last", "best"), default="last", help=WEIGHTS)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the predictions, to a name in .npz, .csv or .h5",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    options = parser.parse_args(argv)
    options.split = options.split or ("all" if options.dataset else "test")
    if options.split not in SPLITS:
        hint = nearest(options.split, SPLITS)
        raise UsageError(f"--split {options.split}: expected one of {', '.join(SPLITS)}{hint}")
    if options.output and options.output.suffix not in SUFFIXES:
        raise UsageError(f"--output {options.output}: expected a name in {', '.join(SUFFIXES)}")
    return options


def _run(request: Namespace) -> int:
    from hpcpgd.predict.prediction import predict  # imports MPI, which --help does not need
    from hpcpgd.train.job import on_world

    return on_world(PROGRAM, lambda world: predict(world, request))
