"""Sharpness-aware minimization: the ascent to θ + ε, the exact way back, and one SAM step for a plain training loop."""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_al.checks import check_choice
from lightning_al.gradients.balls import BALLS
from lightning_al.gradients.norms import total_norm
from lightning_al.inference.precision import at_least_float32
from lightning_al.training.sam.options import VARIANTS, SAMOptions
from lightning_al.training.sam.tensors import Gradients, in_float32, overwrite
from lightning_al.training.sam.variants import SAM, STEPS, selected
from lightning_al.words import shown


def check_steps_alone(optimizer: Optimizer) -> None:
    """Refuse an optimizer that evaluates the loss itself, several times a step, and so needs a closure.

    Raises:
        TypeError: Naming it.
    """
    kind: Any = type(optimizer)
    if _needs_closure(kind):
        raise TypeError(
            f"{type(optimizer).__name__} needs a closure, to evaluate the loss several times a step, and here the "
            "gradient of SAM is formed once before it. Train with `AutoSAMMixin`, where each evaluation is one of SAM, "
            "or with another optimizer."
        )


@functools.lru_cache(maxsize=64)
def _needs_closure(kind: Any) -> bool:
    closure = inspect.signature(kind.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


@contextmanager
def ascended(
    params: Iterable[Tensor],
    *,
    rho: float = 0.05,
    perturbation: str = "sam",
    p: float = 2.0,
    eta: float = 0.0,
    adaptive: Sequence[bool] | None = None,
    mask: Callable[[Sequence[Tensor]], None] | None = None,
) -> Iterator[bool]:
    r"""Hold the weights at :math:`\theta + \epsilon` inside the block, and at exactly :math:`\theta` after it.

    :math:`\epsilon` comes from the ``.grad`` that the parameters have on entry, with one norm over all of them
    (:func:`~lightning_al.functional.worst_case_perturbation`). Parameters whose ``.grad`` is ``None`` are left out.
    The way back copies the saved bits and never subtracts, also when the block raises: one copy of the weights, which
    is all the memory this takes with ``"sam"`` and ``p = 2``. A gradient whose norm is not finite (an overflow that an
    fp16 scaler is about to skip) moves nothing.

    Args:
        params: The weights, any shapes, changed in place.
        rho: Radius.
        perturbation: ``"sam"`` or ``"asam"``.
        p: Norm of the ball for ``"sam"``, > 1.
        eta: Added to ``|θ|`` for ``"asam"``.
        adaptive: For ``"asam"``, which of ``params`` are scaled by ``T = |θ| + η``. Default: all.
        mask: Changes the perturbation in place before the weights are moved.

    Yields:
        Whether the weights were moved.

    Example:
        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> w.grad = torch.tensor([3.0, 4.0])
        >>> with ascended([w], rho=1.0):
        ...     print(w.detach())
        tensor([1.6000, 2.8000])
        >>> w.detach()
        tensor([1., 2.])
    """
    every = list(params)
    scaled = [True] * len(every) if adaptive is None else list(adaptive)
    moved = [(w, a) for w, a in zip(every, scaled, strict=True) if w.grad is not None and w.numel()]
    if not moved:
        yield False
        return
    weights, scaled = [w for w, _ in moved], [a for _, a in moved]
    # In half precision the squares overflow, so the arithmetic is float32 or better.
    dtype = functools.reduce(torch.promote_types, [w.dtype for w in weights], torch.float32)
    ball = BALLS[perturbation](rho, p, eta)
    backup: list[Tensor] = []
    try:
        with torch.no_grad():
            gradients = [_dense(w.grad).to(dtype) for w in weights if w.grad is not None]
            backup = [w.clone() for w in weights]
            if mask is None:
                has_moved = ball.climb(weights, gradients, scaled)
            else:
                has_moved = math.isfinite(total_norm(gradients))
                if has_moved:
                    epsilons = ball.perturbation([w.detach().to(dtype) for w in weights], gradients, scaled)
                    mask(epsilons)
                    torch._foreach_add_(weights, epsilons)
                    del epsilons
            del gradients
        yield has_moved
    finally:
        if backup:
            overwrite(weights, backup)


@contextmanager
def second_gradient(rule: SAM, adaptive: Sequence[bool] | None = None) -> Iterator[None]:
    """Hold the weights at θ + ε for the second pass; after it their ``.grad`` is what the variant steps along.

    Args:
        rule: Of this step.
        adaptive: As in :func:`ascended`.
    """
    first = _copies(rule.weights) if rule.keeps_first else None
    options = rule.options
    with ascended(
        rule.weights,
        rho=rule.rho,
        perturbation=options.perturbation,
        p=options.p,
        eta=options.eta,
        adaptive=adaptive,
        mask=rule.mask if rule.masks else None,
    ):
        yield
    if first is not None:
        with torch.no_grad(), in_float32(_reached(rule.weights, first)) as second:
            rule.turn({i: first[i] if i in first else torch.zeros_like(g) for i, g in second.items()}, second)


def sam_step(
    params: Iterable[Tensor],
    optimizer: Optimizer,
    closure: Callable[..., Any],
    *,
    variant: str = "sam",
    rho: float = 0.05,
    perturbation: str = "sam",
    p: float = 2.0,
    eta: float = 0.0,
    **options: Any,
) -> Any:
    r"""One sharpness-aware step of a plain PyTorch loop; no Lightning needed.

    Computes :math:`g = \nabla L(\theta)`, goes to :math:`\theta + \epsilon(g)`, takes the gradient there, comes back to
    exactly :math:`\theta` and lets ``optimizer`` step with that second gradient (Foret 2020, Algorithm 1; ``"asam"``:
    Kwon 2021, Algorithm 1). Both passes update BatchNorm running statistics; the mixins spare the second.

    Args:
        params: The weights to perturb, any shapes; usually ``model.parameters()``. Those without gradient are left out.
        optimizer: The base optimizer, e.g. SGD with momentum. What a variant keeps from step to step is in its state,
            and so in its ``state_dict()``.
        closure: Zeroes the gradients, runs forward and backward, returns the loss. It is called twice, and must leave
            its batch as it is: ``x = x - mean``, not ``x.sub_(mean)``. With ``variant="esam"`` it is
            ``closure(rows)`` and returns the losses (n,) of the samples at ``rows``, a LongTensor (n,), or of all for
            ``None``, with their graph: gradients are zeroed, and the mean is backpropagated, here.
        variant: ``"sam"``; ``"esam"`` (Du 2021), on a part of the weights and samples; ``"gsam"`` (Zhuang 2022), which
            closes the gap between both losses; ``"looksam"`` (Liu 2022), with a second gradient in every k-th step
            only. :class:`SAMMixin` says what each does; it also has ``"saf"`` and ``"mesa"``, which need the samples.
        rho: Radius of the ball, > 0.
        perturbation: ``"sam"`` or ``"asam"``.
        p: Norm of the ball for ``"sam"``, > 1; ``inf`` gives ``rho * sign(g)``.
        eta: Added to ``|θ|`` for ``"asam"``.
        **options: Those of the variant, as in :class:`SAMMixin`: ``beta`` and ``gamma``; ``alpha``, ``rho_min``,
            ``lr_min`` and ``lr_max``; ``alpha`` and ``every``.

    Returns:
        What the first call of ``closure`` returned: the loss at :math:`\theta`; for ``"esam"`` the mean of the losses.

    Raises:
        TypeError: If ``params`` are not tensors, or the optimizer cannot step without a closure.
        ValueError: If an option is out of range or of another variant, or ``params`` is empty.

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
        >>> x = torch.tensor([1.0, -3.0])
        >>> losses = lambda rows: (w * (x if rows is None else x[rows])).square()
        >>> _ = sam_step([w], sgd, losses, variant="esam", beta=1.0, gamma=0.5, rho=0.1)  # the second sample, at w = 1
        >>> w.data  # 0.9 - 0.5 * 18
        tensor([-8.1000])
    """
    check_choice("variant", variant, VARIANTS)
    if variant not in STEPS:
        raise ValueError(
            f'`variant="{variant}"` adds to the loss what each sample\'s outputs were before, and a step does not know '
            f'the samples. Train with `SAMMixin(variant="{variant}")`, or choose one of {", ".join(map(repr, STEPS))}.'
        )
    chosen = _checked(variant=variant, rho=rho, perturbation=perturbation, p=p, eta=eta, **_of_steps(options))
    weights = list(params)
    if not weights:
        raise ValueError("`params` is empty. An iterator is used up once: pass `model.parameters()` at each step.")
    for w in weights:
        if not isinstance(w, Tensor):
            raise TypeError(f"`params` must hold tensors, got {type(w).__name__}. Pass `model.parameters()`.")
    check_steps_alone(optimizer)
    rule = STEPS[variant](chosen, optimizer, weights, torch.initial_seed())
    with torch.enable_grad():
        loss = _selecting(rule, closure) if rule.selects else _whole(rule, closure)
    optimizer.step()
    rule.stepped()
    return loss


_known = functools.lru_cache(maxsize=64, typed=True)(SAMOptions)


def _checked(**options: Any) -> SAMOptions:
    """The options, which are the same in every step and are checked in the first."""
    try:
        return _known(**options)
    except TypeError:  # what cannot be looked up is told what is wrong with it
        return SAMOptions(**options)


_OF_STEPS = ("alpha", "beta", "gamma", "every", "rho_min", "lr_min", "lr_max")


def _of_steps(options: dict[str, Any]) -> dict[str, Any]:
    """The options, if a step has such.

    Raises:
        TypeError: Naming those that it has not.
    """
    if unknown := [name for name in options if name not in _OF_STEPS]:
        raise TypeError(
            f"`sam_step` has no option {', '.join(map(repr, unknown))}. Of its variants are {', '.join(_OF_STEPS)}."
        )
    return options


def _whole(rule: SAM, closure: Callable[[], Any]) -> Any:
    """Both gradients of a step, of the whole batch."""
    loss = closure()
    if rule.looks():
        with second_gradient(rule):
            closure()
    else:
        rule.reuse()
    return loss


def _selecting(rule: SAM, closure: Callable[[Tensor | None], Tensor]) -> Tensor:
    """Both gradients of a step, the second of the samples whose loss rises most."""

    def backward(rows: Tensor | None) -> Tensor:
        losses = closure(rows)
        if not isinstance(losses, Tensor) or losses.ndim != 1 or not len(losses):
            raise ValueError(
                f'With `variant="esam"` the closure must return the losses (n,) of the samples, got {shown(losses)}.'
            )
        rule.optimizer.zero_grad()
        losses.mean().backward()
        return losses.detach()

    losses = backward(None)
    with second_gradient(rule):
        with torch.no_grad():
            rise = closure(None) - losses
        backward(selected(rise, rule.options.gamma))
    return losses.mean()


def _dense(gradient: Tensor) -> Tensor:
    """A gradient as it is, or, of a sparse embedding, which has no norm of its own, as a dense tensor."""
    detached = gradient.detach()
    return detached.to_dense() if detached.is_sparse else detached


def _copies(weights: Sequence[Tensor]) -> Gradients:
    """Copies of the gradients that there are, in float32 at least, by position; the next pass overwrites them."""
    copies = {i: at_least_float32(w.grad.detach().clone()) for i, w in enumerate(weights) if w.grad is not None}
    if any(g.is_sparse for g in copies.values()):
        raise TypeError(
            "GSAM and LookSAM mix two gradients, which must be dense, and an embedding has sparse ones. Leave out "
            '`sparse=True`, or use `variant="sam"`.'
        )
    return copies


def _reached(weights: Sequence[Tensor], first: Gradients) -> Gradients:
    """The gradient of each weight that either pass reached; 0 where the second did not."""
    second: Gradients = {}
    for i, w in enumerate(weights):
        if i not in first and w.grad is None:
            continue
        if w.grad is None:
            w.grad = torch.zeros_like(w)
        second[i] = w.grad.detach()
    return second
