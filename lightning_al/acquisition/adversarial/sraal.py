"""SRAAL: VAAL whose discriminator looks less for samples that the model is sure of."""

from typing import Any, ClassVar

import lightning.pytorch as pl
from torch import Tensor

from lightning_al.acquisition.adversarial.base import AdversarialAcquisition
from lightning_al.acquisition.query import Query
from lightning_al.checks import Findings
from lightning_al.inference.outputs import plain_outputs
from lightning_al.tasks.base import Task


class SRAAL(AdversarialAcquisition):
    r"""VAAL whose discriminator looks less for what the model is sure of (Zhang et al., CVPR 2020).

    As :class:`~lightning_al.acquisition.VAAL`, whose options it has, and beside that:

    - The discriminator's target for an unlabelled sample is :math:`1 - u` in place of 0, with the uncertainty
      :math:`u` of the model's probabilities (:func:`lightning_al.functional.state_uncertainty`), computed once per
      query.
    - The VAE's loss is :math:`5 \lVert \hat x - x \rVert^2 + \mathrm{KL} + 5 \,\mathrm{CE}`. The second half of the
      code is classified, on labelled samples, and not decoded; its divergence counts for labelled samples. The
      discriminator sees both halves.

    The paper chooses its initial set by k-center clustering of an autoencoder's codes, which is left out.

    Args:
        steps: As in :class:`~lightning_al.acquisition.VAAL`, like all that are not explained here.
        seconds: As in VAAL.
        batch_size: As in VAAL.
        latent: Length of the codes, both halves together; even.
        width: As in VAAL.
        beta: As in VAAL.
        adversarial: As in VAAL.
        reduction: As in VAAL.
        vae_steps: As in VAAL.
        lr: As in VAAL.
        reconstruction: Weight of the squared error in the VAE's loss.
        supervision: Weight of the cross-entropy in the VAE's loss.
        selection: As in VAAL.

    Raises:
        ValueError: If an option is out of range.
        TypeError: In a loop, before anything trains, if the inputs are not one tensor of numbers.
    """

    requires = frozenset({"logits", "labels"})

    def __init__(
        self,
        steps: int | None = 300,
        seconds: float | None = None,
        batch_size: int = 64,
        latent: int = 200,
        width: int = 32,
        beta: float = 1.0,
        adversarial: float = 1.0,
        reduction: str = "sample",
        vae_steps: int = 2,
        lr: float = 5e-4,
        reconstruction: float = 5.0,
        supervision: float = 5.0,
        selection: str = "top",
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(
                    steps=steps,
                    seconds=seconds,
                    batch_size=batch_size,
                    latent=latent,
                    width=width,
                    beta=beta,
                    adversarial=adversarial,
                    reduction=reduction,
                    vae_steps=vae_steps,
                    lr=lr,
                    reconstruction=reconstruction,
                    supervision=supervision,
                    selection=selection,
                )
            if type(latent) is int and latent > 0:
                findings.refuse_if(latent % 2 == 1, f"`latent` must be even, half of it is supervised, got {latent}.")

    def _logits(self, query: Query) -> Tensor | None:
        return query.score(ModelLogits(self.task), query.candidates).get("logits")  # on rank zero

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return the score of each sample; before anything trains, see whether the model's outputs will do."""
        if self._networks is None:
            ModelLogits(self.task).rows(model, batch)
        return super().rows(model, batch)


class ModelLogits:
    """The logits of a classifier, from which SRAAL's uncertainty comes, as a pass over samples makes them.

    Args:
        task: What a batch means.
    """

    requires = frozenset({"logits"})
    gathers: ClassVar[bool] = True
    batch_multiple = 1

    def __init__(self, task: Task) -> None:
        self.task = task

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return the ``"logits"`` of each sample of a batch, (B, C)."""
        logits = plain_outputs(model, self.task.inputs(batch), self.task.logits)
        if logits.ndim != 2:
            raise ValueError(f"`SRAAL` needs logits of shape (B, C), got {tuple(logits.shape)}.")
        return {"logits": logits}
