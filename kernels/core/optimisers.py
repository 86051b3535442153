"""The optimisers by name, and the numbers of their updates; ``update_rules`` has the loops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

# Rules, for compiled code.
SGD, MOMENTUM, NESTEROV, ADAM = range(4)
# Adam's decay of the mean square and its smallest denominator, as its authors chose them.
SQUARES, EPSILON = 0.999, 1e-8


@dataclass(frozen=True)
class OptimiserTraits:
    """What an optimiser needs.

    Attributes
    ----------
    vectors : int
        Numbers that it keeps for each parameter.
    decoupled : bool
        Whether weight decay acts on the parameters, and not on the gradient.
    """

    rule: int
    vectors: int = 0
    decoupled: bool = False


OPTIMISERS = {
    "sgd": OptimiserTraits(SGD),
    "momentum": OptimiserTraits(MOMENTUM, 1),
    "nesterov": OptimiserTraits(NESTEROV, 1),
    "adam": OptimiserTraits(ADAM, 2),
    "adamw": OptimiserTraits(ADAM, 2, decoupled=True),
}


class Update(NamedTuple):
    """The numbers of one update.

    Attributes
    ----------
    rate : float
        The learning rate; for Adam divided by the bias correction of the mean.
    scale : float
        Factor of the summed gradient: 1 over the rows of the minibatch.
    decay : float
        Times the parameter, is added to the gradient.
    keep : float
        Factor of the parameter.
    momentum : float
        Factor of the gradients before.
    correction : float
        Factor of the root of the mean square, Adam's bias correction.
    """

    rule: int
    rate: float
    scale: float
    decay: float
    keep: float
    momentum: float
    correction: float


@dataclass(frozen=True)
class Optimiser:
    """An optimiser with its options (see ``OPTIMISERS``); ``clip`` bounds the gradient's norm."""

    name: str = "sgd"
    momentum: float = 0.9
    decay: float = 0.0
    clip: float = math.inf

    @property
    def traits(self) -> OptimiserTraits:
        """What it needs."""
        return OPTIMISERS[self.name]

    @property
    def is_plain(self) -> bool:
        """Whether an update only subtracts a multiple of the gradient."""
        return self.traits.rule == SGD and self.decay == 0 and self.clip == math.inf

    def update(self, rate: float, rows: int, steps: int) -> Update:
        """Return the numbers of the update that follows ``steps`` others.

        The gradient is summed over ``rows``.  Adam's mean and mean square begin at 0; its bias
        corrections make up for that.
        """
        traits, correction, keep = self.traits, 1.0, 1.0
        decay = 0.0 if traits.decoupled else self.decay
        if traits.decoupled:
            keep = 1 - rate * self.decay
        if traits.rule == ADAM:
            correction = 1 / math.sqrt(1 - SQUARES ** (steps + 1))
            rate = rate / (1 - self.momentum ** (steps + 1))
        elif self.is_plain:  # one factor, which the products themselves may apply
            return Update(SGD, rate / rows, 1.0, 0.0, 1.0, 0.0, 1.0)
        return Update(traits.rule, rate, 1 / rows, decay, keep, self.momentum, correction)

    def clipped(self, update: Update, norm: float) -> Update:
        """Return ``update`` with a smaller scale if its gradient would be longer than ``clip``.

        ``norm`` is that of the summed gradient.  If it is not finite, the parameters become NaN.
        """
        norm *= update.scale
        if norm <= self.clip:
            return update
        factor = self.clip / norm if norm < math.inf else math.nan
        return update._replace(scale=factor * update.scale)
