"""Tensors in the place of parameters: they tell shape and kind, have no values, and say what becomes of operations."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_al.gradients.errors import NoRule

_ASKS = ("size", "dim", "numel", "__len__", "stride", "is_floating_point", "is_complex", "element_size", "ndimension")
_PROPERTIES = (
    "shape",
    "dtype",
    "device",
    "ndim",
    "requires_grad",
    "is_cuda",
    "layout",
    "is_sparse",
    "is_nested",
    "names",
)


class ShapeOnly(Tensor):
    """In the place of a parameter: tells its shape and kind, and has no values."""

    @classmethod
    def like(cls, one: Tensor, *, copies: bool = False) -> Any:
        """Make one like a tensor, or like each of its rows; without an operation, which would be noted."""
        shape, strides = one.shape[copies:], one.stride()[copies:]
        return torch.Tensor._make_wrapper_subclass(cls, shape, strides=strides, dtype=one.dtype, device=one.device)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{type(self).__name__}{tuple(self.shape)}"

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Answer questions of shape and kind; :meth:`operate` does the rest."""
        name, kwargs = function_name(func), kwargs or {}
        if name in _PROPERTIES or name in _ASKS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        return cls.operate(func, args, kwargs)

    @classmethod
    def operate(cls, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do ``func`` on arguments of which one at least is of this kind."""
        raise NotImplementedError

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Refuse what comes by other ways than Python, such as scripted functions."""
        raise NoRule(f"{func} of a parameter outside of its layer's call")


def function_name(func: Callable[..., Any]) -> str:
    """Return the name of a function or, where it reads one, of a property."""
    name: str = getattr(func, "__name__", str(func))
    return str(getattr(getattr(func, "__self__", None), "__name__", name)) if name == "__get__" else name
