"""Norms of per-sample gradients: of the entropy, of the expected loss, of the pseudo-label's loss."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.checks import Findings, check_choice, check_count
from lightning_al.functional.scores.labellings import count_labellings, nth_labelling
from lightning_al.functional.scores.positions import Reduce, mean_over_positions
from lightning_al.functional.scores.probabilities import (
    check_logits,
    cross_entropy,
    log_probabilities,
    logits_shape,
    pseudo_labels,
)
from lightning_al.functional.scores.uncertainty import entropies
from lightning_al.gradients.differentiators import Differentiator, Params
from lightning_al.gradients.gradient_norms import gradient_norms
from lightning_al.gradients.loss import Loss
from lightning_al.gradients.per_sample import one_per_sample, score_groups
from lightning_al.gradients.scorers import ModelFunction
from lightning_al.gradients.tape import Tape
from lightning_al.inference.calling import Forward, copies_for_model
from lightning_al.inference.division import as_samples

LOSSES = ("entropy", "expected_loss", "expected_norm", "pseudo_label")


def gradient_norm(
    model: nn.Module,
    inputs: Any,
    *,
    loss: str | Callable[[Any], Tensor] = "entropy",
    norm: str = "global",
    reduce: Reduce = mean_over_positions,
    draws: int = 64,
    forward: Forward | None = None,
    max_bytes: float | None = None,
) -> Tensor:
    r"""Norm of each sample's gradient with respect to all trainable parameters.

    - ``"entropy"``: :math:`\|\nabla_\theta H(p(x))\|` (Wang et al., AAAI 2022, Eq. 7; LPLgrad's query). It is 0 at
      one-hot predictions, and also at uniform ones and exact two-way ties: it does not pick the most undecided.
    - ``"expected_norm"``: :math:`\sum_c p_c \|\nabla_\theta \ell(x, c)\|`, the expected gradient length of Settles
      (2008), the quantity the name "expected gradient norm" promises.
    - ``"expected_loss"``: :math:`\|\nabla_\theta \sum_c p_c\, \ell(x, c)\|` (Wang et al., Eq. 6) with ``p`` inside
      the graph, as the authors' code has it. Since :math:`\ell(x, c) = -\log p_c`, the sum *is* the entropy and the
      score equals ``"entropy"``; with ``p`` detached the gradient would be exactly 0.
    - ``"pseudo_label"``: :math:`\|\nabla_\theta \ell(x, \hat y)\|`, the middle term of SAAL's Theorem 3.3.
    - a callable ``loss(outputs) -> (B,)`` of your own.

    Outputs (B, C, ...) are of samples of several decisions: labels, pixels. Each has a loss; ``reduce`` makes one of
    them, and that is differentiated: one gradient per sample. ``"expected_norm"`` is then the expectation over the
    *labellings* of a sample, whose decisions are independent: a sum over all of them where they are at most 256 (2^L of
    L yes-or-no labels, L <= 8), each with its probability, else the mean over ``draws`` of them drawn from p, by the
    same random numbers for each sample and in each call. That is as many backward passes; ``"entropy"`` takes one.
    (The paper calls the sum over all labellings infeasible, App. A.4, and does not define another. Probabilities and
    losses averaged over decisions *first* are another quantity, largest for samples that are certain, but not of the
    same class everywhere.)

    Args:
        model: Scored in ``eval()`` whatever mode it came in, and left exactly as it was.
        inputs: Any pytree of tensors with the batch as first dimension; or with a list or tuple of one entry for each
            sample, such as images of different sizes, which are scored one after another.
        loss: Which scalar of each sample is differentiated.
        norm: ``"global"``, one L2 norm over all parameters (the papers' text); ``"tensor_sum"``, the sum over
            parameter tensors of their L2 norms (what both papers' code computes).
        reduce: ``reduce(losses) -> (B,)``, how the losses of a sample's positions, (B, ...), become one, where ``loss``
            is a built-in one. Must be differentiable. Default: their mean.
        draws: How many labellings ``"expected_norm"`` draws for samples of several decisions that have more than 256.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        max_bytes: Bound on the bytes of per-sample gradients held at once.

    Returns:
        Norms (B,), at least float32.

    Raises:
        TypeError: If the outputs are not floating logits (built-in losses only).
        ValueError: If an option is unknown, or the logits do not have the shape (B, C, ...).

    Example:
        >>> model = torch.nn.Linear(2, 3)
        >>> _ = torch.nn.init.zeros_(model.weight), torch.nn.init.zeros_(model.bias)
        >>> bool(gradient_norm(model, torch.ones(1, 2)) < 1e-6)  # uniform: the entropy is flat
        True
        >>> gradient_norm(model, torch.ones(1, 2), loss="expected_norm")
        tensor([1.4142])
    """
    check_gradient_norm(loss, norm)
    check_count("draws", draws)
    inputs = as_samples(model, inputs, forward)
    if loss == "expected_norm":
        scored: _ExpectedNorm | _LossNorm = _ExpectedNorm(norm, reduce, draws)
        classes, *positions = logits_shape(model, inputs, forward)
        copies = 1 + count_labellings(classes, math.prod(positions), draws)[0]
    else:
        scored = _LossNorm(norm, loss if callable(loss) else _reduced(_BUILT_IN[loss], reduce))
        copies = 2
    return score_groups(
        model,
        scored.of_group,
        inputs,
        fast=scored.of_batch,
        kind=("gradient_norm", loss, norm, reduce, draws),
        forward=forward,
        copies=copies,
        max_bytes=max_bytes,
    )


def check_gradient_norm(loss: str | Callable[[Any], Tensor], norm: str) -> None:
    """Refuse a ``loss`` or ``norm`` that :func:`gradient_norm` does not know.

    Raises:
        ValueError: With the value seen and the values allowed.
    """
    with Findings() as findings:
        if not callable(loss):
            findings.of(check_choice, "loss", loss, LOSSES, or_else="a callable")
        findings.of(check_choice, "norm", norm, NORMS)


def _norm_over_all(diff: Differentiator, grads: Sequence[Tensor]) -> Tensor:
    return diff.global_norm(grads)


def _tensor_sum(diff: Differentiator, grads: Sequence[Tensor]) -> Tensor:
    return torch.stack([diff.global_norm([g]) for g in grads if g.numel()]).sum()


NORMS: dict[str, Callable[[Differentiator, Sequence[Tensor]], Tensor]] = {
    "global": _norm_over_all,
    "tensor_sum": _tensor_sum,
}


def _pseudo_label_losses(logits: Tensor) -> Tensor:
    return cross_entropy(logits, pseudo_labels(logits))


# "expected_loss" is the entropy by identity; the tests check it against the published sum.
_BUILT_IN: dict[str, Callable[[Tensor], Tensor]] = {
    "entropy": entropies,
    "expected_loss": entropies,
    "pseudo_label": _pseudo_label_losses,
}


def _reduced(losses: Callable[[Tensor], Tensor], reduce: Reduce) -> Callable[[Tensor], Tensor]:
    return lambda logits: reduce(losses(logits))


@dataclass(frozen=True)
class _LossNorm:
    """The norm of the gradient of each sample's loss.

    Attributes:
        norm: Its name.
        losses: ``losses(outputs) -> (B,)``.
    """

    norm: str
    losses: Callable[[Any], Tensor]

    def of_group(self, diff: Differentiator, call: ModelFunction, params: Params, group: Any) -> Tensor:
        """Return it for one sample, (1,)."""

        def loss(weights: Params) -> tuple[Tensor, None]:
            return one_per_sample(self.losses(call(weights, group)), 1).sum(), None

        grads, _ = diff.gradient(loss, params)
        return NORMS[self.norm](diff, list(grads.values())).unsqueeze(0)

    def of_batch(self, tape: Tape, batch: Any) -> Tensor:
        """Return it for all samples of a batch by the layers' rules, (B,)."""
        outputs = tape.record(copies_for_model(batch))
        return gradient_norms(tape, Loss(tape, outputs, self.losses), self.norm)


@dataclass(frozen=True)
class _ExpectedNorm:
    """The norms of the gradients of the losses under all labellings, or some drawn, weighted by their probabilities.

    Attributes:
        norm: Its name.
        reduce: How the losses of a sample's decisions become one.
        draws: How many labellings are drawn where there are too many.
    """

    norm: str
    reduce: Reduce
    draws: int

    def of_group(self, diff: Differentiator, call: ModelFunction, params: Params, group: Any) -> Tensor:
        """Return their sum for one sample, (1,)."""

        def log_p_of(weights: Params) -> Tensor:
            logits = call(weights, group)
            check_logits(logits)
            return log_probabilities(logits)

        log_p = log_p_of(params).detach()
        labellings = [nth_labelling(log_p, number, self.draws) for number in range(self._count(log_p))]

        def losses(weights: Params) -> Tensor:
            log_p = log_p_of(weights)
            return torch.cat([self._losses(log_p, labels) for labels, _ in labellings])

        norms = diff.row_norms(losses, params, partial(NORMS[self.norm], diff))
        return (torch.cat([weight for _, weight in labellings]) * norms).sum().unsqueeze(0)

    def of_batch(self, tape: Tape, batch: Any) -> Tensor:
        """Return their sum for all samples of a batch by the layers' rules, (B,)."""
        logits = tape.record(copies_for_model(batch))
        check_logits(logits)
        with torch.no_grad():
            log_p = log_probabilities(logits)
        total = log_p.new_zeros(len(log_p))
        count = self._count(log_p)
        for number in range(count):  # one backward pass each, through the same graph
            labels, weight = nth_labelling(log_p, number, self.draws)
            loss = Loss(tape, logits, partial(self._loss_of, labels=labels))
            total += weight * gradient_norms(tape, loss, self.norm, keep=number + 1 < count)
        return total

    def _count(self, log_p: Tensor) -> int:
        return count_labellings(log_p.shape[1], log_p[0, 0].numel(), self.draws)[0]

    def _loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self._losses(log_probabilities(logits), labels)

    def _losses(self, log_p: Tensor, labels: Tensor) -> Tensor:
        return self.reduce(-log_p.gather(1, labels.unsqueeze(1)).squeeze(1))
