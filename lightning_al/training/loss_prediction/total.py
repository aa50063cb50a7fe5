"""The loss of a training step with that of the loss prediction added."""

import math
from collections.abc import Mapping
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from torch import Tensor

from lightning_al.functional.losses.loss_prediction import loss_prediction_loss
from lightning_al.training.loss_prediction.options import LossPredictionOptions
from lightning_al.training.mixing_in import with_loss


def main_loss(output: Any, name: str) -> Tensor:
    """Return the loss in what a ``training_step`` returned.

    Args:
        output: That.
        name: Of the module's class.

    Raises:
        MisconfigurationException: If there is none.
    """
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if not isinstance(loss, Tensor):
        raise MisconfigurationException(
            f"{name}.training_step returned {_kind(output)}, so there is no loss to add the predicted"
            ' one\'s to. Return a Tensor, or a dict with it under "loss"; to skip a batch, 0 times the loss.'
        )
    return loss


def with_prediction(
    output: Any, loss: Tensor, *, losses: Tensor, predicted: Tensor, options: LossPredictionOptions
) -> Any:
    """Return ``output`` with the loss of ``predicted`` (B,) under the real ``losses`` (B,) added to its ``loss``.

    Raises:
        MisconfigurationException: If the two are not of the same samples.
    """
    if losses.shape != predicted.shape:
        raise MisconfigurationException(
            f"The features are of {len(predicted)} samples and there are losses of shape {tuple(losses.shape)}."
            " Override `losses_per_sample` to return one for each sample of the last forward pass."
        )
    auxiliary = loss_prediction_loss(predicted, losses, margin=options.loss_margin, variant=options.loss_variant)
    total = loss + options.loss_weight * auxiliary
    return with_loss(output, total)


def detaches(trainer: Trainer, after: float) -> bool:
    """Whether the epoch in training comes after this share of the epochs, so that feature maps are detached."""
    # 0.57 of 100 epochs are 56.99999999999999 of them.
    return after < 1 and trainer.current_epoch > math.floor(after * (trainer.max_epochs or 0) + 1e-9)


def _kind(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a dict with the keys {sorted(output)}"
    return "None" if output is None else f"a {type(output).__name__}"
