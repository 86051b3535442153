"""``hpcpgd study select``: the learning rate by validation accuracy, as in the paper.

Each rate of the paper's grid is trained from the same weights on the same minibatches; the
ranks are split into groups that share the rates out.  The highest validation accuracy
after the last epoch wins, of equals the lowest rate.  The test set is opened once, by the
winner.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpcpgd.errors import UsageError
from hpcpgd.study.learning_rates import RATES

DESCRIPTION = """Train with each learning rate of the paper's grid, shared out over the ranks, and
take the one with the highest validation accuracy; the test set is opened once.  The flags are
those of hpcpgd train, but for the learning rate."""


def main(argv: Sequence[str]) -> int:
    """Run the command line and return the exit code; collective over all ranks of the job."""
    from hpcpgd.config.flags import build_parser, parse
    from hpcpgd.config.run_config import FIELDS, flag_name

    for word in argv:
        if word.split("=")[0] == "--learning-rate":
            raise UsageError(f"{word}: select tries the rates {', '.join(map(str, RATES))} itself")
    config, print_config = parse(argv, build_parser("hpcpgd study select", DESCRIPTION))
    if print_config:
        raise UsageError("--print-config goes with train")
    for key in ("checkpoint_dir", "checkpoint_every", "resume", "time_limit", "hang_limit"):
        if getattr(config, key) != FIELDS[key].default:
            raise UsageError(
                f"{flag_name(key)} goes with train: a selection has neither checkpoints nor limits"
            )
    from hpcpgd.study.train_rates import run

    return run(config)
