"""Sharpness-aware minimization: the ascent to θ + ε, the exact way back, and one SAM step for a plain training loop."""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_al.functional.scores.perturbation import check_perturbation, worst_case_perturbation
from lightning_al.gradients.norms import global_norm


def check_steps_alone(optimizer: Optimizer) -> None:
    """Refuse an optimizer that evaluates the loss itself, several times a step, and so needs a closure.

    Raises:
        TypeError: Naming it.
    """
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise TypeError(
            f"{type(optimizer).__name__} needs a closure, to evaluate the loss several times a step, and here the "
            "gradient of SAM is formed once before it. Train with `AutoSAMMixin`, where each evaluation is one of SAM, "
            "or with another optimizer."
        )


@contextmanager
def ascended(
    params: Iterable[Tensor],
    *,
    rho: float = 0.05,
    perturbation: str = "sam",
    p: float = 2.0,
    eta: float = 0.0,
    adaptive: Sequence[bool] | None = None,
) -> Iterator[bool]:
    r"""Hold the weights at :math:`\theta + \epsilon` inside the block, and at exactly :math:`\theta` after it.

    :math:`\epsilon` comes from the ``.grad`` that the parameters have on entry, with one norm over all of them
    (:func:`~lightning_al.functional.worst_case_perturbation`). Parameters whose ``.grad`` is ``None`` are left out.
    The way back copies the saved bits and never subtracts, also when the block raises. A gradient whose norm is not
    finite (an overflow that an fp16 scaler is about to skip) moves nothing.

    Args:
        params: The weights, any shapes, changed in place.
        rho: Radius, > 0.
        perturbation: ``"sam"`` or ``"asam"``.
        p: Norm of the ball for ``"sam"``, > 1.
        eta: Added to ``|θ|`` for ``"asam"``.
        adaptive: For ``"asam"``, which of ``params`` are scaled by ``T = |θ| + η``. Default: all.

    Yields:
        Whether the weights were moved.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> w.grad = torch.tensor([3.0, 4.0])
        >>> with ascended([w], rho=1.0):
        ...     print(w.detach())
        tensor([1.6000, 2.8000])
        >>> w.detach()
        tensor([1., 2.])
    """
    check_perturbation(rho, perturbation, p, eta)
    every = list(params)
    scaled = [True] * len(every) if adaptive is None else list(adaptive)
    moved = [(w, a) for w, a in zip(every, scaled, strict=True) if w.grad is not None and w.numel()]
    if not moved:
        yield False
        return
    weights = [w for w, _ in moved]
    # In half precision the squares overflow and θ + ε rounds back to θ, so the arithmetic is float32 or better.
    dtype = functools.reduce(torch.promote_types, [w.dtype for w in weights], torch.float32)
    with torch.no_grad():
        grads = [_dense(w.grad).to(dtype) for w in weights if w.grad is not None]
        if not _is_finite(global_norm(grads)):
            yield False
            return
        values = [w.detach().to(dtype) for w in weights]
        epsilons = worst_case_perturbation(
            values, grads, rho=rho, perturbation=perturbation, p=p, eta=eta, adaptive=[a for _, a in moved]
        )
        targets = [v + e for v, e in zip(values, epsilons, strict=True)]
        backup = [w.detach().clone() for w in weights]
    del grads, values, epsilons
    try:
        _write(weights, targets)
        del targets
        yield True
    finally:
        _write(weights, backup)


def sam_step(
    params: Iterable[Tensor],
    optimizer: Optimizer,
    closure: Callable[[], Any],
    *,
    rho: float = 0.05,
    perturbation: str = "sam",
    p: float = 2.0,
    eta: float = 0.0,
) -> Any:
    r"""One sharpness-aware step of a plain PyTorch loop; no Lightning needed.

    Computes :math:`g = \nabla L(\theta)`, goes to :math:`\theta + \epsilon(g)`, takes the gradient there, comes back to
    exactly :math:`\theta` and lets ``optimizer`` step with that second gradient (Foret 2020, Algorithm 1; ``"asam"``:
    Kwon 2021, Algorithm 1). Both passes update BatchNorm running statistics; the mixins spare the second.

    Args:
        params: The weights to perturb, any shapes; usually ``model.parameters()``. Those without gradient are left out.
        optimizer: The base optimizer, e.g. SGD with momentum.
        closure: Zeroes the gradients, runs forward and backward, returns the loss. It is called twice, and must leave
            its batch as it is: ``x = x - mean``, not ``x.sub_(mean)``.
        rho: Radius of the ball, > 0.
        perturbation: ``"sam"`` or ``"asam"``.
        p: Norm of the ball for ``"sam"``, > 1; ``inf`` gives ``rho * sign(g)``.
        eta: Added to ``|θ|`` for ``"asam"``.

    Returns:
        What the first call of ``closure`` returned: the loss at :math:`\theta`.

    Raises:
        TypeError: If ``params`` are not tensors, or the optimizer cannot step without a closure.
        ValueError: If an option is out of range, or ``params`` is empty.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([2.0]))
        >>> sgd = torch.optim.SGD([w], lr=0.5)
        >>> def closure():
        ...     sgd.zero_grad()
        ...     loss = (w**2).sum() / 2
        ...     loss.backward()
        ...     return loss
        >>> sam_step([w], sgd, closure, rho=0.2).item()  # the gradient at 2.2 is 2.2
        2.0
        >>> w.data
        tensor([0.9000])
    """
    check_perturbation(rho, perturbation, p, eta)
    weights = list(params)
    if not weights:
        raise ValueError("`params` is empty. An iterator is used up once: pass `model.parameters()` at each step.")
    for w in weights:
        if not isinstance(w, Tensor):
            raise TypeError(f"`params` must hold tensors, got {type(w).__name__}. Pass `model.parameters()`.")
    check_steps_alone(optimizer)
    with torch.enable_grad():
        loss = closure()
        with ascended(weights, rho=rho, perturbation=perturbation, p=p, eta=eta):
            closure()
    optimizer.step()
    return loss


def _dense(gradient: Tensor) -> Tensor:
    """A gradient as it is, or, of a sparse embedding, which has no norm of its own, as a dense tensor."""
    detached = gradient.detach()
    return detached.to_dense() if detached.is_sparse else detached


def _is_finite(norm: Tensor) -> bool:
    """Whether ``norm`` is finite, on every rank alike where it is spread over ranks (FSDP2)."""
    whole = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return bool(torch.isfinite(whole))


@torch.no_grad()
def _write(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for w, v in zip(weights, values, strict=True):
        w.copy_(v)
