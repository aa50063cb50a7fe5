"""Recurrent layers: weights of the input, which see all steps at once, and weights of the state."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.rules.composites import Parts, Recurrent, linear_part, register_composite
from lightning_al.gradients.rules.recurrences import RECURRENCES, Sequences, State

_KERNELS: dict[str, Callable[..., Any]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}


def _has_no_projection(module: nn.Module) -> bool:
    return not module.proj_size


@register_composite(nn.LSTM, nn.GRU, nn.RNN, accepts=_has_no_projection)
def recurrent(
    parts: Parts, m: Any, input: Tensor, hx: Tensor | tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Any]:
    """Return what ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` do.

    Args:
        parts: Does the linear parts.
        m: The layer.
        input: As of the layer's forward.
        hx: As of the layer's forward.

    Raises:
        NoRule: For packed sequences, a sequence without a batch, and dropout between layers.
    """
    if not isinstance(input, Tensor) or input.ndim != 3:
        raise NoRule(f"{type(m).__name__} called on a {type(input).__name__} that has not three dimensions")
    if m.training and m.dropout:
        raise NoRule(f"{type(m).__name__} with dropout in training mode")
    with parts.by_rules():
        return _all_layers(parts, m, input if m.batch_first else input.transpose(0, 1), hx)


def _all_layers(parts: Parts, m: Any, x: Tensor, hx: Tensor | tuple[Tensor, Tensor] | None) -> tuple[Tensor, Any]:
    """Return what all layers in all directions give for sequences (N, T, c)."""
    given: Sequence[Tensor] = () if hx is None else (hx,) if isinstance(hx, Tensor) else hx
    last: list[State] = []
    for layer in range(m.num_layers):
        both = []
        for suffix in (f"l{layer}", f"l{layer}_reverse")[: 1 + m.bidirectional]:
            state = tuple(each[len(last)] for each in given) or _at_rest(m, x)
            hs, state = _one_way(parts, m, x, state, suffix)
            both.append(hs)
            last.append(state)
        is_last = len(last) == m.num_layers * len(both)  # in memory of its own, which the model may write to
        x = torch.cat(both, -1) if len(both) > 1 or is_last else both[0]
    states = tuple(torch.stack(each) for each in zip(*last, strict=True))
    return (x if m.batch_first else x.transpose(0, 1)), (states if m.mode == "LSTM" else states[0])


def _at_rest(m: Any, x: Tensor) -> State:
    zeros = x.new_zeros(len(x), m.hidden_size)
    return (zeros, zeros) if m.mode == "LSTM" else (zeros,)


def _one_way(parts: Parts, m: Any, x: Tensor, state: State, suffix: str) -> tuple[Tensor, State]:
    """Return the h of each step of one layer in one direction, (N, T, d), and the last state."""
    is_reverse = suffix.endswith("reverse")

    def kernel(x: Tensor, state: State, weights: list[Tensor]) -> tuple[Tensor, State]:
        first = tuple(each.unsqueeze(0) for each in state)
        hs, *last = _KERNELS[m.mode](
            x, first if m.mode == "LSTM" else first[0], weights, m.bias, 1, 0.0, False, False, True
        )
        return hs, tuple(each.squeeze(0) for each in last)

    sequences = Sequences(RECURRENCES[m.mode], kernel, x.flip(1) if is_reverse else x, state)
    both = (linear_part(m, f"weight_{of}_{suffix}", f"bias_{of}_{suffix}") for of in ("ih", "hh"))
    hs, state = parts.repeat(Recurrent(*both), sequences)
    return (hs.flip(1) if is_reverse else hs), state
