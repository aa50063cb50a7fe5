"""What a model's outputs were a while ago, in a fit: remembered (SAF), or those of averaged weights (MESA)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_al.distributed.ranks import gather_rows
from lightning_al.training.sam.options import SAMOptions
from lightning_al.training.sam.samples import batches_before, order_of_epoch
from lightning_al.training.sam.trajectory import AveragedWeights, OutputMemory, trajectory_loss


class Past(ABC):
    """What a model's outputs were a while ago.

    Args:
        options: What the variant is told.
    """

    def __init__(self, options: SAMOptions) -> None:
        self.options = options

    def counts(self, trainer: Trainer) -> bool:
        """Whether outputs are held there already, in this epoch."""
        return trainer.current_epoch >= self.options.start_epoch

    def begin(self, module: Any, *, has_own_ids: bool) -> None:
        """Begin a fit, or go on with it: say so if nothing will come of it, refuse what cannot work."""
        epochs, start = module.trainer.max_epochs, self.options.start_epoch
        if epochs is not None and 0 <= epochs <= start and not module.trainer.fast_dev_run:
            rank_zero_warn(
                f'`variant="{self.options.variant}"` begins in epoch `start_epoch={start}`, counted from 0, and '
                f"Trainer(max_epochs={epochs}) ends before: this fit is plain training. Set a smaller `start_epoch`."
            )

    @abstractmethod
    def term(self, module: Any, logits: Tensor, before: Tensor | None, ids: Tensor | None) -> Tensor | None:
        """Return what is added to the loss, a scalar; None where nothing is."""

    def stepped(self, module: Any) -> None:  # noqa: B027 - most have nothing to do
        """Take note that the optimizer stepped."""

    def end_epoch(self, module: Any) -> None:  # noqa: B027
        """Take note that an epoch ended; every rank calls it."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a fit that is resumed needs."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from that."""


class Remembered(Past):
    """SAF's: the outputs of each sample some epochs ago, as they were in training, augmentation and dropout included.

    On several ranks, of all of them together: a sample may have been another's then.
    """

    def __init__(self, options: SAMOptions) -> None:
        super().__init__(options)
        self.memory = OutputMemory(options.lag)
        self._order: tuple[int, list[list[int]]] = (-1, [])
        self._resumed = (-1, 0)
        """The epoch in whose middle this fit goes on, and at which batch, which is the loader's first again."""

    def begin(self, module: Any, *, has_own_ids: bool) -> None:
        """Refuse a train loader whose order cannot be known."""
        super().begin(module, has_own_ids=has_own_ids)
        if not has_own_ids:
            trainer = module.trainer
            order_of_epoch(trainer)
            self._resumed = (trainer.current_epoch, batches_before(trainer))

    def term(self, module: Any, logits: Tensor, before: Tensor | None, ids: Tensor | None) -> Tensor | None:
        """Remember the logits, and return how far they are from what they were."""
        ids = self._positions(module.trainer) if ids is None else torch.as_tensor(ids)
        if ids.shape != logits.shape[:1]:
            raise ValueError(
                f"The logits are of {len(logits)} samples, and the batch has {tuple(ids.shape)} numbers of samples. "
                "Override `sample_ids(self, batch, batch_idx)` to return one for each."
            )
        self.memory.record(ids, logits.float() if logits.dtype.itemsize < 4 else logits)
        epoch = module.trainer.current_epoch
        past = self.memory.recall(epoch, ids) if self.counts(module.trainer) else None
        if past is None:
            return None
        outputs, is_known = past
        each = trajectory_loss(logits, outputs.to(logits.device), self.options.temperature)
        return (each * is_known.to(each)).mean()

    def _positions(self, trainer: Trainer) -> Tensor:
        epoch, batch_idx = trainer.current_epoch, trainer.fit_loop.batch_idx
        if self._order[0] != epoch or batch_idx == 0:
            self._order = (epoch, order_of_epoch(trainer))
        resumed_epoch, first = self._resumed
        return torch.tensor(self._order[1][batch_idx - (first if epoch == resumed_epoch else 0)])

    def end_epoch(self, module: Any) -> None:
        """Put together what all ranks remember."""
        self.memory.close(module.trainer.current_epoch, lambda rows: gather_rows(rows, module.device))

    def state_dict(self) -> dict[str, Any]:
        """Return the memory."""
        return self.memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the memory."""
        self.memory.load_state_dict(state)


class Averaged(Past):
    """MESA's: the outputs of the moving averages of weights and running statistics, in ``eval()``, of the same batch.

    As in the authors' code; the paper leaves the mode open.
    """

    def __init__(self, options: SAMOptions) -> None:
        super().__init__(options)
        self.averages = AveragedWeights(options.decay)

    def begin(self, module: Any, *, has_own_ids: bool) -> None:
        """Begin the averages with the weights as they are."""
        super().begin(module, has_own_ids=has_own_ids)
        if not self.averages.has_begun:
            self.averages.update(module)

    def term(self, module: Any, logits: Tensor, before: Tensor | None, ids: Tensor | None) -> Tensor | None:
        """Return how far the logits are from those of the averages."""
        return None if before is None else trajectory_loss(logits, before, self.options.temperature).mean()

    def stepped(self, module: Any) -> None:
        """Average the weights."""
        self.averages.update(module)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages."""
        return self.averages.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the averages."""
        self.averages.load_state_dict(state)


def past_of(options: SAMOptions) -> Past | None:
    """Return what a fit begins with; None for variants that have a second gradient."""
    kinds: dict[str, type[Past]] = {"saf": Remembered, "mesa": Averaged}
    return kinds[options.variant](options) if options.variant in kinds else None


def averages_of(past: Past | None, trainer: Trainer) -> AveragedWeights | None:
    """Return the weights that a batch is run with first, if it is in this epoch."""
    return past.averages if isinstance(past, Averaged) and past.counts(trainer) else None
