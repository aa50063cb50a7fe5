"""SRAAL: VAAL whose discriminator looks less for samples that the model is sure of."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from lightning_al.acquisition.adversarial.base import AdversarialAcquisition
from lightning_al.acquisition.one_decision import logits_of_one_decision
from lightning_al.acquisition.query import Query, RowSource
from lightning_al.checks import Findings
from lightning_al.inference.shared_forward import shared_outputs
from lightning_al.tasks.base import Task


class SRAAL(AdversarialAcquisition):
    r"""VAAL whose discriminator looks less for what the model is sure of (Zhang et al., CVPR 2020).

    As :class:`~lightning_al.acquisition.VAAL`, whose options it has, and beside that:

    - The discriminator's target for an unlabelled sample is :math:`1 - u` in place of 0, with the uncertainty
      :math:`u` of the model's probabilities (:func:`lightning_al.functional.state_uncertainty`), computed once per
      query.
    - The VAE's loss is :math:`5 \lVert \hat x - x \rVert^2 + \mathrm{KL} + 5 \,\mathrm{CE}`, each term a mean. The
      second half of the code is classified, on labelled samples, and not decoded; its divergence counts for labelled
      samples. The discriminator sees both halves.

    Where we differ from the authors' code, beside what :class:`~lightning_al.acquisition.VAAL` says of networks, inputs
    and data, which goes for theirs too:

    - Their divergence is a mean over samples of sums over the 200 latent dimensions: ``reduction="code"``. For
      unlabelled samples it counts both halves.
    - Their uncertainty is that of a ResNet-18 trained for it on the labelled samples, for 200 epochs before each query;
      here it is the model's own.
    - Their classifier has three linear layers (1,024 and 256 wide), this one has one.
    - Their labels of the discriminator are the other way round, 0 for labelled and :math:`u` for unlabelled, which is
      the same.
    - Their :math:`u` is NaN or infinite where the probabilities are uniform; see
      :func:`lightning_al.functional.state_uncertainty`.
    - Their budget is 20,000 steps on batches of 250, before each query, the rate times 0.85 thirty times:
      ``steps=20000, batch_size=250, lr_decay=0.85, lr_decays=30``, as in ``recipes/acquisitions/sraal.yaml``.
    - The paper chooses its initial set by k-center clustering of an autoencoder's codes, which is left out.

    Args:
        steps: As in :class:`~lightning_al.acquisition.VAAL`, like all that are not explained here.
        seconds: As in VAAL.
        batch_size: As in VAAL.
        latent: Length of the codes, both halves together; even. 200, as in the authors' code, are 100 and 100.
        width: As in VAAL.
        beta: As in VAAL.
        adversarial: As in VAAL.
        reduction: ``"mean"``: each term of the VAE's loss is a mean, the square over all values, the divergence over
            samples and dimensions. Others as in VAAL, and ``"code"``, SRAAL's authors' code; see
            :func:`lightning_al.functional.vae_loss`.
        vae_steps: As in VAAL.
        lr: As in VAAL.
        reconstruction: Weight of the squared error in the VAE's loss.
        supervision: Weight of the cross-entropy in the VAE's loss.
        lr_decay: What the learning rates are multiplied by, again after every ``steps // lr_decays`` steps; 1: never.
        lr_decays: How often, at most.
        selection: As in VAAL.

    Raises:
        ValueError: If an option is out of range.
        TypeError: In a loop, before anything trains, if the inputs are not one tensor of numbers.
    """

    requires = frozenset({"logits", "encoder", "labels"})

    def __init__(
        self,
        steps: int | None = 300,
        seconds: float | None = None,
        batch_size: int = 64,
        latent: int = 200,
        width: int = 32,
        beta: float = 1.0,
        adversarial: float = 1.0,
        reduction: str = "mean",
        vae_steps: int = 2,
        lr: float = 5e-4,
        reconstruction: float = 5.0,
        supervision: float = 5.0,
        lr_decay: float = 1.0,
        lr_decays: int = 30,
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
                    lr_decay=lr_decay,
                    lr_decays=lr_decays,
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


class ModelLogits(RowSource):
    """The logits of a classifier, from which SRAAL's uncertainty comes, as a pass over samples makes them.

    Args:
        task: What a batch means.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return the ``"logits"`` of each sample of a batch, (B, C)."""
        way_out = "it learns from one class for each sample. Use `VAAL`, or a score of each decision, as `Entropy`."
        forward = logits_of_one_decision(self.task, "SRAAL", way_out)
        return {"logits": shared_outputs(model, self.task.inputs(batch), forward)}
