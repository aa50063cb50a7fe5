"""What a model says of each sample under its own worst-case weight perturbation."""

from typing import Any

from torch import Tensor, nn

from lightning_al.checks import Findings
from lightning_al.functional.scores.perturbation import check_perturbation
from lightning_al.functional.scores.probabilities import mean_cross_entropy, pseudo_labels
from lightning_al.functional.scores.saal import LossFn, PerturbedLoss, TargetFn
from lightning_al.gradients.balls import BALLS
from lightning_al.gradients.per_sample import one_row_each
from lightning_al.inference.calling import Forward


def _outputs(outputs: Any, targets: Any) -> Tensor:
    return outputs


def perturbed_outputs(
    model: nn.Module,
    inputs: Any,
    *,
    rho: float = 0.05,
    perturbation: str = "sam",
    p: float = 2.0,
    targets: Any = None,
    forward: Forward | None = None,
    target_fn: TargetFn | None = None,
    loss_fn: LossFn | None = None,
    max_bytes: float | None = None,
) -> Tensor:
    r"""The outputs of each sample under the perturbation that :func:`~lightning_al.functional.saal` takes its loss at.

    .. math:: f_{\theta + \hat\epsilon_i}(x_i), \qquad
        \hat\epsilon_i = \arg\max_{\|\epsilon\| \le \rho} \ell(x_i, \hat y_i; \theta + \epsilon)
        \ \text{to first order}

    They say whether the predicted label is kept and by how much it is not: ψ and δ of Kim et al. (SAAL, ICML 2023,
    Proposition 3.2, Theorem 3.1). The same exact per-sample passes as of the loss, at the same price.

    Args:
        model: Looked at in ``eval()`` whatever mode it came in, and left exactly as it was.
        inputs: Any pytree of tensors with the batch as first dimension, or with a list of one entry for each sample.
        rho: Radius of the perturbation, > 0.
        perturbation: ``"sam"`` or ``"asam"``, as of :func:`~lightning_al.functional.saal`.
        p: Norm of the ball for ``"sam"``, > 1.
        targets: Labels to use in place of the pseudo-labels, a pytree with the batch first.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        target_fn: ``target_fn(outputs) -> targets``. Default: the argmax over dimension 1.
        loss_fn: ``loss_fn(outputs, targets) -> (B,)``. Default: cross-entropy in nats, averaged over positions.
        max_bytes: Bound on the bytes of per-sample weights held at once.

    Returns:
        Outputs (B, ...), detached, at least float32.

    Raises:
        TypeError: If the outputs are no floating tensor, or targets for the default loss no class indices.
        ValueError: If an option is out of range, a target is no class, or there is not one row of outputs a sample.

    Example:
        >>> import torch
        >>> from lightning_al.functional import cross_entropy, saal
        >>> model, x = torch.nn.Linear(2, 3), torch.randn(5, 2)
        >>> moved = perturbed_outputs(model, x, rho=0.2)
        >>> moved.shape, torch.allclose(cross_entropy(moved, model(x).argmax(1)), saal(model, x, rho=0.2), rtol=1e-4)
        (torch.Size([5, 3]), True)
    """
    with Findings() as findings:
        findings.of(check_perturbation, rho, perturbation, p)
    loss = PerturbedLoss(
        ball=BALLS[perturbation](rho, p),
        difference=False,
        find_targets=target_fn if target_fn is not None else pseudo_labels,
        values=loss_fn if loss_fn is not None else mean_cross_entropy,
        under=_outputs,
    )
    kind = ("perturbed_outputs", perturbation, p, target_fn, loss_fn)
    return loss.of_samples(model, inputs, targets, kind=kind, forward=forward, max_bytes=max_bytes, shaped=one_row_each)
