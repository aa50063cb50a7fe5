"""Training of a VAE and a discriminator against each other, on labelled and unlabelled samples."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_al import functional as F_al
from lightning_al.acquisition.adversarial.options import AdversarialOptions
from lightning_al.distributed.randomness import generator
from lightning_al.inference.precision import at_least_float32
from lightning_al.nn.adversaries import Adversaries


class EndlessBatches:
    """Batches of dataset indices without end: all of them in a random order, then all again in another, and so on.

    Batches are of equal size; one may hold the end of an order and the beginning of the next.

    Args:
        indices: (N,), N of at least 1.
        size: Of a batch; may be more than N.
        seed: Of the orders. Every iteration begins with the first.

    Example:
        >>> from itertools import islice
        >>> batches = list(islice(EndlessBatches(torch.tensor([7, 8, 9]), 2, seed=0), 3))
        >>> sorted(batches[0] + batches[1][:1]), sorted(batches[1][1:] + batches[2])
        ([7, 8, 9], [7, 8, 9])
    """

    def __init__(self, indices: Tensor, size: int, seed: int) -> None:
        self.indices = indices
        self.size = size
        self.seed = seed

    def __iter__(self) -> Iterator[list[int]]:
        draws = generator(self.seed, "order")
        ahead: list[int] = []
        while True:
            while len(ahead) < self.size:
                ahead += self.indices[torch.randperm(len(self.indices), generator=draws)].tolist()
            yield ahead[: self.size]
            del ahead[: self.size]


class Together:
    """Batches of several loaders side by side, by name.

    Not a loader itself: Lightning would warn of those with few workers, before each query.
    """

    def __init__(self, loaders: Mapping[str, Iterable[Any]]) -> None:
        self.loaders = loaders

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for parts in zip(*self.loaders.values(), strict=True):
            yield dict(zip(self.loaders, parts, strict=True))


class AdversarialTraining(pl.LightningModule):
    r"""Trains :class:`~lightning_al.nn.Adversaries` on pairs of a labelled and an unlabelled batch.

    Each batch is cut into ``vae_steps`` parts, and the VAE makes one step on each pair of parts, on the sum of

    - :func:`~lightning_al.functional.vae_loss` of both;
    - ``adversarial`` times :func:`~lightning_al.functional.adversarial_loss` of the latent means;
    - with a classifier, ``supervision`` times the cross-entropy of the labelled part, classified by the second half
      of what was drawn. That half's divergence counts for the labelled part only, which alone teaches it.

    Then the discriminator makes one step on :func:`~lightning_al.functional.discriminator_loss` of the last pair's
    means, as they are by then. Adam for both.

    Args:
        networks: What is trained.
        options: How.
        inputs: From a batch to the networks' inputs, before they are standardised.
        labels: From a batch to class indices; for a classifier.
        to_device: Moves a batch to a device.
        targets: The discriminator's targets for the unlabelled batches, one after the other; default 0 for all.
        seed: Of what the VAE draws, which is the same on every device.
    """

    def __init__(
        self,
        networks: Adversaries,
        options: AdversarialOptions,
        *,
        inputs: Callable[[Any], Tensor],
        labels: Callable[[Any], Tensor],
        to_device: Callable[[Any, torch.device], Any],
        targets: Iterator[Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.networks = networks
        self.options = options
        self._inputs = inputs
        self._labels = labels
        self._to_device = to_device
        self._targets = targets
        self._noise = generator(seed, "noise")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch as the user's project does."""
        return {name: self._to_device(part, device) for name, part in batch.items()}

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One for the VAE and the classifier, one for the discriminator."""
        theirs = list(self.networks.discriminator.parameters())
        apart = {id(p) for p in theirs}
        ours = [p for p in self.networks.parameters() if id(p) not in apart]
        return [torch.optim.Adam(parameters, lr=self.options.lr) for parameters in (ours, theirs)]

    def on_train_start(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Make the VAE's steps and the discriminator's."""
        networks, steps = self.networks, self.options.vae_steps
        ours, theirs = self.optimizers()
        for optimizer in (ours, theirs):
            for group in optimizer.param_groups:
                group["lr"] = self.options.rate_after(batch_idx)
        labelled, unlabelled = (
            networks.vae.standardise(self._inputs(batch[kind])).chunk(steps) for kind in ("labelled", "unlabelled")
        )
        if networks.classifier is None:
            labels: Sequence[Tensor | None] = [None] * steps
        else:
            labels = self._labels(batch["labelled"]).chunk(steps)
        for with_label, without, label in zip(labelled, unlabelled, labels, strict=True):
            loss, mean = self._representation(with_label, label)
            other_loss, other_mean = self._representation(without, None)
            fooled = F_al.adversarial_loss(networks.discriminator(mean), networks.discriminator(other_mean))
            loss = loss + other_loss + self.options.adversarial * fooled
            self._step(ours, loss)
        with torch.no_grad():
            means = [networks.vae.encode(part[-1])[0] for part in (labelled, unlabelled)]
        targets = None if self._targets is None else next(self._targets).chunk(steps)[-1]
        known, unknown = map(networks.discriminator, means)
        told_apart = F_al.discriminator_loss(known, unknown, targets)
        self._step(theirs, told_apart)
        self.log_dict({"vae": loss.detach(), "discriminator": told_apart.detach()}, prog_bar=True, batch_size=1)
        if self.options.seconds is not None and time.monotonic() - self._started >= self.options.seconds:
            self.trainer.should_stop = True

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def _representation(self, inputs: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss of the VAE (and classifier) for a batch, and its latent means."""
        networks, options = self.networks, self.options
        mean, log_variance = map(at_least_float32, networks.vae.encode(inputs))
        noise = torch.randn(mean.shape, generator=self._noise, dtype=mean.dtype).to(mean.device)
        drawn = mean + (log_variance / 2).exp() * noise
        decoded = networks.decoded
        counted = mean.shape[1] if labels is not None else decoded
        loss = F_al.vae_loss(
            networks.vae.decode(drawn[:, :decoded]),
            inputs,
            mean[:, :counted],
            log_variance[:, :counted],
            beta=options.beta,
            weight=options.reconstruction,
            reduction=options.reduction,
        )
        if labels is not None and networks.classifier is not None:
            loss = loss + options.supervision * F.cross_entropy(networks.classifier(drawn[:, decoded:]), labels)
        return loss, mean


def targets_of(order: EndlessBatches, candidates: Tensor, logits: Tensor) -> Iterator[Tensor]:
    """The discriminator's targets for one batch of unlabelled samples after the other."""
    of_index = torch.zeros(int(candidates.max()) + 1, dtype=torch.float64)
    of_index[candidates] = 1 - F_al.state_uncertainty(logits.double().softmax(1))
    return (of_index[batch] for batch in order)
