"""Parameters that a module with layers inside uses itself: class tokens, position embeddings, layer scales.

There is no single layer call to take a gradient from, so each unit gets a copy of the parameter of its own. The copy
looks like the parameter, and the few operations that such parameters take part in are done on all copies at once.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lightning_al.gradients.differentiators import fallbacks_unsaid
from lightning_al.gradients.errors import NoRule, UsedElsewhere
from lightning_al.gradients.shape_only import ShapeOnly, function_name


class Functions(Protocol):
    """Takes the calls of functions whose arguments stand in for parameters."""

    def linear(self, x: Tensor, weight: "OwnedParameter", bias: "Tensor | None") -> Tensor:
        """Do ``F.linear`` with a layer's weights, outside of that layer's call."""

    def of_parameters(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Do a function of :class:`LooseParameter`."""

    def beside_rows(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Do a function of :class:`LooseParameter` and other tensors."""


class _StandIn(ShapeOnly):
    """In the place of a parameter."""

    functions: Functions

    @classmethod
    def operate(cls, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do ``func`` on arguments of which one at least is a stand-in."""
        return _operate(function_name(func), func, args, kwargs)


class OwnedParameter(_StandIn):
    """A parameter that the rule of its layer takes care of, or that only linear maps use.

    Whatever else used it would be missed, so nothing may: see :class:`UsedElsewhere`. Each run sets its
    own functions, and none are left.
    """

    called: str

    @staticmethod
    def __new__(cls, parameter: Tensor, name: str) -> "OwnedParameter":  # noqa: D102
        made: OwnedParameter = cls.like(parameter)
        made.called, made.functions = name, None  # type: ignore[assignment]
        return made


class LooseParameter(_StandIn):
    """A tensor of which each unit has its own copy, (U, *shape), and which shows itself as one of ``shape``."""

    copies: Tensor

    @staticmethod
    def __new__(cls, copies: Tensor, functions: Functions) -> "LooseParameter":  # noqa: D102
        made: LooseParameter = cls.like(copies, copies=True)
        made.copies, made.functions = copies, functions
        return made


def _operate(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do ``func`` on arguments of which one at least is a stand-in."""
    tensors = [a for a in pytree.tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
    owned = [a for a in tensors if isinstance(a, OwnedParameter)]
    if owned:
        if func is F.linear and len(args) > 1 and kwargs.keys() <= {"bias"}:
            (x, weight), bias = args[:2], (*args[2:], kwargs.get("bias"))[0]
            if isinstance(weight, OwnedParameter) and not isinstance(x, OwnedParameter):
                return weight.functions.linear(x, weight, bias)
        raise UsedElsewhere(name, frozenset(a.called for a in owned))
    loose = next(a for a in tensors if isinstance(a, LooseParameter))
    if any(a.ndim and not _is_loose(a) for a in tensors) and name not in ("__getitem__", "index_select"):
        return loose.functions.beside_rows(name, func, args, kwargs)
    return loose.functions.of_parameters(name, func, args, kwargs)


def known_operation(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do ``func`` on parameters and, with rows in their first dimension, other tensors.

    Raises:
        NoRule: If it is not among what is known of here.
    """
    tensors = [a for a in pytree.tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
    beside = [a for a in tensors if not _is_loose(a)]
    rule = _OPERATIONS.get(name.strip("_"))
    if rule is not None and (beside or rule is _to_rows):
        return rule(func, *args, **kwargs)
    if any(b.ndim for b in beside) and name not in ("__getitem__", "index_select"):
        raise NoRule(f"`{name}` of a parameter that its module uses directly")
    return _on_copies(func, *args, **kwargs)


def _is_loose(value: Any) -> bool:
    return isinstance(value, LooseParameter)


def _on_copies(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do to each unit's copy what takes no batch."""
    leaves, spec = pytree.tree_flatten((args, kwargs))

    def one(*mine: Tensor) -> Any:
        own = iter(mine)
        own_args, own_kwargs = pytree.tree_unflatten([next(own) if _is_loose(a) else a for a in leaves], spec)
        return func(*own_args, **own_kwargs)

    loose = [a for a in leaves if isinstance(a, LooseParameter)]
    with fallbacks_unsaid():
        outputs = torch.vmap(one)(*[a.copies for a in loose])
    return pytree.tree_map_only(Tensor, lambda t: LooseParameter(t, loose[0].functions), outputs)


def _elementwise(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Of parameters and one tensor whose first dimension is the batch."""
    plain = [a for a in args if isinstance(a, Tensor) and not _is_loose(a) and a.ndim]
    if any(isinstance(v, Tensor) for v in kwargs.values()) or len(plain) > 1:
        raise NoRule(f"`{function_name(func)}` of more than a batch and parameters that a module uses directly")
    if not plain:
        return _on_copies(func, *args, **kwargs)
    return func(*[aligned(a, plain[0]) if _is_loose(a) else a for a in args], **kwargs)


def aligned(loose: LooseParameter, x: Tensor) -> Tensor:
    """Return the copies shaped to broadcast with ``x`` (rows, ...), each row with its unit's."""
    copies, units = loose.copies, len(loose.copies)
    if loose.ndim > x.ndim or (loose.ndim == x.ndim and loose.shape[0] != 1) or len(x) % units:
        raise NoRule(f"a parameter of shape {tuple(loose.shape)} beside a tensor of shape {tuple(x.shape)}")
    if loose.ndim == x.ndim:
        copies = copies.squeeze(1)
    shape = [units] + [1] * (x.ndim - copies.ndim) + list(copies.shape[1:])
    return copies.reshape(shape).repeat_interleave(len(x) // units, 0)


def _to_rows(func: Callable[..., Any], loose: LooseParameter, *sizes: Any) -> Tensor:
    """``expand`` and ``repeat`` over the batch: of a leading dimension of 1, or a new one."""
    shape = list(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else list(sizes)
    if isinstance(sizes[0], Tensor):
        shape = list(sizes[0].shape)
    copies, units = loose.copies, len(loose.copies)
    if len(shape) == loose.ndim and loose.shape[0] == 1:
        copies = copies.squeeze(1)
    elif len(shape) != loose.ndim + 1:
        raise NoRule(f"{tuple(loose.shape)} expanded to {tuple(shape)}")
    if shape[0] < 1 or shape[0] % units:
        raise NoRule(f"{tuple(loose.shape)} expanded to {shape[0]} rows for {units} units")
    repeats = function_name(func) in ("repeat", "tile")
    rest = copies.repeat(1, *shape[1:]) if repeats else copies.expand(units, *shape[1:])
    return rest.repeat_interleave(shape[0] // units, 0)


def _matmul(func: Callable[..., Any], x: Tensor, loose: Tensor) -> Tensor:
    if _is_loose(x) or not isinstance(loose, LooseParameter) or loose.ndim != 2 or x.ndim < 2:
        raise NoRule("matrix product with a parameter that its module uses directly")
    units = len(loose.copies)
    if len(x) % units:
        raise NoRule(f"{len(x)} rows for {units} units")
    flat = x.reshape(units, -1, x.shape[-1])
    return torch.bmm(flat, loose.copies).view(*x.shape[:-1], -1)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("add", "radd", "iadd", "sub", "rsub", "isub", "subtract"), _elementwise),
    **dict.fromkeys(("mul", "rmul", "imul", "multiply"), _elementwise),
    **dict.fromkeys(("div", "truediv", "rtruediv", "itruediv", "rdiv", "divide", "pow"), _elementwise),
    **dict.fromkeys(("expand", "expand_as", "repeat", "tile", "broadcast_to"), _to_rows),
    **dict.fromkeys(("matmul", "rmatmul", "mm"), _matmul),
}
