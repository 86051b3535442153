"""``hpcpgd study select``: the learning rate by validation accuracy, as in the paper.

Each rate of the paper's grid is trained from the same weights on the same minibatches; each of
several groups of ranks trains some of the rates.  The rate with the highest validation accuracy
after the last epoch is chosen, of equal ones the lowest.  Only the chosen model is tested.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpcpgd.study.learning_rates import RATES

DESCRIPTION = """Train with each learning rate of the paper's grid, in several groups of ranks, and
choose the one with the highest validation accuracy; only its model is tested.  The flags are
those of hpcpgd train that a selection can use."""
LIMITED = ("checkpoint_dir", "checkpoint_every", "resume", "time_limit", "hang_limit")
SUMMED = ("reduction", "shards", "group_size")
REFUSED = {
    "learning_rate": f"goes with train: select tries the rates {', '.join(map(str, RATES))} itself",
    **dict.fromkeys(LIMITED, "goes with train: a selection has neither checkpoints nor limits"),
    **dict.fromkeys(SUMMED, "goes with train: a selection sums with allreduce"),
    "initial_weights": "goes with train: a selection begins with weights drawn by the seed",
    "log_every": "goes with train: a selection prints no epochs",
    "print_config": "goes with train",
}


def main(argv: Sequence[str]) -> int:
    """Run the command line and return the exit code; collective over all ranks of the job."""
    from hpcpgd.config.flags import parse

    config, _ = parse(argv, "hpcpgd study select", DESCRIPTION, REFUSED)
    from hpcpgd.study.train_rates import run

    return run(config)
