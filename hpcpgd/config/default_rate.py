"""The learning rate of a run that is given none."""

from __future__ import annotations

from hpcpgd.config.run_config import RunConfig


def default_rate(config: RunConfig) -> float:
    """Return a step size at which gradient descent learns with this network and batch.

    Sigmoid units all answer near 1/2, so ``width`` of them below the output move its sums
    together: the curvature is about ``width / 4 * slope**2``.  ``slope`` is the steepest of
    the output's activation, 1/4 for sigmoid and 1 else.  Steps above 2 / curvature swing and
    learn nothing.  Units around zero and cross-entropy have no such limit in practice: with ReLU
    and softmax, 0.3 learns with each built-in network and batches of 8 to 1024 rows.

    The constants rest on digits and on 5,000 digits of MNIST, with layers of 4 to 1024 units.
    There 1.6 times the limit still learns, and 2.4 times does not.  Up to the limit larger
    batches gain from larger steps: 1 up to 32 rows, 4 from 128.
    """
    if config.loss == "cross-entropy":
        return 0.3
    gentle = config.output_activation == "sigmoid"
    if config.activation != "sigmoid":
        return 0.3 if gentle else 0.03
    limit = float(f"{(128 if gentle else 8) / config.hidden[-1]:.3g}")  # as a log prints it
    rows = 128 if config.batch_size == "full" else int(config.batch_size)
    return min(limit, float(min(max(rows // 32, 1), 4)) if gentle else 0.03)
