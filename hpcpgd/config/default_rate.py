"""The default learning rate of a run."""

from __future__ import annotations

from hpcpgd.config.run_config import RunConfig
from hpcpgd.kernels.core.optimisers import ADAM, OPTIMISERS


def default_rate(config: RunConfig) -> float:
    """Return a step size at which gradient descent learns with this network and batch.

    The outputs of sigmoid units are near 1/2 at first, so ``width`` of them change the sums of
    the output layer together.  The curvature is about ``width / 4 * slope**2``, where ``slope``
    is the largest derivative of the output's activation, 1/4 for sigmoid and 1 for others.  With
    a step size above 2 / curvature training oscillates and does not learn.  Units whose outputs
    are around zero, and cross-entropy, have no such limit in practice: with ReLU and softmax, 0.1
    and 0.3 learn with each built-in network and batches of 8 to 1024 rows.  With small batches
    the accuracy fluctuates less at 0.1.

    The constants come from runs on digits and on 5,000 rows of MNIST, with layers of 4 to 1024
    units.  There 1.6 times the limit still learns, and 2.4 times does not.  Below the limit
    larger batches profit from larger steps: 1 up to 32 rows, 4 from 128 rows on.
    """
    if OPTIMISERS[config.optimizer].rule == ADAM:
        return 0.001
    rate = _rate_of_descent(config)
    # A constant gradient moves the parameters by rate / (1 - momentum).
    return rate * (1 - config.momentum) if OPTIMISERS[config.optimizer].vectors else rate


def _rate_of_descent(config: RunConfig) -> float:
    rows = 128 if config.batch_size == "full" else int(config.batch_size)
    if config.loss == "cross-entropy":
        return 0.3 if rows >= 128 else 0.1
    gentle = config.output_activation == "sigmoid"
    if config.activation != "sigmoid":
        return 0.3 if gentle else 0.03
    limit = float(f"{(128 if gentle else 8) / config.hidden[-1]:.3g}")  # rounded as the log shows
    return min(limit, float(min(max(rows // 32, 1), 4)) if gentle else 0.03)
