"""The base of adversarial acquisitions: samples are wanted that a discriminator can tell from the labelled ones."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_al.acquisition.adversarial.options import AdversarialOptions
from lightning_al.acquisition.adversarial.separate_fit import fit_separately
from lightning_al.acquisition.adversarial.training import (
    AdversarialTraining,
    EndlessBatches,
    Together,
    targets_of,
)
from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.query import Query
from lightning_al.campaign.states import State
from lightning_al.checks import Findings
from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.distributed.ranks import on_rank_zero
from lightning_al.inference.outputs import plain_outputs
from lightning_al.nn.adversaries import Adversaries

SEEN_FOR_SCALE = 2048
"""Samples from which the mean and deviation of the inputs are taken, at most."""


class AdversarialAcquisition(Acquisition):
    """Scores by networks that are trained before each query to tell the labelled samples from the candidates.

    Args:
        selection: How a batch follows from the scores.
        **options: Those of :class:`AdversarialOptions`. Each is kept as an attribute, too.

    Raises:
        ValueError: If an option is out of range.
    """

    _networks: Adversaries | None = None
    _shape: tuple[int, ...] | None = None  # of the inputs, as the first batch has them

    def __init__(self, *, selection: str, **options: Any) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(selection=selection)
            with findings.of_block():
                self._options = AdversarialOptions(**options)
        self.__dict__.update(options)

    def unbind(self) -> None:
        """Leave the loop, and the networks of its last query."""
        super().unbind()
        self._networks = None
        self._shape = None

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
                return Adversaries(shape, self._options.latent, self._options.width, classes).to(dtype)
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
        state = query.keep(f"{type(self).__name__.lower()}_{self._digest(query)}", lambda: self._learned(query))
        self._networks = self._make(state["shape"], state["classes"], state["state_dict"]["vae.shift"].dtype, 0)
        self._networks.load_state_dict(state["state_dict"])
        self._networks.eval()

    def _digest(self, query: Query) -> str:
        options = {k: v for k, v in vars(self).items() if isinstance(v, (int, float, str)) and not k.startswith("_")}
        decisive = [options, query.seed, query.candidates.tolist()]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]

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
        for buffer, value in ((networks.vae.shift, shift), (networks.vae.scale, scale)):
            buffer.copy_(value.view_as(buffer))
        batches = {"labelled": self._order(query, "labelled"), "unlabelled": self._order(query, "unlabelled")}
        training = AdversarialTraining(
            networks,
            self._options,
            inputs=self.inputs,
            labels=self._labels,
            to_device=query.to_device,
            targets=None if logits is None else targets_of(batches["unlabelled"], query.candidates, logits),
            seed=derive_seed(query.seed, "vae"),
        )
        together = Together({kind: query.loader(order) for kind, order in batches.items()})
        fit_separately(query.trainer, training, together, steps=self._options.steps, seed=query.seed)
        state = {name: value.detach().clone() for name, value in networks.state_dict().items()}
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise ValueError(
                f"The training of `{type(self).__name__}`'s networks diverged. Lower `lr={self._options.lr}`, and "
                "check the inputs for NaN and infinite values."
            )
        return {"shape": shape, "classes": classes, "state_dict": state}

    def _labels(self, batch: Any) -> Tensor:
        """Return class indices (B,)."""
        labels = torch.as_tensor(self.task.known_targets(batch))
        if labels.ndim != 1 or labels.is_floating_point():
            raise TypeError(
                f"`{type(self).__name__}` learns from one class index per sample, got targets of {labels.dtype} and "
                f"shape {tuple(labels.shape)}. VAAL needs no targets."
            )
        return labels.long()

    def _order(self, query: Query, kind: str) -> EndlessBatches:
        indices = query.labelled if kind == "labelled" else query.candidates
        size = min(self._options.batch_size, len(indices)) * self._options.vae_steps
        return EndlessBatches(indices, size, derive_seed(query.seed, kind))

    def _statistics(self, query: Query) -> tuple[list[int], Tensor, Tensor]:
        """The shape of one input; mean and deviation of each channel or feature, (C,), 1 where all are equal."""
        everyone = torch.cat([query.labelled, query.candidates])
        draws = generator(query.seed, "statistics")
        seen = everyone[torch.randperm(len(everyone), generator=draws)[:SEEN_FOR_SCALE]]
        shapes, count = set(), 0
        total = squares = torch.zeros((), dtype=torch.float64)
        for batch in query.loader([some.tolist() for some in seen.split(self._options.batch_size)]):
            x = self.inputs(query.to_device(batch, query.trainer.strategy.root_device)).cpu().double()
            shapes.add(tuple(x.shape[1:]))
            if len(shapes) > 1:
                raise self._of_several_shapes(shapes)
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
            self._shape = self._shape or tuple(inputs.shape[1:])
            if tuple(inputs.shape[1:]) != self._shape:
                raise self._of_several_shapes({self._shape, tuple(inputs.shape[1:])})
            networks = self._make(inputs.shape[1:], None, torch.float32, 0)
        if tuple(inputs.shape[1:]) != networks.vae.shape:
            raise ValueError(
                f"`{type(self).__name__}` learnt from inputs of shape {networks.vae.shape}, got one of "
                f"{tuple(inputs.shape[1:])}."
            )
        logits: Tensor = plain_outputs(networks.to(inputs.device), inputs)
        return F.softplus(-logits)

    def _of_several_shapes(self, shapes: set[tuple[int, ...]]) -> ValueError:
        return ValueError(
            f"`{type(self).__name__}` needs inputs of one shape, got {sorted(shapes)}. Resize or pad them in the "
            "dataset, or override `inputs(batch)`."
        )
