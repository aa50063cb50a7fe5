"""The batches that make up one step of SAM, which are run twice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from torch import Tensor

from lightning_al.inference.batches import copy_of
from lightning_al.training.sam.samples import some_of
from lightning_al.training.sam.second_pass import RandomState
from lightning_al.training.sam.variants import selected


@dataclass
class MicroBatch:
    """The arguments of one ``training_step``, to run it again at θ + ε."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    noise: RandomState | None = None
    losses: Tensor | None = None
    """Of each sample (B,) at θ, where some of the samples are to be chosen by them."""

    @classmethod
    def before(cls, args: tuple[Any, ...], kwargs: dict[str, Any], noise: RandomState | None) -> "MicroBatch":
        """Keep a copy of the batch: ``training_step`` and the hooks after it may change the batch in place.

        No look at it afterwards could say so: in-place changes through ``.data`` or NumPy leave no trace.
        """
        args, kwargs = copy_of((args, kwargs))
        return cls(args, kwargs, noise)

    def selection(self, rise: Tensor, gamma: float) -> "MicroBatch":
        """Return the samples of which ``rise`` (B,) is largest, this share of them, as a batch."""
        rows = selected(rise, gamma)
        if self.args:
            batch, *others = self.args
            return MicroBatch((some_of(batch, len(rise), rows), *others), self.kwargs, self.noise)
        name, batch = next(iter(self.kwargs.items()))
        return MicroBatch((), {**self.kwargs, name: some_of(batch, len(rise), rows)}, self.noise)


def is_last_batch(trainer: Trainer) -> bool:
    """Whether the batch in training is the last of its epoch."""
    return trainer.is_last_batch or trainer.fit_loop.batch_idx + 1 == trainer.num_training_batches


def loss_of(output: Any, trainer: Trainer) -> Tensor | None:
    """The loss in what ``training_step`` returned, ``None`` for a batch to be skipped."""
    if output is None:
        if trainer.world_size > 1:
            raise RuntimeError(
                "`training_step` returned None on one of several ranks, and the others would wait for its gradient."
                " Return a loss of 0 that depends on the parameters instead."
            )
        return None
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor):
        raise MisconfigurationException(
            '`training_step` must return a Tensor, a dict with the Tensor under "loss", or None; got'
            f" {f'a dict with the keys {sorted(output)}' if isinstance(output, Mapping) else type(output).__name__}."
        )
    return loss
