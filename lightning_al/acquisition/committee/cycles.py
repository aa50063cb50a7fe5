"""A learning rate that falls and starts again several times in one fit, so that the fit passes several minima."""

import math
from dataclasses import dataclass

import lightning.pytorch as pl
from torch import Tensor
from torch.optim import Optimizer


@dataclass(frozen=True)
class Cycles:
    r"""The batches of a fit in cycles of a cosine (Huang et al., ICLR 2017, Eq. 2), as equal as they can be.

    .. math:: \alpha(t) = \frac{\alpha_0}{2} \left(\cos\frac{\pi t}{T} + 1\right)

    Args:
        count: How many cycles.
        batches: How many batches, at least as many.

    Example:
        >>> cycles = Cycles(count=2, batches=5)
        >>> [round(cycles.factor(done), 2) for done in range(5)]
        [1.0, 0.5, 1.0, 0.75, 0.25]
        >>> [cycles.ended(done) for done in range(6)]
        [None, None, 0, None, None, 1]
    """

    count: int
    batches: int

    def _start(self, cycle: int) -> int:
        return cycle * self.batches // self.count

    def factor(self, done: int) -> float:
        """The share of the full learning rate for the batch that comes after ``done`` others."""
        cycle = max(c for c in range(self.count) if self._start(c) <= done)
        start, end = self._start(cycle), self._start(cycle + 1)
        return (math.cos(math.pi * (done - start) / (end - start)) + 1) / 2

    def ended(self, done: int) -> int | None:
        """The cycle that ends when ``done`` batches are done, None if none does."""
        ends = [self._start(cycle + 1) for cycle in range(self.count)]
        return ends.index(done) if done in ends else None


def scale_rates(optimizers: list[Optimizer], factor: float) -> None:
    """Set every learning rate to ``factor`` times what the optimizer was made with.

    That is kept as ``"initial_lr"``, where schedules keep it too, and so saved with the optimizer.
    """
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            rate = group.setdefault("initial_lr", float(group["lr"])) * factor
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


def batches_done(trainer: pl.Trainer, batch_idx: int) -> int:
    """How many batches of the fit came before this one."""
    return int(trainer.current_epoch * trainer.num_training_batches + batch_idx)


def batches_of_fit(trainer: pl.Trainer, automatic: bool) -> float:
    """How many batches a fit that begins will take; infinite where that cannot be told.

    Args:
        trainer: At the start of training.
        automatic: Whether Lightning steps the optimizer: else a batch may take any number of steps.
    """
    in_epoch = trainer.num_training_batches
    batches = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs * in_epoch
    if trainer.max_steps == -1:
        return batches
    if not automatic:
        return math.inf
    every = trainer.accumulate_grad_batches
    epochs, rest = divmod(trainer.max_steps - trainer.global_step, math.ceil(in_epoch / every))
    return min(batches, epochs * in_epoch + rest * every)
