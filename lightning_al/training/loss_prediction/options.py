"""The options of learning to predict the loss, and what is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_al.checks import Findings, check_count, check_flag, check_number, check_that
from lightning_al.functional.losses.loss_prediction import check_loss_prediction


@dataclass(frozen=True)
class LossPredictionOptions:
    """The options of one module, resolved and validated; :class:`LossPredictionMixin` says what each does.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

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
        with Findings() as findings:
            findings.of(_check_layers, self.loss_layers)
            findings.of(check_number, "loss_weight", self.loss_weight, above=0)
            findings.of(check_loss_prediction, self.loss_margin, self.loss_variant, prefix="loss_")
            findings.of(check_count, "loss_width", self.loss_width)
            # A share of the epochs; at 1 the gradient is never stopped.
            findings.of(check_number, "loss_detach_after", self.loss_detach_after, least=0, most=1)
            findings.of(check_number, "loss_lr", self.loss_lr, least=0, optional=True)
            findings.of(check_number, "loss_weight_decay", self.loss_weight_decay, least=0, optional=True)
            findings.of(check_flag, "loss_scheduled", self.loss_scheduled)


def _check_layers(layers: Any) -> None:
    if layers is None:
        return
    are_names = (
        isinstance(layers, Sequence) and not isinstance(layers, str) and all(isinstance(name, str) for name in layers)
    )
    check_that(are_names, "loss_layers", layers, "a list of names of layers or None")
    if not layers or not all(layers) or len(set(layers)) < len(layers):
        raise ValueError(f"`loss_layers` must be distinct names of layers, at least one, or None, got {layers!r}.")
