"""The terms of SAAL's upper bound of the maximally perturbed loss."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.checks import Findings, check_count, check_number
from lightning_al.functional.scores.perturbation import check_perturbation
from lightning_al.functional.scores.probabilities import (
    cross_entropy_differentiated_twice,
    mean_cross_entropy,
    pseudo_labels,
)
from lightning_al.functional.scores.saal import LossFn, TargetFn, samples_and_targets
from lightning_al.gradients.balls import BALLS
from lightning_al.gradients.norms import total_norm
from lightning_al.gradients.per_sample import one_per_sample
from lightning_al.gradients.scored_model import prepare, root_of
from lightning_al.inference.calling import Around, Forward, call_with, copies_for_model
from lightning_al.inference.entries import batch_size_of, slice_of, whole
from lightning_al.inference.live_weights import live_weights

Vector = list[Tensor]


class SharpnessBound(NamedTuple):
    """The three terms of each sample, (B,) each, and the eigenvalue that the third is made of."""

    loss: Tensor
    slope: Tensor
    curvature: Tensor
    eigenvalue: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of the three terms, (B,)."""
        return self.loss + self.slope + self.curvature


def sharpness_bound(
    model: nn.Module,
    inputs: Any,
    rho: float = 0.05,
    *,
    perturbation: str = "sam",
    steps: int = 30,
    tolerance: float = 1e-4,
    targets: Any = None,
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
) -> SharpnessBound:
    r"""The terms that bound each sample's maximally perturbed loss (Kim et al., SAAL, ICML 2023, Theorem 3.3).

    .. math::
        \max_{\|\epsilon\| \le \rho} \ell(\theta + \epsilon) \lesssim
        \ell(\theta) + \rho\,\|\nabla \ell\| + \tfrac12 \rho^2 \max(\lambda_{\max}(\nabla^2 \ell), 0)

    of the loss of each sample's pseudo-label. For ``"asam"`` the ball is that of :math:`\epsilon / |\theta|`, so that
    gradient and Hessian are taken in the coordinates :math:`\theta / |\theta|`.

    The largest eigenvalue comes from a Lanczos iteration on Hessian-vector products with full reorthogonalisation,
    where a power iteration would find the largest *magnitude*, which may be the negative end. It is a lower bound that
    rises with ``steps``, and exact once they reach the rank. One sample at a time: this is for diagnosis, on hundreds
    of samples, and costs a second backward pass a step, and the memory of ``steps`` copies of the weights.

    Args:
        model: Scored in ``eval()`` whatever mode it came in, and left exactly as it was.
        inputs: Any pytree of tensors with the batch as first dimension, or with a list of one entry for each sample.
        rho: Radius of the perturbation, > 0.
        perturbation: ``"sam"`` or ``"asam"``.
        steps: At most how many Lanczos steps.
        tolerance: Stop once the eigenvalue's error estimate is below this share of it, >= 0.
        targets: Labels in place of the pseudo-labels.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        target_fn: ``target_fn(outputs) -> targets``. Default: the argmax over dimension 1.
        loss_fn: ``loss_fn(outputs, targets) -> (B,)``. Default: cross-entropy in nats.

    Returns:
        The terms, (B,) each, at least float32.

    Raises:
        TypeError: If weights are sharded over processes, the losses are not floating, or targets for the default loss
            no class indices.
        ValueError: If an option is out of range, a target is no class, the model has no trainable parameter, or there
            is not one loss for each sample.

    Example:
        >>> bound = sharpness_bound(nn.Linear(2, 3), torch.randn(4, 2))
        >>> bound.total.shape, bool((bound.slope >= 0).all())
        (torch.Size([4]), True)
    """
    with Findings() as findings:
        findings.of(check_perturbation, rho, perturbation, 2.0)
        findings.of(check_count, "steps", steps)
        findings.of(check_number, "tolerance", tolerance, least=0)
    find_targets = target_fn if target_fn is not None else pseudo_labels
    losses_of = loss_fn if loss_fn is not None else mean_cross_entropy
    root = root_of(model, forward)
    inputs, targets = samples_and_targets(model, inputs, targets, forward=forward, loss_fn=losses_of)
    size = batch_size_of(inputs)
    if not size:
        return SharpnessBound(*(torch.empty(0) for _ in SharpnessBound._fields))
    with live_weights(model, root, inputs), differentiated_twice():
        prepared = prepare(root)
        leaves = {name: p.detach().requires_grad_() for name, p in prepared.params.items()}
        weights = list(leaves.values())
        scales = BALLS[perturbation](rho).scales(list(prepared.params.values()))

        def terms_of(sample: int) -> SharpnessBound:
            x, y = slice_of((inputs, targets), sample, sample + 1)
            outputs = root(copies_for_model(x))
            y = pytree.tree_map_only(Tensor, Tensor.detach, find_targets(outputs)) if targets is None else whole(y)
            surface = _Surface(one_per_sample(losses_of(outputs, y), 1).sum(), weights, scales)
            return surface.bound(rho, steps=steps, tolerance=tolerance)

        # Checkpointed blocks run again in the backward passes, which need the same weights in place.
        terms: list[SharpnessBound] = call_with(
            Around(root),
            {**prepared.fixed, **leaves},
            lambda: [terms_of(sample) for sample in range(size)],
            places=prepared.places,
        )
    return SharpnessBound(
        *(torch.stack([t.to(terms[0].loss.dtype) for t in column]) for column in zip(*terms, strict=True))
    )


class _Surface:
    """One sample's loss as a function of the weights: its slope and curvature, in the coordinates θ / scale.

    Args:
        loss: The loss, with its graph.
        weights: What it is differentiated by.
        scales: Shaped as the weights.
    """

    def __init__(self, loss: Tensor, weights: Vector, scales: Vector) -> None:
        self.loss = loss
        self.weights = weights
        self.scales = scales
        self.gradients = _derivative(loss, weights, create_graph=True)

    def bound(self, rho: float, *, steps: int, tolerance: float) -> SharpnessBound:
        """Return the terms of the bound, () each."""
        norm = total_norm([s * g.detach() for s, g in zip(self.scales, self.gradients, strict=True)])
        eigenvalue = largest_eigenvalue(self.hessian_product, self.weights, steps=steps, tolerance=tolerance)
        curvature = 0.5 * rho**2 * eigenvalue.clamp(min=0)
        return SharpnessBound(self.loss.detach(), self.loss.new_tensor(rho * norm), curvature, eigenvalue)

    def hessian_product(self, v: Vector) -> Vector:
        """Return the product of the Hessian with ``v``."""
        inner = [(g * s * u).sum() for g, s, u in zip(self.gradients, self.scales, v, strict=True)]
        rows = _derivative(torch.stack(inner).sum(), self.weights, retain_graph=True)
        return [s * r for s, r in zip(self.scales, rows, strict=True)]


def largest_eigenvalue(product: Callable[[Vector], Vector], like: Vector, *, steps: int, tolerance: float) -> Tensor:
    """Return the largest (not the largest in magnitude) eigenvalue of a symmetric operator, by Lanczos.

    Args:
        product: The operator, on lists of tensors shaped as ``like``.
        like: Shapes, dtype and device.
        steps: At most how many products.
        tolerance: Stop once the residual is below this share of the eigenvalue.

    Returns:
        A scalar.

    Example:
        >>> matrix = torch.diag(torch.tensor([-9.0, 1.0, 4.0]))
        >>> round(float(largest_eigenvalue(lambda v: [matrix @ v[0]], [torch.ones(3)], steps=3, tolerance=0.0)), 4)
        4.0
    """
    draw = torch.Generator().manual_seed(0)
    start = [torch.randn(w.shape, generator=draw, dtype=torch.float64).to(w) for w in like]
    basis = [_divided(start, total_norm(start))]
    diagonal: list[float] = []
    beside: list[float] = []
    eigenvalue = math.nan
    for step in range(min(steps, sum(w.numel() for w in like))):
        new = product(basis[-1])
        diagonal.append(float(_dot(new, basis[-1])))
        for _ in range(2):  # twice is enough for full orthogonality
            for old in basis:
                share = _dot(new, old)
                new = [n - share * o for n, o in zip(new, old, strict=True)]
        size = total_norm(new)
        tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        if beside:
            off = torch.tensor(beside, dtype=torch.float64)
            tridiagonal = tridiagonal + torch.diag(off, 1) + torch.diag(off, -1)
        if not math.isfinite(size):
            return like[0].new_tensor(math.nan)
        values, vectors = torch.linalg.eigh(tridiagonal)
        eigenvalue = float(values[-1])
        largest = float(values.abs().max())
        if (
            size <= 1e-7 * largest
            or size == 0
            or (step and size * abs(float(vectors[-1, -1])) <= tolerance * abs(eigenvalue))
        ):
            break
        beside.append(size)
        basis.append(_divided(new, size))
    return like[0].new_tensor(eigenvalue)


def _derivative(value: Tensor, wrt: Vector, **options: Any) -> Vector:
    if not value.requires_grad:
        return [torch.zeros_like(w) for w in wrt]
    grads = torch.autograd.grad(value, wrt, allow_unused=True, **options)
    return [torch.zeros_like(w) if g is None else g.to_dense() for w, g in zip(wrt, grads, strict=True)]


def _dot(a: Vector, b: Vector) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


def _divided(a: Vector, by: float) -> Vector:
    return [x / by for x in a]


@contextmanager
def differentiated_twice() -> Iterator[None]:
    """Attention by kernels that can be differentiated twice, and cross-entropies in a form for it."""
    kernels = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with kernels, cross_entropy_differentiated_twice():
        yield
