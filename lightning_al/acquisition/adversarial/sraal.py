"""SRAAL: VAAL whose unlabelled states are relabelled by how uncertain the model is of them."""

from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from lightning_al.acquisition.adversarial.training import AdversarialOptions
from lightning_al.acquisition.adversarial.vaal import VAAL
from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.query import Query
from lightning_al.checks import check_number
from lightning_al.inference.outputs import plain_outputs
from lightning_al.oracle.base import Oracle
from lightning_al.tasks.base import Task


class SRAAL(VAAL):
    r"""VAAL whose discriminator looks less for what the model is sure of (Zhang et al., CVPR 2020).

    As :class:`VAAL`, whose options it has, and beside that:

    - The discriminator's target for an unlabelled sample is :math:`1 - u` in place of 0, with the uncertainty
      :math:`u` of the model's probabilities (:func:`lightning_al.functional.state_uncertainty`), computed once per
      query.
    - The VAE's loss is :math:`5 \lVert \hat x - x \rVert^2 + \mathrm{KL} + 5 \,\mathrm{CE}`. The second half of the
      code is classified, on labelled samples, and not decoded; its divergence counts for labelled samples. The
      discriminator sees both halves.

    The paper chooses its initial set by k-center clustering of an autoencoder's codes, which is left out.

    Args:
        steps: Pairs of a labelled and an unlabelled batch to train on; None: until ``seconds`` are over.
        seconds: Time after which training ends, at the latest; picks then depend on how fast the machine is.
        batch_size: Samples per batch of either kind; at most as many as there are.
        latent: Length of the codes, both halves together; even.
        width: Channels of the VAE's first layer.
        beta: Weight of the divergence in the VAE's loss.
        adversarial: Weight of the discriminator in the VAE's loss.
        reduction: ``"sample"`` or ``"batch"``, see :class:`VAAL`.
        vae_steps: Steps of the VAE, each on batches of its own, for one of the discriminator.
        lr: Learning rate of Adam, for both.
        reconstruction: Weight of the squared error in the VAE's loss.
        supervision: Weight of the cross-entropy in the VAE's loss.
        selection: ``"top"``, as published, ``"kmeans++"`` or ``"badge"``.

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
        super().__init__(
            *(steps, seconds, batch_size, latent, width, beta, adversarial, reduction, vae_steps, lr, selection)
        )
        if latent % 2:
            raise ValueError(f"`latent` must be even, half of it is supervised, got {latent}.")
        check_number("reconstruction", reconstruction, least=0)
        check_number("supervision", supervision, least=0)
        self.reconstruction = reconstruction
        self.supervision = supervision
        self._model_logits = _Logits()

    def bind(self, task: Task, oracle: Oracle) -> None:
        """Take part in a loop."""
        super().bind(task, oracle)
        self._model_logits.bind(task, oracle)

    def unbind(self) -> None:
        """Leave the loop, and the networks of its last query."""
        super().unbind()
        self._model_logits.unbind()

    def _logits(self, query: Query) -> Tensor | None:
        return query.score(self._model_logits, query.candidates).get("logits")  # on rank zero

    def _options(self) -> AdversarialOptions:
        return replace(super()._options(), reconstruction=self.reconstruction, supervision=self.supervision)

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return the score of each sample; before anything trains, see whether the model's outputs will do."""
        if self._networks is None:
            self._model_logits.rows(model, batch)
        return super().rows(model, batch)


class _Logits(Acquisition):
    """What SRAAL's uncertainty comes from."""

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        logits = plain_outputs(model, self.task.inputs(batch), self.task.logits)
        if logits.ndim != 2:
            raise ValueError(f"`SRAAL` needs logits of shape (B, C), got {tuple(logits.shape)}.")
        return {"logits": logits}
