"""Adversarial acquisitions: what a discriminator can tell from the labelled samples is wanted."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_al.acquisition.adversarial.apart import fit_apart
from lightning_al.acquisition.adversarial.training import (
    AdversarialOptions,
    AdversarialTraining,
    EndlessBatches,
    Together,
    targets_of,
)
from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.query import Query, State
from lightning_al.checks import check_count, check_number
from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.distributed.ranks import on_rank_zero
from lightning_al.functional.losses.adversarial import check_reduction
from lightning_al.inference.outputs import plain_outputs
from lightning_al.nn.adversaries import Adversaries

SEEN_FOR_SCALE = 2048
"""Samples from which the mean and deviation of the inputs are taken, at most."""


class VAAL(Acquisition):
    r"""Samples whose latent code looks least like that of a labelled one (Sinha et al., ICCV 2019).

    A :class:`~lightning_al.nn.VAE` learns, from inputs alone, codes by which a discriminator :math:`D` cannot tell
    labelled from unlabelled samples, while the discriminator learns to. Both are trained anew before every query, on
    the labelled samples and the candidates, without augmentation. The score is :math:`-\log D(\mu(x))`, so that
    the lowest :math:`D` is wanted most. The model plays no part.

    The networks follow from the shape of the inputs, one tensor a sample: images of any channels and size, features
    (d,), sequences or volumes with their channels first. For other inputs override :meth:`inputs`. Each channel or
    feature is standardised by its mean and deviation over at most 2,048 of the samples.

    They are trained in one process, whatever the number of the Trainer's, while the others wait, and so are the same
    for any number; on its device, in its precision (float64 if the model is in float64), by a Trainer of their own that
    logs and saves nothing. What they are afterwards is kept with the campaign until its next fit.

    Where we differ from the authors' code: no batch normalisation, networks that fit the input, and ``reduction``.
    Their budget is ``steps=39062, batch_size=128`` (100 epochs of CIFAR-10), with ``width=128``.

    Args:
        steps: Pairs of a labelled and an unlabelled batch to train on; None: until ``seconds`` are over.
        seconds: Time after which training ends, at the latest; picks then depend on how fast the machine is.
        batch_size: Samples per batch of either kind; at most as many as there are.
        latent: Length of the codes.
        width: Channels of the VAE's first layer.
        beta: Weight of the divergence in the VAE's loss.
        adversarial: Weight of the discriminator in the VAE's loss.
        reduction: ``"sample"``: the VAE's loss is a sum over the values of a sample; or ``"batch"``, as in the authors'
            code. See :func:`lightning_al.functional.vae_loss`.
        vae_steps: Steps of the VAE, each on batches of its own, for one of the discriminator.
        lr: Learning rate of Adam, for both.
        selection: ``"top"``, as published, ``"kmeans++"`` or ``"badge"``.

    Raises:
        ValueError: If an option is out of range.
        TypeError: In a loop, before anything trains, if the inputs are not one tensor of numbers.
    """

    requires = frozenset({"encoder", "labels"})
    _networks: Adversaries | None = None

    def __init__(
        self,
        steps: int | None = 300,
        seconds: float | None = None,
        batch_size: int = 64,
        latent: int = 32,
        width: int = 32,
        beta: float = 1.0,
        adversarial: float = 1.0,
        reduction: str = "sample",
        vae_steps: int = 2,
        lr: float = 5e-4,
        selection: str = "top",
    ) -> None:
        super().__init__(selection=selection)
        if steps is None and seconds is None:
            raise ValueError("Training needs a budget: `steps=`, `seconds=` or both, got neither.")
        counts = {"batch_size": batch_size, "latent": latent, "width": width, "vae_steps": vae_steps}
        for name, count in counts.items():
            check_count(name, count)
        check_count("steps", steps, optional=True)
        check_number("seconds", seconds, above=0, optional=True)
        check_number("lr", lr, above=0)
        check_number("beta", beta, least=0)
        check_number("adversarial", adversarial, least=0)
        check_reduction(reduction)
        self.steps = steps
        self.seconds = seconds
        self.batch_size = batch_size
        self.latent = latent
        self.width = width
        self.beta = beta
        self.adversarial = adversarial
        self.reduction = reduction
        self.vae_steps = vae_steps
        self.lr = lr

    def unbind(self) -> None:
        """Leave the loop, and the networks of its last query."""
        super().unbind()
        self._networks = None

    # -- what the networks get -------------------------------------------------------------------------------------

    def inputs(self, batch: Any) -> Tensor:
        """Return what the networks get of a batch, one tensor (B, ...). Override for inputs of another kind.

        Raises:
            TypeError: If the task's inputs are not one tensor of numbers (images of bytes, or floating).
        """
        inputs = self.task.inputs(batch)
        number = isinstance(inputs, Tensor) and (
            inputs.is_floating_point() or inputs.dtype in (torch.uint8, torch.bool)
        )
        if not number:
            name = type(self).__name__
            got = f"{inputs.dtype}" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
            raise TypeError(
                f"`{name}` reconstructs inputs that are one tensor of images (bytes or floating) or of features, got "
                f"{got}. Override `inputs(batch)` in a subclass of {name} to give it such a tensor (B, ...)."
            )
        return inputs

    def _make(self, shape: Sequence[int], classes: int | None, dtype: torch.dtype, seed: int) -> Adversaries:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                return Adversaries(shape, self.latent, self.width, classes).to(dtype)
            except ValueError as error:
                name = type(self).__name__
                raise ValueError(
                    f"`{name}` has no network for these inputs. {error} Override `inputs(batch)` in a subclass of "
                    f"{name} to give it another tensor."
                ) from None

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(self, query: Query) -> None:
        """Train the networks, or take those that the campaign has of this very query."""
        if len(query.labelled) == 0:
            raise ValueError(f"`{type(self).__name__}` learns from labelled samples, and there are none.")
        kept = query.keep(f"{type(self).__name__.lower()}_{self._digest(query)}", lambda: self._learned(query))
        self._networks = self._make(kept["shape"], kept["classes"], kept["state_dict"]["vae.shift"].dtype, 0)
        self._networks.load_state_dict(kept["state_dict"])
        self._networks.eval()

    def _digest(self, query: Query) -> str:
        options = {k: v for k, v in vars(self).items() if isinstance(v, (int, float, str)) and not k.startswith("_")}
        told = [options, query.seed, query.candidates.tolist()]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]

    def _learned(self, query: Query) -> State:
        logits = self._logits(query)
        return on_rank_zero(query.trainer.strategy, lambda: self._trained(query, logits))

    def _logits(self, query: Query) -> Tensor | None:
        """The model's logits of the candidates, (N, C), for methods that use them."""
        return None

    def _trained(self, query: Query, logits: Tensor | None) -> State:
        """Train in this process alone, and return the networks as plain state."""
        double = any(p.dtype == torch.float64 for p in query.model.parameters())
        shape, shift, scale = self._statistics(query)
        classes = None if logits is None else logits.shape[1]
        seed = derive_seed(query.seed, "networks")
        networks = self._make(shape, classes, torch.float64 if double else torch.float32, seed)
        for own, found in ((networks.vae.shift, shift), (networks.vae.scale, scale)):
            own.copy_(found.view_as(own))
        batches = {"labelled": self._order(query, "labelled"), "unlabelled": self._order(query, "unlabelled")}
        training = AdversarialTraining(
            networks,
            self._options(),
            inputs=self.inputs,
            labels=self._labels,
            to_device=query.to_device,
            targets=None if logits is None else targets_of(batches["unlabelled"], query.candidates, logits),
            seconds=self.seconds,
            seed=derive_seed(query.seed, "vae"),
        )
        together = Together({kind: query.loader(order) for kind, order in batches.items()})
        fit_apart(query.trainer, training, together, steps=self.steps, seed=query.seed)
        state = {name: value.detach().clone() for name, value in networks.state_dict().items()}
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise ValueError(
                f"The training of `{type(self).__name__}`'s networks diverged. Lower `lr={self.lr}`, and check the "
                "inputs for NaN and infinite values."
            )
        return {"shape": shape, "classes": classes, "state_dict": state}

    def _options(self) -> AdversarialOptions:
        return AdversarialOptions(
            beta=self.beta,
            adversarial=self.adversarial,
            reduction=self.reduction,
            vae_steps=self.vae_steps,
            lr=self.lr,
        )

    def _labels(self, batch: Any) -> Tensor:
        """Return class indices (B,)."""
        labels = torch.as_tensor(self.task.targets(batch))
        if labels.ndim != 1 or labels.is_floating_point():
            raise TypeError(
                f"`{type(self).__name__}` learns from one class index per sample, got targets of {labels.dtype} and "
                f"shape {tuple(labels.shape)}. VAAL needs no targets."
            )
        return labels.long()

    def _order(self, query: Query, kind: str) -> EndlessBatches:
        indices = query.labelled if kind == "labelled" else query.candidates
        size = min(self.batch_size, len(indices)) * self.vae_steps
        return EndlessBatches(indices, size, derive_seed(query.seed, kind))

    def _statistics(self, query: Query) -> tuple[list[int], Tensor, Tensor]:
        """The shape of one input; mean and deviation of each channel or feature, (C,), 1 where all are equal."""
        everyone = torch.cat([query.labelled, query.candidates])
        draws = generator(query.seed, "statistics")
        seen = everyone[torch.randperm(len(everyone), generator=draws)[:SEEN_FOR_SCALE]]
        shapes, count = set(), 0
        total = squares = torch.zeros((), dtype=torch.float64)
        for batch in query.loader([some.tolist() for some in seen.split(self.batch_size)]):
            x = self.inputs(query.to_device(batch, query.trainer.strategy.root_device)).cpu().double()
            shapes.add(tuple(x.shape[1:]))
            if len(shapes) > 1:
                raise ValueError(
                    f"`{type(self).__name__}` needs inputs of one shape, got {sorted(shapes)}. Resize them in the data "
                    "set, or override `inputs(batch)`."
                )
            values = x.transpose(0, 1).flatten(1)
            count += values.shape[1]
            total = total + values.sum(1)
            squares = squares + values.square().sum(1)
        mean = total / count
        variance = squares / count - mean.square()
        # What is left of the difference by rounding is no deviation.
        constant = variance <= 1e-12 * mean.square()
        return list(shapes.pop()), mean, variance.masked_fill(constant, 1.0).sqrt()

    # -- scoring ---------------------------------------------------------------------------------------------------

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return how unlike the labelled samples each sample of a batch looks, (B,), at least 0."""
        inputs = self.inputs(batch)
        networks = self._networks
        if networks is None:  # before anything trains
            networks = self._make(inputs.shape[1:], None, torch.float32, 0)
        if tuple(inputs.shape[1:]) != networks.vae.shape:
            raise ValueError(
                f"`{type(self).__name__}` learnt from inputs of shape {networks.vae.shape}, got one of "
                f"{tuple(inputs.shape[1:])}."
            )
        logits: Tensor = plain_outputs(networks.to(inputs.device), inputs)
        return F.softplus(-logits)
