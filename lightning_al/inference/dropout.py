"""Dropout that is switched on by itself and treats every sample alike.

The model stays in ``eval()``. What reaches torch's dropout functions is caught on its way, whoever calls them, and
gets the masks of the pass, which depend on the seed, the layer, the pass and the shape of one sample.
"""

import inspect
import types
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lightning_al.distributed.randomness import generator

Call = tuple[str, int]
"""A call of dropout: the layer whose forward makes it, by name, and how many it made before."""
BEFORE = " (input)"
"""Ends the name of a linear layer in the call of the dropout put before it."""


class Kind(NamedTuple):
    """Which dropout.

    Attributes:
        channels: Whether whole channels are dropped, dimension 1 of (batch, channels, ...).
        alpha: Whether what is dropped takes the value that keeps a SELU's mean and variance.
        unbatched: The number of dimensions that torch takes for a sample without a batch, if any.
    """

    channels: bool = False
    alpha: bool = False
    unbatched: int | None = None


_PLAIN = Kind()
_KINDS: dict[Any, Kind] = {
    **dict.fromkeys([F.dropout, torch.dropout, torch.dropout_], _PLAIN),
    **dict.fromkeys([F.dropout2d, torch.feature_dropout, torch.feature_dropout_], Kind(channels=True)),
    F.dropout1d: Kind(channels=True, unbatched=2),
    F.dropout3d: Kind(channels=True, unbatched=4),
    **dict.fromkeys([F.alpha_dropout, torch.alpha_dropout, torch.alpha_dropout_], Kind(alpha=True)),
    **dict.fromkeys(
        [F.feature_alpha_dropout, torch.feature_alpha_dropout, torch.feature_alpha_dropout_],
        Kind(channels=True, alpha=True),
    ),
}
_RECURRENT = {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}
_NO_MASKS = "so that it cannot be given the same masks for every sample. Use `nn.Dropout` on tensors with a batch"


class DropoutCalls(TorchFunctionMode):
    """Sees every call of dropout with a probability above 0 in a model's forward; :meth:`drop` says what becomes of it.

    Attributes:
        sizes: Bytes of every result, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self._layers: list[str] = []  # that are running, the innermost last
        self._made: Counter[str] = Counter()

    def drop(self, call: Call, x: Tensor, p: float, kind: Kind) -> Tensor:
        """Return what a call of dropout gives."""
        raise NotImplementedError

    def before_linear(self, call: Call, x: Tensor) -> Tensor:
        """Return what a linear layer is to get in the place of ``x``."""
        return x

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Inside, calls in the forward of ``model`` are seen, and ascribed to its layers."""
        with ExitStack() as stack:
            for name, module in model.named_modules():
                if isinstance(module, torch.jit.ScriptModule):
                    continue
                enter = module.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True)
                stack.callback(enter.remove)
                stack.callback(module.register_forward_hook(self._leave, always_call=True).remove)
            stack.enter_context(self)
            yield

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = self._result(func, args, kwargs or {})
        first = result[0] if isinstance(result, tuple) and result else result
        if isinstance(first, Tensor):
            self.sizes.append(first.numel() * first.element_size())
        return result

    def _result(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        kind = _KINDS.get(func)
        if kind is not None:
            return self._dropout(func, kind, *args, **kwargs)
        if func in _RECURRENT:
            return self._recurrent(func, *args, **kwargs)
        if func is F.multi_head_attention_forward:
            return self._multi_head_attention(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> Any:
        self._layers.append(name)
        if not isinstance(module, nn.Linear):
            return None
        call = self._next_call(name + BEFORE)
        if args:
            return (self.before_linear(call, args[0]), *args[1:]), kwargs
        return args, {**kwargs, "input": self.before_linear(call, kwargs["input"])}

    def _leave(self, *_: Any) -> None:
        self._layers.pop()

    def _next_call(self, layer: str) -> Call:
        self._made[layer] += 1
        return layer, self._made[layer] - 1

    def _drop(self, x: Tensor, p: float, kind: Kind = _PLAIN) -> Tensor:
        return self.drop(self._next_call(self._layers[-1] if self._layers else ""), x, p, kind)

    def _dropout(
        self, func: Any, kind: Kind, input: Tensor, p: float, training: bool = True, inplace: bool = False, **kw: Any
    ) -> Tensor:
        if not 0 < p <= 1:
            return func(input, p, False)  # nothing, or torch's own error
        if input.ndim == kind.unbatched or (kind.channels and input.ndim < 2):
            raise ValueError(
                f"{_named(self._layers)} gets a tensor of shape {tuple(input.shape)}, which it takes for a sample "
                f"without a batch, {_NO_MASKS}."
            )
        dropped = self._drop(input, p, kind)
        if (inplace or func.__name__.endswith("_")) and dropped.shape == input.shape:
            return input.copy_(dropped)
        return dropped

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """``F.scaled_dot_product_attention`` as its documentation writes it."""
        if not dropout_p > 0:
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        if enable_gqa:
            key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = scores.new_ones(scores.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        nothing = (scores == -torch.inf).all(-1, keepdim=True)  # to attend to
        weights = scores.softmax(-1).masked_fill(nothing, 0.0)
        return self._drop(weights, dropout_p) @ value

    def _multi_head_attention(self, *args: Any, **kwargs: Any) -> Any:
        function: Any = F.multi_head_attention_forward
        given = inspect.signature(function).bind(*args, **kwargs).arguments
        if not given["dropout_p"] > 0:
            return function(*args, **kwargs)
        # The same code, with the two functions in it that drop replaced.
        ours = {
            "has_torch_function": lambda _: False,
            "dropout": self._drop,
            "scaled_dot_product_attention": self._attention,
        }
        same = types.FunctionType(function.__code__, {**vars(F), **ours}, argdefs=function.__defaults__)
        return same(**{**given, "training": True})

    def _recurrent(self, func: Any, *args: Any) -> Any:
        """Stacked recurrent layers, which drop between them, one after the other."""
        packed = isinstance(args[3], (list, tuple))
        if packed:
            count, p = args[5:7]
        else:
            x, state, weights, biases, count, p, _, both_ways, batch_first = args
        if not p > 0 or count == 1:
            return func(*args)
        if packed:
            raise ValueError(
                f"{_named(self._layers)} drops between its layers and gets a packed sequence, {_NO_MASKS}: pad the "
                "sequences, or set its `dropout=0`."
            )
        of_weights, of_state = len(weights) // count, 2 if both_ways else 1
        last = []
        for layer in range(count):
            part = slice(layer * of_state, (layer + 1) * of_state)
            begin = tuple(s[part] for s in state) if isinstance(state, tuple) else state[part]
            mine = weights[layer * of_weights : (layer + 1) * of_weights]
            x = x if layer == 0 else self._drop(x, p)
            x, *end = func(x, begin, mine, biases, 1, 0.0, False, both_ways, batch_first)
            last.append(end)
        return (x, *(torch.cat(parts) for parts in zip(*last, strict=True)))


class SeenShapes(DropoutCalls):
    """Notes what the calls of dropout get, and leaves it.

    Attributes:
        dropped: Shape by call, in order.
        linear: The same for all linear layers.
        before: How many results there were before the first call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropped: dict[Call, tuple[int, ...]] = {}
        self.linear: dict[Call, tuple[int, ...]] = {}
        self.before: dict[Call, int] = {}

    def drop(self, call: Call, x: Tensor, p: float, kind: Kind) -> Tensor:
        """Return ``x``."""
        self.dropped[call] = tuple(x.shape)
        self.before[call] = len(self.sizes)
        self.sizes.append(x.numel() * x.element_size())
        return x

    def before_linear(self, call: Call, x: Tensor) -> Tensor:
        """Return ``x``."""
        self.linear[call] = tuple(x.shape)
        self.before[call] = len(self.sizes)
        return x


class Layout(NamedTuple):
    """Where the samples of a batch are in a tensor.

    Attributes:
        dimension: Which one.
        each: How many entries there each sample has, next to each other, such as the heads of an attention layer.
    """

    dimension: int
    each: int


def find_layout(call: Call, two: tuple[int, ...], three: tuple[int, ...]) -> Layout:
    """Return where the samples are, from the shapes that a call saw in batches of two and of three.

    Raises:
        ValueError: If that cannot be told.
    """
    grown = [d for d in range(len(two)) if two[d] != three[d]] if len(two) == len(three) else []
    if len(grown) == 1 and 3 * two[grown[0]] == 2 * three[grown[0]]:
        return Layout(grown[0], two[grown[0]] // 2)
    raise ValueError(
        f"{_named([call[0]])} drops from a tensor of shape {two} in a batch of 2 and {three} in one of 3, {_NO_MASKS} "
        "dimension, which no loop takes apart."
    )


class MaskedDropout(DropoutCalls):
    """Drops by masks of several passes, the same for every sample.

    Args:
        layouts: Of every call that drops.
        seed: For the masks.
        passes: Which, by number; the rows of a batch are those of the first pass, then those of the second, ...
        repeated: Whether the model's inputs are. If not, rows are repeated by the first call.
        added: A linear layer's call, and the probability of a dropout to put before it.
    """

    def __init__(
        self,
        layouts: dict[Call, Layout],
        seed: int,
        passes: range,
        *,
        repeated: bool,
        added: tuple[Call, float] | None = None,
    ) -> None:
        super().__init__()
        self.layouts = layouts
        self.seed = seed
        self.passes = passes
        self.repeated = repeated
        self.added = added

    def before_linear(self, call: Call, x: Tensor) -> Tensor:
        """Return ``x``, dropped from if this is where dropout is added."""
        if self.added is None or call != self.added[0]:
            return x
        return self.drop(call, x, self.added[1], _PLAIN)

    def drop(self, call: Call, x: Tensor, p: float, kind: Kind) -> Tensor:
        """Return ``x`` times the masks, for all passes."""
        if call not in self.layouts:
            raise ValueError(
                f"{_named([call[0]])} ran {call[1] + 1} times in a batch and fewer times in the first two samples of "
                f"it, {_NO_MASKS} dimension, which no loop takes apart."
            )
        d, each = self.layouts[call]
        if kind.channels and d != 0:
            raise ValueError(
                f"{_named([call[0]])} drops channels, dimension 1 of (batch, channels, ...), and gets a tensor of "
                f"shape {tuple(x.shape)} whose batch is dimension {d}."
            )
        count = len(self.passes) if self.repeated else 1
        rows = x.unflatten(d, (count, x.shape[d] // (count * each), each))
        shape = [*x.shape[:d], each, *x.shape[d + 1 :]]
        if kind.channels:
            shape[2:] = [1] * len(shape[2:])
        keep = torch.stack([self._kept(call, number, shape, p) for number in self.passes])
        noise = keep.movedim(0, d).unsqueeze(d + 1).to(x)
        self.repeated = True
        return _apply(rows, noise, p, kind).flatten(d, d + 2)

    def _kept(self, call: Call, number: int, shape: list[int], p: float) -> Tensor:
        """Drawn on the CPU, so that it is the same on every device."""
        return torch.rand(shape, generator=generator(self.seed, *call, number)) >= p


def _apply(x: Tensor, noise: Tensor, p: float, kind: Kind) -> Tensor:
    """As torch does: ``noise`` is 1 where ``x`` is kept and 0 where it is dropped."""
    if p == 1:
        return x * torch.zeros_like(noise)
    if not kind.alpha:
        return x * noise.div_(1 - p)
    alpha = 1.7580993408473766  # minus the value that a SELU tends to
    scale = ((alpha * alpha * p + 1) * (1 - p)) ** -0.5
    shift = (noise - 1).mul_(alpha * scale).add_(alpha * scale * p)
    return x * noise.mul_(scale) + shift


def _named(layers: list[str]) -> str:
    name = layers[-1] if layers else ""
    return f"The dropout in {name.removesuffix(BEFORE)!r}" if name else "The dropout in the model's own forward"


def idle_dropout(model: nn.Module, calls: dict[Call, Any]) -> list[str]:
    """Names of the dropout layers of a probability above 0 that made none of these calls."""
    ran = {layer for layer, _ in calls}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 and name not in ran
    ]
