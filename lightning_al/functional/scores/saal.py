"""Sharpness-aware active learning: the loss of each sample under its own worst-case weight perturbation."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.checks import Findings, check_choice
from lightning_al.functional.scores.perturbation import check_perturbation
from lightning_al.functional.scores.positions import Reduce, mean_over_positions
from lightning_al.functional.scores.probabilities import (
    check_class_indices,
    count_classes,
    cross_entropies,
    mean_cross_entropy,
    pseudo_labels,
)
from lightning_al.gradients.balls import BALLS, Ball
from lightning_al.gradients.differentiators import Differentiator, Params
from lightning_al.gradients.loss import Loss
from lightning_al.gradients.per_sample import one_map_each, one_per_sample, score_groups
from lightning_al.gradients.perturbed_losses import perturbed_losses
from lightning_al.gradients.scorers import ModelFunction
from lightning_al.gradients.tape import Tape
from lightning_al.inference.calling import Forward, copies_for_model
from lightning_al.inference.division import as_samples, targets_as_samples
from lightning_al.inference.entries import batch_size_of

SCORES = ("max", "difference")


def _as_it_is(values: Tensor) -> Tensor:
    return values


TargetFn = Callable[[Any], Any]
LossFn = Callable[[Any, Any], Tensor]


def saal(
    model: nn.Module,
    inputs: Any,
    *,
    rho: float = 0.05,
    perturbation: str = "sam",
    p: float = 2.0,
    group_size: int = 1,
    score: str = "max",
    targets: Any = None,
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
    max_bytes: float | None = None,
) -> Tensor:
    r"""Maximally perturbed loss of each sample (Kim et al., SAAL, ICML 2023, Eq. 8-12, Algorithm 1).

    .. math::
        s_i = \ell(x_i, \hat y_i; \theta + \epsilon_i), \qquad
        \epsilon_i = \arg\max_{\|\epsilon\| \le \rho} \ell(x_i, \hat y_i; \theta + \epsilon)
        \ \text{to first order}, \qquad \hat y_i = \arg\max f_\theta(x_i)

    The pseudo-label is taken at θ and stays fixed. Each sample has its own perturbation; with ``group_size`` B > 1
    (the paper's Table 2) consecutive groups of B samples share the perturbation of the group's mean loss, and each
    keeps its own loss under it.

    The paper's text defines ``perturbation="sam"``; its authors' code computes ``"asam"`` over all parameters, which
    moves the loss far less at the same ``rho``. To the gradient's norm 1e-12 is added, as they do: a sample whose
    gradient is as small, which a saturated model is sure of, is moved by less than ``rho``.

    Args:
        model: Scored in ``eval()`` whatever mode it came in, and left exactly as it was.
        inputs: Any pytree of tensors with the batch as first dimension; or with a list or tuple of one entry for each
            sample, such as images of different sizes, which are scored one after another.
        rho: Radius of the perturbation, > 0.
        perturbation: ``"sam"``, a ball in the weights, or ``"asam"``, a ball in the weights divided by their size; the
            formulas are at :func:`~lightning_al.functional.worst_case_perturbation`.
        p: Norm of the ball for ``"sam"``, > 1. ``inf`` moves a large model very far in L2 and warns.
        group_size: Samples that share a perturbation.
        score: ``"max"`` for the perturbed loss, ``"difference"`` for the perturbed minus the plain loss.
        targets: Labels to use in place of the pseudo-labels, a pytree with the batch first.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        target_fn: ``target_fn(outputs) -> targets``. Default: the argmax over dimension 1.
        loss_fn: ``loss_fn(outputs, targets) -> (B,)``. Default: cross-entropy in nats, averaged over positions.
        max_bytes: Bound on the bytes of per-sample weights held at once.

    Returns:
        Scores (B,), at least float32. Larger = sharper = more wanted.

    Raises:
        TypeError: If the outputs are not floating logits, or targets for the default loss no class indices.
        ValueError: If an option is out of range, a target is no class, or the logits do not have the shape
            (B, C, ...).

    Example:
        >>> model = torch.nn.Linear(2, 3)
        >>> x = torch.randn(5, 2)
        >>> bool((saal(model, x) > saal(model, x, rho=1e-6)).all())
        True
    """
    with Findings() as findings:
        findings.of(check_perturbation, rho, perturbation, p)
        findings.of(check_choice, "score", score, SCORES)
    _warn_of_inf(model, rho, p)
    loss = PerturbedLoss(
        ball=BALLS[perturbation](rho, p),
        difference=score == "difference",
        find_targets=target_fn if target_fn is not None else pseudo_labels,
        values=loss_fn if loss_fn is not None else mean_cross_entropy,
    )
    kind = ("saal", perturbation, p, score, target_fn, loss_fn)
    return loss.of_samples(
        model, inputs, targets, kind=kind, forward=forward, group_size=group_size, max_bytes=max_bytes
    )


def _warn_of_inf(model: nn.Module, rho: float, p: float) -> None:
    """Warn of a step that goes by the signs of a large model's gradient."""
    if not math.isinf(p):
        return
    size = sum(w.numel() for w in model.parameters() if w.requires_grad)
    if size > 10_000:
        warnings.warn(
            f"`p=inf` moves each of the {size:,} weights by rho={rho}, {rho * math.sqrt(size):.3g} in L2. "
            "Scores may say little; a much smaller `rho` is usual with p=inf.",
            stacklevel=3,
        )


def perturbed_pixel_losses(
    model: nn.Module,
    inputs: Any,
    *,
    rho: float = 0.05,
    perturbation: str = "sam",
    p: float = 2.0,
    score: str = "max",
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
    max_bytes: float | None = None,
) -> Tensor:
    r"""The loss of every pixel under one worst-case perturbation for each image: the S of RI-SAAL (Kim et al., A.8).

    .. math::
        S_{ij} = \ell_{ij}(x, \hat y; \theta + \epsilon), \qquad
        \epsilon = \arg\max_{\|\epsilon\| \le \rho} \frac{1}{HW} \sum_{ij} \ell_{ij}(x, \hat y; \theta + \epsilon)
        \ \text{to first order}

    The pseudo-labels are taken at θ and stay fixed. The mean of an image's S is its :func:`saal` score. The paper
    leaves open what the perturbation is of; one of its own for each pixel would take as many passes as there are.

    Args:
        model: Scored in ``eval()`` whatever mode it came in, and left exactly as it was.
        inputs: Any pytree of tensors with the batch as first dimension.
        rho: Radius of the perturbation, > 0.
        perturbation: ``"sam"`` (the paper's text) or ``"asam"`` (its code), as of :func:`saal`.
        p: Norm of the ball for ``"sam"``, > 1.
        score: ``"max"`` for the perturbed losses, ``"difference"`` for how much they exceed the plain ones.
        forward: ``forward(model, inputs) -> logits``, (B, C, H, W). Default: ``model(inputs)``.
        target_fn: ``target_fn(logits) -> targets``. Default: the argmax over dimension 1.
        loss_fn: ``loss_fn(logits, targets) -> (B, H, W)``. Default: cross-entropy in nats.
        max_bytes: Bound on the bytes of per-sample weights held at once.

    Returns:
        (B, H, W), at least float32. Larger = sharper = more wanted.

    Raises:
        TypeError: If the outputs are not floating logits.
        ValueError: If an option is out of range, or there is no row of losses for each image.

    Example:
        >>> model = torch.nn.Conv2d(1, 3, 3, padding=1)
        >>> x = torch.randn(2, 1, 4, 5)
        >>> pixels = perturbed_pixel_losses(model, x)
        >>> pixels.shape, torch.allclose(pixels.mean((1, 2)), saal(model, x), rtol=1e-3)
        (torch.Size([2, 4, 5]), True)
    """
    with Findings() as findings:
        findings.of(check_perturbation, rho, perturbation, p)
        findings.of(check_choice, "score", score, SCORES)
    _warn_of_inf(model, rho, p)
    loss = PerturbedLoss(
        ball=BALLS[perturbation](rho, p),
        difference=score == "difference",
        find_targets=target_fn if target_fn is not None else pseudo_labels,
        values=loss_fn if loss_fn is not None else cross_entropies,
        reduce=mean_over_positions,
    )
    kind = ("perturbed_pixel_losses", perturbation, p, score, target_fn, loss_fn)
    return loss.of_samples(model, inputs, None, kind=kind, forward=forward, max_bytes=max_bytes, shaped=one_map_each)


def samples_and_targets(
    model: nn.Module, inputs: Any, targets: Any, *, forward: Forward | None, loss_fn: LossFn
) -> tuple[Any, Any]:
    """Divide a batch, and the targets that it may come with, into samples.

    Raises:
        TypeError: If targets of :func:`mean_cross_entropy` are no class indices.
        ValueError: If inputs have no common number of samples, targets another, or one of them is no class.
    """
    inputs = as_samples(model, inputs, forward)
    if targets is not None:
        targets = targets_as_samples(targets, batch_size_of(inputs))
        if loss_fn is mean_cross_entropy:
            check_class_indices(targets, count_classes(model, inputs, forward))
    return inputs, targets


@dataclass(frozen=True)
class PerturbedLoss:
    """The loss of each sample, or of each of its positions, under the perturbation of its group; or the outputs there.

    Attributes:
        ball: What the perturbation stays in.
        difference: Whether the plain loss is taken off.
        find_targets: ``find_targets(outputs) -> targets``, of samples that come without targets.
        values: ``values(outputs, targets) -> (B,)``, or (B, ...): losses.
        reduce: Gives the loss of a sample, of which the perturbation is, from its values.
        under: ``under(outputs, targets)``: what is given of the perturbed outputs. Default: the values.
    """

    ball: Ball
    difference: bool
    find_targets: TargetFn
    values: LossFn
    reduce: Reduce = _as_it_is
    under: LossFn | None = None

    def of_samples(
        self,
        model: nn.Module,
        inputs: Any,
        targets: Any,
        *,
        kind: tuple[Any, ...],
        forward: Forward | None,
        **options: Any,
    ) -> Tensor:
        """Return the values of all samples, (B,) or (B, ...).

        Args:
            model: Any module.
            inputs: The samples.
            targets: Of each of them. None: those that the model gives.
            kind: As of :func:`score_groups`.
            forward: As there.
            **options: Others of it.
        """
        return score_groups(
            model,
            self.of_group,
            samples_and_targets(model, inputs, targets, forward=forward, loss_fn=self.values),
            fast=self.of_batch,
            kind=(*kind, targets is None),
            model_inputs=lambda batch: batch[0],
            forward=forward,
            copies=3,  # gradient, perturbation, moved weights
            **options,
        )

    def given(self, outputs: Any, targets: Any) -> Tensor:
        """Return what is given of perturbed outputs."""
        return (self.values if self.under is None else self.under)(outputs, targets)

    def of_group(self, diff: Differentiator, call: ModelFunction, params: Params, group: Any) -> Tensor:
        """Return the values of one group, (b,) or (b, ...)."""
        inputs, labels = group
        labels = copies_for_model(labels)  # a loss may work in place

        def mean_loss(weights: Params) -> tuple[Tensor, tuple[Tensor, Any]]:
            outputs = call(weights, inputs)
            targets = self._fixed_targets(outputs, labels)
            values = self.values(outputs, targets)
            return one_per_sample(self.reduce(values), batch_size_of(inputs)).mean(), (values, targets)

        grads, (plain, targets) = diff.gradient(mean_loss, params)
        with torch.no_grad():
            perturbed = self.given(call(diff.moved(self.ball, params, grads), inputs), targets)
        return perturbed - plain if self.difference else perturbed

    def of_batch(self, tape: Tape, batch: Any) -> Tensor:
        """Return the values of all groups of a batch by the layers' rules, (B,) or (B, ...)."""
        inputs, labels = batch
        labels = copies_for_model(labels)
        outputs = tape.record(copies_for_model(inputs), perturb=True)
        group_size = tape.rows // tape.units
        fixed: list[Any] = []
        plain: list[Tensor] = []

        def mean_losses(outputs: Any) -> Tensor:
            fixed.append(self._fixed_targets(outputs, labels))
            values = self.values(outputs, fixed[0])
            plain.append(values.detach())
            return self.reduce(values) / group_size

        perturbed = perturbed_losses(
            tape,
            lambda: copies_for_model(inputs),
            Loss(tape, outputs, mean_losses),
            given=lambda outputs: self.given(outputs, fixed[0]),
            ball=self.ball,
        )
        return perturbed - plain[0] if self.difference else perturbed

    def _fixed_targets(self, outputs: Any, labels: Any) -> Any:
        """Return the labels the samples come with, or those that the model gives at the unperturbed weights."""
        if labels is not None:
            return labels
        return pytree.tree_map_only(Tensor, Tensor.detach, self.find_targets(outputs))
