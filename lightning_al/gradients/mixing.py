"""Whether a model takes anything of all the samples of its batch together: found out by the operations of its forward.

A largest value, a longest length, an ``if`` on any of the batch: the first batch may be one that they do nothing to, so
that comparing its scores with the plain loop shows nothing. The operations are the same for every batch. They are
noted in two passes of different numbers of samples: a dimension that differs between the two is the samples', and an
operation after which it is gone has put them together.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor, overrides
from torch.overrides import TorchFunctionMode, _get_current_function_mode
from torch.utils import _python_dispatch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

from lightning_al.gradients.errors import NoRule

_VALUES_UNUSED = ("new_empty", "new_empty_strided", "new_full", "new_ones", "new_zeros", "is_same_size", "sym_size")
_IN_ORDER = (
    *("sort", "topk", "kthvalue", "cumsum", "cumprod", "cummax", "cummin", "_cummax_helper", "_cummin_helper"),
    *("logcumsumexp", "roll", "flip", "_softmax", "_log_softmax"),
)
"""These make every sample's result one of the others' as well, along the dimension that they are done in."""
_BY_VALUES = (
    *("nonzero", "masked_select", "unique_dim", "_unique", "_unique2", "unique_consecutive", "bincount", "histc"),
    *("equal", "is_nonzero", "_local_scalar_dense", "_pack_padded_sequence", "_pad_packed_sequence"),
)
_OUT_OF_TORCH = ("numpy", "tolist", "__array__")

Shape = tuple[int, ...]
P = ParamSpec("P")
R = TypeVar("R")


class Operation(NamedTuple):
    """An operation of a forward pass.

    Attributes:
        name: Its name.
        inputs: The shapes of the tensors that it took.
        outputs: Those of the tensors that it gave.
        dims: The dimensions that it is done in, of its first input, where it says so.
        keeps_apart: Whether a rule does it, on what all samples share or each has its own copy of; its shapes are not
            noted.
    """

    name: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    dims: tuple[int, ...] = ()
    keeps_apart: bool = False


class Operations(TorchDispatchMode):
    """Notes the operations that are done inside, and whether tensors leave torch.

    Attributes:
        done: The operations, in order.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled while operations are noted, so that none needs to be kept from it, which takes longer."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Operation] = []
        self._leaving = _Leaving(self.done)

    def __enter__(self) -> "Operations":
        self._leaving.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._leaving.__exit__(*error)

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Inside, nothing is noted; where a mode of the model's own is on top of this one, all is."""
        return _Paused(self, self._leaving)

    def note_kept_apart(self, name: str) -> None:
        """Note that a rule does an operation."""
        self.done.append(Operation(name, (), (), keeps_apart=True))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func.__name__.partition(".")[0]
        if name == "detach":  # of what is saved for a backward pass: more of them where somebody looks at it
            return result
        with torch._C.DisableTorchFunction():  # or each look at a shape would go through `_Leaving`
            dims = _dims(func, args, kwargs) if name in _IN_ORDER else ()
            self.done.append(Operation(name, _shapes(*args, *kwargs.values()), _shapes(result), dims))
        return result


class _Paused(contextlib.AbstractContextManager[None]):
    """Takes modes off their stacks, if they are on top, and puts them back: a hundred times in a pass, hence so."""

    def __init__(self, operations: Operations, leaving: "_Leaving") -> None:
        self._operations, self._leaving = operations, leaving
        self._off = self._leaving_off = False

    def __enter__(self) -> None:
        if _get_current_dispatch_mode() is self._operations:
            _python_dispatch._pop_mode()
            self._off = True
        if _get_current_function_mode() is self._leaving:  # in its own `__torch_function__` it is none
            overrides._pop_mode()
            self._leaving_off = True

    def __exit__(self, *error: object) -> None:
        if self._leaving_off:
            overrides._push_mode(self._leaving)
        if self._off:
            _python_dispatch._push_mode(self._operations)


class _Leaving(TorchFunctionMode):
    """Notes where the values of tensors go to where no operation is seen."""

    def __init__(self, done: list[Operation]) -> None:
        super().__init__()
        self.done = done

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _OUT_OF_TORCH:
            self.done.append(Operation(name, _shapes(*args), (), ()))
        return func(*args, **(kwargs or {}))


def noted_as_one(function: Callable[P, R]) -> Callable[P, R]:
    """Function decorator: its operations are noted as one, of its name, and of the shapes that it takes and gives."""

    @functools.wraps(function)
    def noted(*args: P.args, **kwargs: P.kwargs) -> R:
        mode = _get_current_dispatch_mode()
        if not isinstance(mode, Operations):
            return function(*args, **kwargs)
        with mode.paused():
            result = function(*args, **kwargs)
            mode.done.append(Operation(function.__name__, _shapes(*args, *kwargs.values()), _shapes(result)))
        return result

    return noted


def operations_of(run: Callable[[], Any]) -> list[Operation]:
    """Return the operations that ``run()`` does, in order."""
    with Operations() as operations:
        run()
    return operations.done


def puts_together(few: Sequence[Operation], many: Sequence[Operation]) -> str:
    """Return the name of an operation that takes all samples together, or "".

    Args:
        few: The operations of a pass of some samples.
        many: The same of another number of samples.

    Raises:
        NoRule: If samples are put in order, or each gets something of those before it.

    Example:
        >>> import torch
        >>> passes = [operations_of(lambda n=n: torch.ones(n, 4).sum(1)) for n in (2, 3)]
        >>> puts_together(*passes)
        ''
        >>> passes = [operations_of(lambda n=n: torch.ones(n, 4).sum(1).max()) for n in (2, 3)]
        >>> puts_together(*passes)
        'max'
    """
    found = "" if len(few) == len(many) else "operations that depend on the number of samples"
    for a, b in zip(few, many, strict=False):
        if (a.keeps_apart or b.keeps_apart) and a.name.strip("_") == b.name.strip("_"):
            continue
        if a.name != b.name or len(a.inputs) != len(b.inputs):
            return found or f"{a.name} or {b.name}, by the samples"
        grow = [_growing(x, y) for x, y in zip(a.inputs, b.inputs, strict=True)]
        if not any(grow) or a.name in _VALUES_UNUSED:
            continue
        if a.name in _IN_ORDER and set(grow[0]) & set(a.dims):
            raise NoRule(f"the model does `{a.name}` over all samples of a batch")
        if not found and (a.name in _BY_VALUES or a.name in _OUT_OF_TORCH or _is_lost(grow, a.outputs, b.outputs)):
            found = a.name
    return found


def _is_lost(inputs: Iterable[Sequence[int]], few: Sequence[Shape], many: Sequence[Shape]) -> bool:
    """Whether the samples' dimension is not in what an operation gives, or is in it twice."""
    most = max(map(len, inputs))
    outputs = [len(_growing(x, y)) for x, y in zip(few, many, strict=False)]
    return bool(outputs) and (max(outputs) < most or max(outputs) > 1)


def _growing(few: Shape, many: Shape) -> list[int]:
    """Return the dimensions that differ."""
    if len(few) != len(many):
        return [-1]
    return [dim for dim, (m, n) in enumerate(zip(few, many, strict=True)) if m != n]


def _shapes(*parts: Any) -> tuple[Shape, ...]:
    """Return the shapes of the tensors in what an operation takes or gives: in tuples, lists and dicts."""
    shapes: list[Shape] = []
    for part in parts:
        if isinstance(part, Tensor):
            shapes.append(part.shape)
        elif isinstance(part, (tuple, list)):
            shapes += _shapes(*part)
        elif isinstance(part, dict):
            shapes += _shapes(*part.values())
    return tuple(shapes)


def _dims(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[int, ...]:
    first = next(leaf for leaf in pytree.tree_leaves(args) if isinstance(leaf, Tensor))
    for i, argument in enumerate(func._schema.arguments):
        if argument.name in ("dim", "dims"):
            value = args[i] if i < len(args) else kwargs.get(argument.name, argument.default_value)
            some = [value] if isinstance(value, int) else list(value or range(first.ndim))
            return tuple(dim % max(first.ndim, 1) for dim in some)
    return tuple(range(first.ndim))
