"""The worst-case weight perturbation, shared by the SAAL score and the SAM optimizer step."""

from collections.abc import Sequence

from torch import Tensor

from lightning_al.checks import Findings, check_choice, check_number, check_tensor
from lightning_al.gradients.balls import BALLS
from lightning_al.inference.precision import at_least_float32


def check_perturbation(rho: float, perturbation: str, p: float, eta: float = 0.0) -> None:
    """Refuse options that :func:`worst_case_perturbation` cannot honour.

    Raises:
        TypeError: If a number is none.
        ValueError: With the option, the value seen and the values allowed.
    """
    with Findings() as findings:
        findings.of(check_number, "rho", rho, above=0)
        is_known = findings.of(check_choice, "perturbation", perturbation, BALLS)
        is_norm = findings.of(check_number, "p", p, above=1, may_be_infinite=True)
        if is_known and is_norm and p != 2 and not BALLS[perturbation].any_norm:
            others = " or ".join(f'"{name}"' for name, ball in BALLS.items() if ball.any_norm)
            findings.refuse(
                f'`perturbation="{perturbation}"` is defined for p = 2 only, got p = {p!r}. Use {others} for other '
                "norms."
            )
        if findings.of(check_number, "eta", eta, least=0) and is_known:
            findings.refuse_if(
                eta != 0 and not BALLS[perturbation].any_eta,
                f'`eta` is of `perturbation="asam"` alone, got {eta!r} with "{perturbation}". Leave it out.',
            )


def worst_case_perturbation(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    *,
    rho: float = 0.05,
    perturbation: str = "sam",
    p: float = 2.0,
    eta: float = 0.0,
    adaptive: Sequence[bool] | None = None,
) -> list[Tensor]:
    r"""First-order worst-case perturbation of the weights inside a ball of radius ``rho``.

    ``"sam"`` (Foret 2020, Eq. 2; SAAL Eq. 11), with :math:`1/p + 1/q = 1` and norms over all tensors together:

    .. math:: \epsilon = \rho\, \mathrm{sign}(g)\, |g|^{q-1} / (\|g\|_q^q)^{1/p}

    ``"asam"`` (Kwon 2021, Eq. 7), with :math:`T = |\theta| + \eta`:

    .. math:: \epsilon = \rho\, T^2 g / \|T g\|_2

    To both L2 norms 1e-12 is added, as in the papers' code: where a gradient is as small, of samples that a saturated
    model is sure of, the perturbation is shorter than ``rho``.

    Written with ``torch`` operations only, so that it also runs under ``torch.func.vmap``.

    Args:
        params: The weights, one tensor or more of any shapes.
        grads: Their gradients, same shapes. A gradient of 0 everywhere gives a perturbation of 0.
        rho: Radius, > 0.
        perturbation: ``"sam"`` or ``"asam"``.
        p: Norm of the ball for ``"sam"``, > 1; ``inf`` gives ``rho * sign(g)``.
        eta: Added to ``|θ|`` for ``"asam"``.
        adaptive: For ``"asam"``, which tensors are scaled by ``T``; the others use ``T = 1``. Default: all.

    Returns:
        The perturbation of each tensor, same shapes, in float32 at least: in half precision the norm may be 0 or
        infinite.

    Raises:
        TypeError: If weights or gradients are no tensors, such as a gradient that is None.
        ValueError: If an option is out of range, there are no weights, or not as many gradients and flags, of their
            shapes.

    Example:
        >>> import torch
        >>> [e] = worst_case_perturbation([torch.ones(2)], [torch.tensor([3.0, 4.0])], rho=1.0)
        >>> e
        tensor([0.6000, 0.8000])
    """
    check_perturbation(rho, perturbation, p, eta)
    params, grads = list(params), list(grads)
    _check_alike(params, grads, adaptive)
    raised = list(map(at_least_float32, params)), list(map(at_least_float32, grads))
    return BALLS[perturbation](rho, p, eta).perturbation(*raised, adaptive)


def _check_alike(params: Sequence[Tensor], grads: Sequence[Tensor], adaptive: Sequence[bool] | None) -> None:
    """Refuse what are not weights and as many gradients of their shapes."""
    with Findings() as findings:
        for name, tensors in (("params", params), ("grads", grads)):
            for place, tensor in enumerate(tensors):
                findings.of(check_tensor, f"{name}[{place}]", tensor)
        lengths = {"params": len(params), "grads": len(grads)} | (
            {} if adaptive is None else {"adaptive": len(adaptive)}
        )
        findings.refuse_if(
            not params or len(set(lengths.values())) > 1,
            f"There must be as many weights as gradients (and flags `adaptive`), one at least, got {lengths}.",
        )
    for place, (weight, grad) in enumerate(zip(params, grads, strict=True)):
        if weight.shape != grad.shape:
            raise ValueError(
                f"Gradients must have the shapes of their weights, got {tuple(grad.shape)} for {tuple(weight.shape)} "
                f"at position {place}."
            )
