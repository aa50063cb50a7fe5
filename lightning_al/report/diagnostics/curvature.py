"""The mean loss of many samples as a function of the weights: its value, gradient and Hessian, batch by batch."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.checks import Findings, check_count, check_number, check_tensor
from lightning_al.functional.scores.probabilities import mean_cross_entropy, pseudo_labels
from lightning_al.functional.scores.saal import LossFn, TargetFn
from lightning_al.functional.scores.sharpness import differentiated_twice, largest_eigenvalue
from lightning_al.gradients.scored_model import ScoredModel, prepare, root_of
from lightning_al.inference.calling import Around, Forward, call_with, copies_for_model
from lightning_al.inference.live_weights import live_weights

Batches = Iterable[tuple[Any, Any]]
"""Pairs of inputs and targets, the same ones whenever it is iterated; targets may be None: the model's own labels."""

Vector = list[Tensor]
"""A direction in the space of the trainable weights: a tensor for each."""


class MeanLoss:
    """The mean loss of samples, as a function of the trainable weights. Made by :func:`mean_loss`.

    Args:
        model: The model, prepared for scoring.
        batches: The samples.
        target_fn: Gives the labels of samples that come without: those of the model as it is, wherever it is moved to.
        loss_fn: Gives each sample's loss, (B,).
    """

    def __init__(self, model: ScoredModel, batches: Batches, target_fn: TargetFn, loss_fn: LossFn) -> None:
        self.model = model
        self.batches = batches
        self.target_fn = target_fn
        self.loss_fn = loss_fn
        self.names = list(model.params)
        self.weights: Vector = [p.clone() for p in model.params.values()]

    def losses(self, weights: Vector, batch: tuple[Any, Any]) -> Tensor:
        """Return the loss of each sample of a batch, (B,), at these weights."""
        return self._at(weights, lambda: self._losses(batch))

    def _losses(self, batch: tuple[Any, Any]) -> Tensor:
        """Return the loss of each sample of a batch, (B,), at the weights that are in place."""
        inputs, targets = batch
        if targets is None:
            with torch.no_grad():
                targets = self.target_fn(self._at(self.weights, lambda: self._outputs(inputs)))
            targets = pytree.tree_map_only(Tensor, Tensor.detach, targets)
        losses = self.loss_fn(self._outputs(inputs), targets)
        check_tensor("loss_fn(outputs, targets)", losses)
        if losses.ndim == 0 or losses.numel() != len(losses):
            raise ValueError(
                f"The loss must give one number per sample, (B,), got shape {tuple(losses.shape)}. Average over "
                "pixels, boxes or time steps first, and not over samples."
            )
        return losses

    def _outputs(self, inputs: Any) -> Any:
        return self.model.root(copies_for_model(inputs))

    def _at(self, weights: Vector, action: Callable[[], Any]) -> Any:
        """Run an action with these weights in place; its backward passes too, for blocks that are checkpointed."""
        tensors = {**self.model.fixed, **dict(zip(self.names, weights, strict=True))}
        return call_with(Around(self.model.root), tensors, action, places=self.model.places)

    def values(self, places: Sequence[Vector]) -> list[float]:
        """Return the mean loss at each of these weights; the samples are read once."""
        return self.values_at(lambda place: places[place], [(place,) for place in range(len(places))])

    @torch.no_grad()
    def values_at(self, move: Callable[..., Vector], places: Sequence[tuple[Any, ...]]) -> list[float]:
        """Return the mean loss at the weights ``move(*place)`` for each place, of which one exists at a time."""
        totals, count = [0.0 for _ in places], 0
        for batch in self.batches:
            for number, place in enumerate(places):
                losses = self.losses(move(*place), batch)
                totals[number] += float(losses.double().sum())
            count += len(losses)
        return [total / count for total in totals]

    @torch.no_grad()
    def count(self) -> int:
        """Return how many samples there are."""
        return sum(len(self.losses(self.weights, batch)) for batch in self.batches)

    def gradient(self, *, total: bool = False) -> Vector:
        """Return the gradient of the mean loss, or of the ``total``."""
        return self._accumulated(lambda losses, weights: torch.autograd.grad(losses, weights, allow_unused=True), total)

    def hessian_product(self, v: Vector) -> Vector:
        """Return the product of the mean loss's Hessian with a direction."""

        def product(loss: Tensor, weights: Vector) -> Any:
            first = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
            used = [(g.to_dense(), u) for g, u in zip(first, v, strict=True) if g is not None and g.requires_grad]
            inner = [(g * u).sum() for g, u in used]
            if not inner:
                return [None for _ in weights]
            return torch.autograd.grad(torch.stack(inner).sum(), weights, allow_unused=True)

        return self._accumulated(product, total=False)

    def slopes(self, v: Vector) -> Tensor:
        """Return the derivative of each sample's loss along a direction, (N,): its gradient times ``v``."""
        parts = []
        for batch in self.batches:
            weights = [w.detach().requires_grad_() for w in self.weights]

            def slopes(weights: Vector = weights, batch: tuple[Any, Any] = batch) -> Tensor:
                losses = self._losses(batch)
                each = torch.ones_like(losses, requires_grad=True)  # the backward pass is linear in it
                first = torch.autograd.grad(losses, weights, each, create_graph=True, allow_unused=True)
                used = [(g.to_dense(), u) for g, u in zip(first, v, strict=True) if g is not None]
                inner = torch.stack([(g * u).sum() for g, u in used]).sum()
                return torch.autograd.grad(inner, each)[0].detach()

            parts.append(self._at(weights, slopes))
        return torch.cat(parts)

    def _accumulated(self, of_batch: Any, total: bool) -> Vector:
        sums, count = [torch.zeros_like(w) for w in self.weights], 0
        for batch in self.batches:
            weights = [w.detach().requires_grad_() for w in self.weights]

            def of_losses(weights: Vector = weights, batch: tuple[Any, Any] = batch) -> tuple[int, Any]:
                losses = self._losses(batch)
                return len(losses), of_batch(losses.sum(), weights)

            size, parts = self._at(weights, of_losses)
            count += size
            for place, part in zip(sums, parts, strict=True):
                if part is not None:
                    place += part.detach()
        return sums if total else [s / count for s in sums]


@contextlib.contextmanager
def mean_loss(
    model: nn.Module,
    batches: Batches,
    *,
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
) -> Iterator[MeanLoss]:
    """Give the mean loss of samples as a function of the weights, the model in ``eval()`` inside and untouched after.

    Args:
        model: Any module.
        batches: The samples; more than one pass may be made over them.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        target_fn: ``target_fn(outputs) -> targets`` of samples without. Default: the argmax over dimension 1.
        loss_fn: ``loss_fn(outputs, targets) -> (B,)``. Default: cross-entropy in nats.

    Raises:
        TypeError: If weights are sharded over processes.
        ValueError: If there are no samples, no trainable parameter, or not one loss for each sample.
    """
    root = root_of(model, forward)
    first = next(iter(batches), None)
    if first is None:
        raise ValueError("There are no samples to take a mean loss of.")
    with live_weights(model, root, first[0]), differentiated_twice():
        find_targets = target_fn if target_fn is not None else pseudo_labels
        yield MeanLoss(prepare(root), batches, find_targets, loss_fn if loss_fn is not None else mean_cross_entropy)


def loss_eigenvalue(
    model: nn.Module,
    batches: Batches,
    *,
    steps: int = 30,
    tolerance: float = 1e-3,
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
) -> float:
    r"""The largest eigenvalue :math:`\lambda_1` of the Hessian of the mean loss of a data set, by Lanczos.

    Kim et al. (SAAL, ICML 2023, Fig. 5, 15) print it beside the loss landscape. Not the largest in magnitude, which may
    be the negative end. Each step takes two backward passes over all samples.

    Args:
        model: Looked at in ``eval()`` and left as it was.
        batches: The samples, pairs of inputs and targets.
        steps: At most how many Lanczos steps.
        tolerance: Stop once the eigenvalue's error estimate is below this share of it, >= 0.
        forward: As of :func:`mean_loss`.
        target_fn: As of :func:`mean_loss`.
        loss_fn: As of :func:`mean_loss`.

    Example:
        >>> model, x = nn.Linear(2, 3), torch.randn(8, 2)
        >>> loss_eigenvalue(model, [(x[:5], torch.zeros(5).long()), (x[5:], torch.ones(3).long())]) > 0
        True
    """
    with Findings() as findings:
        findings.of(check_count, "steps", steps)
        findings.of(check_number, "tolerance", tolerance, least=0)
    with mean_loss(model, batches, forward=forward, target_fn=target_fn, loss_fn=loss_fn) as loss:
        return float(largest_eigenvalue(loss.hessian_product, loss.weights, steps=steps, tolerance=tolerance))
