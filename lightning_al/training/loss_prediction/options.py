"""The options of learning to predict the loss, and what is refused."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_al.functional.losses.loss_prediction import check_loss_prediction


@dataclass(frozen=True)
class LossPredictionOptions:
    """The options of one module, resolved and validated; :class:`LossPredictionMixin` says what each does."""

    loss_layers: Sequence[str] | None = None
    loss_weight: float = 1.0
    loss_margin: float = 1.0
    loss_variant: str = "pairs"
    loss_width: int = 128
    loss_detach_after: float = 0.6
    loss_lr: float | None = None
    loss_weight_decay: float | None = None
    loss_scheduled: bool = True

    def __post_init__(self) -> None:
        layers = self.loss_layers
        if layers is not None and (
            isinstance(layers, str) or not layers or len(set(layers)) < len(layers) or not all(layers)
        ):
            raise ValueError(f"`loss_layers` must be distinct names of layers, at least one, or None, got {layers!r}.")
        if not self.loss_weight > 0 or math.isinf(self.loss_weight):
            raise ValueError(f"`loss_weight` must be above 0, got {self.loss_weight!r}.")
        check_loss_prediction(self.loss_margin, self.loss_variant)
        if not isinstance(self.loss_width, int) or self.loss_width < 1:
            raise ValueError(f"`loss_width` must be an integer of at least 1, got {self.loss_width!r}.")
        if not 0 <= self.loss_detach_after <= 1:
            raise ValueError(
                "`loss_detach_after` is a share of the epochs, from 0 to 1 (never detached), got "
                f"{self.loss_detach_after!r}."
            )
        for name in ("loss_lr", "loss_weight_decay"):
            value = getattr(self, name)
            if value is not None and not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"`{name}` must be a number of at least 0 or None, got {value!r}.")
        if not isinstance(self.loss_scheduled, bool):
            raise ValueError(f"`loss_scheduled` must be True or False, got {self.loss_scheduled!r}.")
