"""Calls of dropout in a model's forward, caught on their way to torch's functions, whoever makes them.

The model stays in ``eval()``: dropout is switched on by itself.
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

from lightning_al.storage.weights import plain_name

DropoutCall = tuple[str, int]
"""The layer whose forward makes the call, by name, and how many it made before."""
BEFORE = " (input)"
"""Ends the name of a linear layer in the call of the dropout put before it."""


class Kind(NamedTuple):
    """A kind of dropout.

    Attributes:
        channels: Whether whole channels are dropped, dimension 1 of (batch, channels, ...).
        alpha: Whether what is dropped takes the value that keeps a SELU's mean and variance.
        unbatched: The number of dimensions that torch takes for a sample without a batch, if any.
    """

    channels: bool = False
    alpha: bool = False
    unbatched: int | None = None


PLAIN = Kind()
_KINDS: dict[Any, Kind] = {
    **dict.fromkeys([F.dropout, torch.dropout, torch.dropout_], PLAIN),
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
NO_MASKS = "so that it cannot be given the same masks for every sample. Use `nn.Dropout` on tensors with a batch"


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

    def drop(self, call: DropoutCall, x: Tensor, p: float, kind: Kind) -> Tensor:
        """Return what a call of dropout gives."""
        raise NotImplementedError

    def before_linear(self, call: DropoutCall, x: Tensor) -> Tensor:
        """Return what a linear layer is to get in the place of ``x``."""
        return x

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Inside, calls in the forward of ``model`` are seen, and ascribed to its layers."""
        with ExitStack() as stack:
            for name, module in model.named_modules():
                if isinstance(module, torch.jit.ScriptModule):
                    continue
                enter = module.register_forward_pre_hook(partial(self._enter, plain_name(name)), with_kwargs=True)
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

    def _next_call(self, layer: str) -> DropoutCall:
        self._made[layer] += 1
        return layer, self._made[layer] - 1

    def _drop(self, x: Tensor, p: float, kind: Kind = PLAIN) -> Tensor:
        return self.drop(self._next_call(self._layers[-1] if self._layers else ""), x, p, kind)

    def _dropout(
        self, func: Any, kind: Kind, input: Tensor, p: float, training: bool = True, inplace: bool = False, **kw: Any
    ) -> Tensor:
        if not 0 < p <= 1:
            return func(input, p, False)  # nothing, or torch's own error
        if input.ndim == kind.unbatched or (kind.channels and input.ndim < 2):
            raise ValueError(
                f"{dropout_of(self._layers)} gets a tensor of shape {tuple(input.shape)}, which it takes for a sample "
                f"without a batch, {NO_MASKS}."
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
        """Compute ``F.scaled_dot_product_attention`` as its documentation writes it."""
        if not dropout_p > 0:
            return F.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=attn_mask,
                dropout_p=dropout_p,
                is_causal=is_causal,
                scale=scale,
                enable_gqa=enable_gqa,
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
        masked_out = (scores == -torch.inf).all(-1, keepdim=True)  # has nothing to attend to
        weights = scores.softmax(-1).masked_fill(masked_out, 0.0)
        return self._drop(weights, dropout_p) @ value

    def _multi_head_attention(self, *args: Any, **kwargs: Any) -> Any:
        function: Any = F.multi_head_attention_forward
        arguments = inspect.signature(function).bind(*args, **kwargs).arguments
        if not arguments["dropout_p"] > 0:
            return function(*args, **kwargs)
        # The same code, with the two functions in it that drop replaced.
        replaced = {
            "has_torch_function": lambda _: False,
            "dropout": self._drop,
            "scaled_dot_product_attention": self._attention,
        }
        same = types.FunctionType(function.__code__, {**vars(F), **replaced}, argdefs=function.__defaults__)
        return same(**{**arguments, "training": True})

    def _recurrent(self, func: Any, *args: Any) -> Any:
        """Run stacked recurrent layers, which drop between them, one after the other."""
        packed = isinstance(args[3], (list, tuple))
        if packed:
            count, p = args[5:7]
        else:
            x, state, weights, biases, count, p, _, both_ways, batch_first = args
        if not p > 0 or count == 1:
            return func(*args)
        if packed:
            raise ValueError(
                f"{dropout_of(self._layers)} drops between its layers and gets a packed sequence, {NO_MASKS}: pad the "
                "sequences, or set its `dropout=0`."
            )
        weights_each, states_each = len(weights) // count, 2 if both_ways else 1
        last_states = []
        for layer in range(count):
            part = slice(layer * states_each, (layer + 1) * states_each)
            begin = tuple(s[part] for s in state) if isinstance(state, tuple) else state[part]
            layer_weights = weights[layer * weights_each : (layer + 1) * weights_each]
            x = x if layer == 0 else self._drop(x, p)
            x, *end = func(x, begin, layer_weights, biases, 1, 0.0, False, both_ways, batch_first)
            last_states.append(end)
        return (x, *(torch.cat(parts) for parts in zip(*last_states, strict=True)))


def dropout_of(layers: list[str]) -> str:
    """Name a call of dropout in an error, by the layers that are running, the innermost last."""
    name = layers[-1] if layers else ""
    return f"The dropout in {name.removesuffix(BEFORE)!r}" if name else "The dropout in the model's own forward"


def idle_dropout(model: nn.Module, calls: dict[DropoutCall, Any]) -> list[str]:
    """Return the names of the dropout layers of a probability above 0 that made none of these calls."""
    ran = {layer for layer, _ in calls}
    return [
        plain_name(name)
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0 and plain_name(name) not in ran
    ]
