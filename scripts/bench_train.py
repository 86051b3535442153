"""Time a training step of hpcpgd and compare it with the GEMM floor and the FMA peak.

    python -m scripts.bench_train [--rounds 15] [--quick] [--output FILE.json]
        [--batches N …] [--peers-python PYTHON]

PYTHON is an interpreter with the packages of ``bench/requirements-peers.txt``: JAX, PyTensor,
PyTorch and scikit-learn.  The program starts itself on two ranks.  The modules in ``bench/``
say how each part is measured.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.bench import launcher


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=15, help="undisturbed rounds to collect")
    text = "two short rounds, small batches only"
    parser.add_argument("--quick", action="store_true", help=text)
    parser.add_argument(
        "--batches", type=int, nargs="+", metavar="N", default=[128, 1024],
        help="rows of a minibatch (default: 128 1024); even, at most 4096",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, help="default: scripts/results/MACHINE-DATE/bench_train.json"
    )
    parser.add_argument(
        "--peers-python",
        metavar="PYTHON",
        help="time other libraries, too; needs scripts/bench/requirements-peers.txt",
    )
    options = parser.parse_args(argv)
    if options.rounds < 1:
        parser.error(f"--rounds: expected a whole number from 1, got {options.rounds}")
    for batch in options.batches:
        if batch not in range(2, 4097, 2):
            parser.error(f"--batches: expected even numbers from 2 to 4096, got {batch}")
    python = options.peers_python
    if python is not None and shutil.which(python) is None:
        parser.error(f"--peers-python: expected a program that can be run, got {python}")
    return options


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    if not launcher.launched():
        return launcher.relaunch(("-m", "scripts.bench_train", *argv))
    from scripts.bench import job

    return job.run(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
