"""Which positions of padded sequences are padding, by what the modules of a model are called with."""

import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.inference.compiled import seen_from_outside

_TRANSFORMERS = (
    nn.TransformerEncoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoder,
    nn.TransformerDecoderLayer,
)
_OF_OTHERS = ("attn_mask", "src_mask", "tgt_mask", "memory", "causal")  # of pairs of positions, or of other sequences
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class Padding:
    """What the calls of one forward pass say about padding, the last call first.

    - A mask (B, T): zeros and ones, each row of which changes once, from tokens to padding or from padding to tokens.
      It says "padding" with ones if its name has "pad" in it (torch's ``src_key_padding_mask``), or if a row has no
      ones at all, since a batch is as long as its longest sample; else it says "token" with ones (``attention_mask``).
      Names are those of parameters of ``forward``, or keys of a dict that it is called with. What an ``nn.Embedding``
      looks up is no mask.
    - Lengths (B,): integers whose name has "len" in it.
    - What an ``nn.Embedding(padding_idx=...)`` looks up.

    Example:
        >>> class Net(nn.Module):
        ...     def forward(self, x, mask):
        ...         return x
        >>> net, padding = Net(), Padding()
        >>> with padding.watching(net):
        ...     _ = net(torch.zeros(2, 3, 8), torch.tensor([[1, 1, 1], [1, 0, 0]]))
        >>> padding.of(2, 3)
        tensor([[False, False, False],
                [False,  True,  True]])
    """

    def __init__(self) -> None:
        self._masks: list[tuple[Tensor, Tensor]] = []
        self._lengths: list[Tensor] = []
        self._embedded: list[tuple[Tensor, int | None]] = []
        self._known: dict[int, Tensor] = {}  # kept, so that no other tensor gets their ids

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Inside, take note of what the modules of a model are called with."""
        with ExitStack() as stack:
            for module in seen_from_outside(model):
                if isinstance(module, (nn.Embedding, nn.MultiheadAttention, *_TRANSFORMERS)) or not _is_torchs(module):
                    stack.callback(module.register_forward_pre_hook(self._see, with_kwargs=True).remove)
            yield

    def of(self, samples: int, positions: int) -> Tensor | None:
        """Return what is padding of sequences of this many positions, (B, T) bool; None if that is not known."""
        shape = (samples, positions)
        for given, mask in reversed(self._masks):
            if mask.shape == shape and not any(given is looked_up for looked_up, _ in self._embedded):
                return mask
        for lengths in reversed(self._lengths):
            if len(lengths) == samples and int(lengths.max()) <= positions:
                return torch.arange(positions, device=lengths.device) >= lengths.unsqueeze(1)
        for looked_up, index in self._embedded:
            if index is not None and looked_up.shape == shape:
                return looked_up == index
        return None

    def _see(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if isinstance(module, nn.Embedding):
            given = args[0] if args else kwargs["input"]
            self._embedded.append((given, module.padding_idx))
            return
        arguments = _arguments(module, args, kwargs)
        if isinstance(module, nn.MultiheadAttention) and arguments.get("query") is not arguments.get("key"):
            return
        for name, value in _named(arguments):
            if not _is_torchs(module) or "padding" in name:
                self._note(name.lower(), value)

    def _note(self, name: str, value: Tensor) -> None:
        if id(value) in self._known or any(word in name for word in _OF_OTHERS):
            return
        self._known[id(value)] = value
        integers = value.dtype in _INTEGERS
        if value.ndim == 1 and integers and "len" in name and len(value):
            self._lengths.append(value)
        elif value.ndim == 2 and value.numel() and (integers or value.dtype == torch.bool or _says_mask(name)):
            padding = _padding_in(value, says_padding="pad" in name)
            if padding is not None:
                self._masks.append((value, padding))


def _says_mask(name: str) -> bool:
    return any(word in name for word in ("mask", "pad", "valid", "keep"))


def _padding_in(mask: Tensor, *, says_padding: bool) -> Tensor | None:
    """Return what a mask says is padding, (B, T); None if it is no mask."""
    if mask.is_floating_point() and bool(mask.isneginf().any()):
        ones = mask == -torch.inf
        binary, says_padding = ones | (mask == 0), True  # is added to scores
    else:
        ones = mask == 1
        binary = ones | (mask == 0)
    changes = (ones[:, 1:] != ones[:, :-1]).sum(1)
    if not bool(binary.all() & (changes <= 1).all()):
        return None
    return ones if says_padding or bool((~ones).all(1).any()) else ~ones


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _arguments(module: nn.Module, args: Any, kwargs: Any) -> dict[str, Any]:
    forward = getattr(module, "_orig_mod", module).forward
    try:
        return dict(_signature(getattr(forward, "__func__", forward)).bind(module, *args, **kwargs).arguments)
    except (TypeError, ValueError):  # not written as a method
        return {**{f"argument {i}": value for i, value in enumerate(args)}, **kwargs}


@functools.lru_cache(maxsize=512)
def _signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


def _named(arguments: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors among arguments, and in dicts, lists and tuples among them, by name."""
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            yield str(name), value
        elif isinstance(value, Mapping):
            yield from _named(value)
        elif isinstance(value, (list, tuple)) and not isinstance(value, nn.Module):
            yield from ((str(name), v) for v in value if isinstance(v, Tensor))
