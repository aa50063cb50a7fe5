"""Norms of per-sample gradients: of the entropy, of the expected loss, of the pseudo-label's loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.checks import Findings, check_choice
from lightning_al.functional.scores.positions import Reduce, mean_over_positions
from lightning_al.functional.scores.probabilities import (
    check_logits,
    count_classes,
    cross_entropy,
    log_probabilities,
    pseudo_labels,
)
from lightning_al.functional.scores.uncertainty import entropies
from lightning_al.gradients.differentiators import Differentiator, Params
from lightning_al.gradients.gradient_norms import gradient_norms
from lightning_al.gradients.loss import Loss
from lightning_al.gradients.norms import global_norm
from lightning_al.gradients.per_sample import one_per_sample, score_groups
from lightning_al.gradients.scorers import ModelFunction
from lightning_al.gradients.tape import Tape
from lightning_al.inference.calling import Forward, copies_for_model

LOSSES = ("entropy", "expected_loss", "expected_norm", "pseudo_label")


def gradient_norm(
    model: nn.Module,
    inputs: Any,
    *,
    loss: str | Callable[[Any], Tensor] = "entropy",
    norm: str = "global",
    reduce: Reduce = mean_over_positions,
    forward: Forward | None = None,
    max_bytes: int | None = None,
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

    Dense outputs (B, C, ...) have a loss at every position; ``reduce`` makes one of them, and that is differentiated:
    one gradient per sample. In ``"expected_norm"``, p is then the mean over positions, which sums to 1.

    Args:
        model: Scored in ``eval()`` whatever mode it came in, and left exactly as it was.
        inputs: Any pytree of tensors with the batch as first dimension.
        loss: Which scalar of each sample is differentiated.
        norm: ``"global"``, one L2 norm over all parameters (the papers' text); ``"tensor_sum"``, the sum over
            parameter tensors of their L2 norms (what both papers' code computes).
        reduce: ``reduce(losses) -> (B,)``, how the losses of a sample's positions, (B, ...), become one, where ``loss``
            is a built-in one. Must be differentiable. Default: their mean.
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
    if loss == "expected_norm":
        scored: _ExpectedNorm | _LossNorm = _ExpectedNorm(norm, reduce)
        copies = 1 + count_classes(model, inputs, forward)
    else:
        scored = _LossNorm(norm, loss if callable(loss) else _reduced(_BUILT_IN[loss], reduce))
        copies = 2
    return score_groups(
        model,
        scored.of_group,
        inputs,
        fast=scored.of_batch,
        kind=("gradient_norm", loss, norm, reduce),
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


def _tensor_sum(grads: Sequence[Tensor]) -> Tensor:
    return torch.stack([global_norm([g]) for g in grads if g.numel()]).sum()


NORMS: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {"global": global_norm, "tensor_sum": _tensor_sum}


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
        return NORMS[self.norm](list(grads.values())).unsqueeze(0)

    def of_batch(self, tape: Tape, batch: Any) -> Tensor:
        """Return it for all samples of a batch by the layers' rules, (B,)."""
        outputs = tape.record(copies_for_model(batch))
        return gradient_norms(tape, Loss(tape, outputs, self.losses), self.norm)


@dataclass(frozen=True)
class _ExpectedNorm:
    """The norms of the gradients of the losses of all classes, weighted by their probabilities.

    Attributes:
        norm: Its name.
        reduce: How the losses of a sample's positions become one.
    """

    norm: str
    reduce: Reduce

    def of_group(self, diff: Differentiator, call: ModelFunction, params: Params, group: Any) -> Tensor:
        """Return their sum for one sample, (1,)."""

        def class_losses(weights: Params) -> Tensor:
            logits = call(weights, group)
            check_logits(logits)
            return self.reduce(-log_probabilities(logits)[0])  # a row for each class

        norms = diff.row_norms(class_losses, params, NORMS[self.norm])
        p = mean_over_positions(log_probabilities(call(params, group)).exp(), first=2)[0]
        return (p.detach() * norms).sum().unsqueeze(0)

    def of_batch(self, tape: Tape, batch: Any) -> Tensor:
        """Return their sum for all samples of a batch by the layers' rules, (B,)."""
        logits = tape.record(copies_for_model(batch))
        check_logits(logits)
        with torch.no_grad():
            p = mean_over_positions(log_probabilities(logits).exp(), first=2)
        total = torch.zeros_like(p[:, 0])
        for c in range(p.shape[1]):  # one backward pass each, through the same graph
            loss = Loss(tape, logits, partial(self._class_loss, number=c))
            total += p[:, c] * gradient_norms(tape, loss, self.norm, keep=c + 1 < p.shape[1])
        return total

    def _class_loss(self, logits: Tensor, number: int) -> Tensor:
        return self.reduce(-log_probabilities(logits)[:, number])
