"""Uncertainty sampling: one forward pass."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from lightning_al import functional as F_al
from lightning_al.acquisition.base import Acquisition
from lightning_al.inference.outputs import plain_outputs


def _logits(acquisition: Acquisition, model: pl.LightningModule, batch: Any) -> Tensor:
    """Logits in full precision even under autocast: rounded to bfloat16's 8 bits, scores would tie by the hundred."""
    return plain_outputs(model, acquisition.task.inputs(batch), acquisition.task.logits)


class Entropy(Acquisition):
    r"""Largest predictive entropy :math:`-\sum_c p_c \log p_c`; see :func:`lightning_al.functional.entropy`.

    Args:
        selection: ``"top"``, ``"badge"`` or ``"kmeans++"`` (SAAL's Table 6 runs both).
    """

    def __init__(self, selection: str = "top") -> None:
        super().__init__(selection=selection)

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the entropy of each sample in nats, (B,)."""
        return F_al.entropy(_logits(self, model, batch))


class LeastConfidence(Acquisition):
    r"""Smallest top probability, :math:`1 - \max_c p_c`; see :func:`lightning_al.functional.least_confidence`.

    Args:
        selection: ``"top"``, ``"kmeans++"`` or ``"badge"``.
    """

    def __init__(self, selection: str = "top") -> None:
        super().__init__(selection=selection)

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return one minus the largest probability of each sample, (B,)."""
        return F_al.least_confidence(_logits(self, model, batch))


class Margin(Acquisition):
    r"""Smallest gap of the two largest probabilities; see :func:`lightning_al.functional.margin`.

    Args:
        selection: ``"top"`` or ``"kmeans++"``.
    """

    never_negative = False

    def __init__(self, selection: str = "top") -> None:
        super().__init__(selection=selection)

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return minus the margin of each sample, (B,)."""
        return F_al.margin(_logits(self, model, batch))
