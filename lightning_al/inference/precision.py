"""The precision in which models are looked at: full, which is at least float32, or that of the Trainer."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.checks import check_choice
from lightning_al.inference.replaced import kept, replaced

FULL, OF_TRAINER = "32", "trainer"

_HALF = (torch.float16, torch.bfloat16)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return half-precision tensors as float32, and everything else as it is."""
    return tensor.float() if tensor.dtype in _HALF else tensor


def all_at_least_float32(tree: Any) -> Any:
    """Return a pytree with its half-precision tensors as float32."""
    return pytree.tree_map_only(Tensor, at_least_float32, tree)


def is_half(weights: Iterable[Tensor]) -> bool:
    """Whether some of these are in half precision."""
    return any(weight.dtype in _HALF for weight in weights)


def check_pool_precision(value: Any) -> None:
    """Refuse what is no ``pool_precision``; the number 32, as YAML reads it, is one.

    Raises:
        ValueError: With those that there are.
    """
    is_number = isinstance(value, int) and not isinstance(value, bool)
    check_choice("pool_precision", str(value) if is_number else value, (FULL, OF_TRAINER))


# -- a model's forward passes in lower precision, and nothing else -------------------------------------------------


class Lowered(NamedTuple):
    """A model whose forward passes are made in lower precision than all else.

    Attributes:
        model: The model.
        context: Gives what they are made in, such as autocast, each time anew.
    """

    model: nn.Module
    context: Callable[[], contextlib.AbstractContextManager[Any]]


_LOWERED: ContextVar[Lowered | None] = ContextVar("lowered", default=None)


def lowered_of(model: nn.Module) -> Lowered | None:
    """Return in what the forward passes of ``model`` are made now; None: in full precision."""
    lowered = _LOWERED.get()
    return lowered if lowered is not None and lowered.model is model else None


@contextlib.contextmanager
def full_precision(*kinds: str) -> Iterator[None]:
    """Switch autocast off, on these kinds of devices and the CPU, and :func:`lower_forwards` with it.

    So is TF32 in convolutions and recurrent layers on CUDA, which torch switches on; matrix products stay as they are,
    in float32 unless the user said otherwise.
    """
    token = _LOWERED.set(None)
    try:
        with contextlib.ExitStack() as stack:
            if "cuda" in kinds:
                stack.enter_context(_no_tf32_in_cudnn())
            for kind in {"cpu", *kinds}:
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        _LOWERED.reset(token)


@contextlib.contextmanager
def _no_tf32_in_cudnn() -> Iterator[None]:
    """Have cuDNN compute in float32, and give its switches back as they were."""
    cudnn: Any = torch.backends.cudnn
    with kept(cudnn.conv, "fp32_precision"), kept(cudnn.rnn, "fp32_precision"), contextlib.ExitStack() as stack:
        # Models that use `torch.backends.cudnn.flags` read the old switch, which may not disagree with the new ones.
        # Where it does as it comes, it cannot be read outside either.
        with contextlib.suppress(RuntimeError):
            stack.enter_context(kept(cudnn, "allow_tf32"))
            cudnn.allow_tf32 = False
        cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "ieee"
        yield


@contextlib.contextmanager
def lowered_again(lowered: Lowered) -> Iterator[None]:
    """Go back to lower precision inside of :func:`full_precision`."""
    token = _LOWERED.set(lowered)
    try:
        with lowered.context():
            yield
    finally:
        _LOWERED.reset(token)


@contextlib.contextmanager
def lower_forwards(lowered: Lowered) -> Iterator[None]:
    """Make a model's forward passes in its context, and give their outputs in float32 at least.

    Those of :func:`~lightning_al.inference.outputs.plain_outputs`, and those of whoever calls the model. What else is
    computed, and all that takes gradients of the model, is not touched.
    """
    forward: Callable[..., Any] = lowered.model.forward

    def in_context(*args: Any, **kwargs: Any) -> Any:
        if lowered_of(lowered.model) is None:
            return forward(*args, **kwargs)
        with lowered.context():
            return all_at_least_float32(forward(*args, **kwargs))

    token = _LOWERED.set(lowered)
    try:
        with replaced(lowered.model, "forward", in_context):
            yield
    finally:
        _LOWERED.reset(token)
