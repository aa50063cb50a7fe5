"""What recurrent layers do from step to step beside their weights, and its gradients.

The weights of the state are called on what they gave before. In a pass that is differentiated the h of all steps come
first, from torch's own kernel and without a graph. The weights of the state are then one linear layer that was called
on all of them, and a backward pass through time gives the gradient towards each of its outputs, of all that follows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

State = tuple[Tensor, ...]
"""What goes from one step to the next, (N, d) each: h, and of an LSTM c."""

Product = Callable[[Tensor], Tensor]
"""``product(h)``: what the weights of the state make of h, (N, d) -> (N, g), in new memory."""

Kernel = Callable[[Tensor, State, list[Tensor]], tuple[Tensor, State]]
"""``kernel(x, state, weights)``: the h after each step of a sequence (N, T, c), (N, T, d), and the last state; the
weights are those of the input, those of the state, and both biases, if there are any."""


class Recurrence(ABC):
    """A kind of recurrent layer, without its weights."""

    is_fused: ClassVar[bool] = False
    """Whether torch has a kernel for all steps of one sequence on a CPU, which costs a step next to nothing."""

    @abstractmethod
    def step(self, of_input: Tensor, of_state: Tensor, state: State) -> State:
        """Return the next state.

        Args:
            of_input: What the weights of the input gave, (N, g).
            of_state: What those of the state gave, (N, g); it is overwritten.
            state: The state before.
        """

    @abstractmethod
    def tied(
        self, of_inputs: Tensor, of_states: Tensor, state: State, outputs: Tensor, weight: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the h after each step, (N, T, d), and of an LSTM the last c, with a graph that goes back through time.

        Args:
            of_inputs: What the weights of the input gave, (N, T, g).
            of_states: What those of the state gave for the h before each step, (N, T, g).
            state: The first state.
            outputs: The h after each step, without a graph.
            weight: Those of the state, (g, d).
        """

    def run(self, product: Product, of_inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the h after each step, (N, T, d), and the last state, step by step and without gradients."""
        outputs = []
        for of_input in of_inputs.unbind(1):
            state = self.step(of_input, product(state[0]), state)
            outputs.append(state[0])
        return torch.stack(outputs, 1), state


class LSTM(Recurrence):
    """``c' = σ(f) c + σ(i) tanh(g)`` and ``h' = σ(o) tanh(c')``."""

    is_fused = True

    def step(self, of_input: Tensor, of_state: Tensor, state: State) -> State:
        """Return the next state."""
        i_f, g, o = of_state.add_(of_input).split(_sizes(of_state, 2, 1, 1), -1)
        i, f = i_f.sigmoid_().chunk(2, -1)
        c = torch.addcmul(f * state[1], i, g.tanh_())
        return o.sigmoid_() * c.tanh(), c

    def tied(
        self, of_inputs: Tensor, of_states: Tensor, state: State, outputs: Tensor, weight: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the h after each step, (N, T, d), and the last c."""
        h, c = _LSTM.apply(of_inputs, of_states, *state, outputs, weight)
        return h, c


class GRU(Recurrence):
    """``n = tanh(n_x + σ(r) n_h)`` and ``h' = n + σ(z) (h - n)``."""

    def step(self, of_input: Tensor, of_state: Tensor, state: State) -> State:
        """Return the next state."""
        (r_z_x, n_x), (r_z, n_h) = (t.split(_sizes(t, 2, 1), -1) for t in (of_input, of_state))
        r, z = r_z.add_(r_z_x).sigmoid_().chunk(2, -1)
        return (torch.lerp(torch.addcmul(n_x, r, n_h).tanh_(), state[0], z),)

    def tied(
        self, of_inputs: Tensor, of_states: Tensor, state: State, outputs: Tensor, weight: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the h after each step, (N, T, d)."""
        return (_GRU.apply(of_inputs, of_states, *state, outputs, weight),)


class Elman(Recurrence):
    """``h' = a(x + h)``, where ``a`` is tanh or ReLU."""

    def __init__(self, activation: str) -> None:
        self.is_tanh = activation == "tanh"

    def step(self, of_input: Tensor, of_state: Tensor, state: State) -> State:
        """Return the next state."""
        total = of_state.add_(of_input)
        return (total.tanh_() if self.is_tanh else total.relu_(),)

    def tied(
        self, of_inputs: Tensor, of_states: Tensor, state: State, outputs: Tensor, weight: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the h after each step, (N, T, d)."""
        return (_Elman.apply(of_inputs, of_states, *state, outputs, weight, self.is_tanh),)


class Sequences(NamedTuple):
    """A recurrent layer that is called on sequences, in one direction.

    Attributes:
        recurrence: What is between the calls of its weights.
        kernel: Torch's own, which does all of it.
        x: The sequences, (N, T, c).
        state: The first state.
    """

    recurrence: Recurrence
    kernel: Kernel
    x: Tensor
    state: State

    def recorded(
        self, of_inputs: Tensor, linear: Callable[[Tensor], Tensor], weights: list[Tensor]
    ) -> tuple[Tensor, State]:
        """Return the h after each step and the last state, with a graph.

        Args:
            of_inputs: What the weights of the input gave, (N, T, g).
            linear: Does what those of the state do; it is called once, on all steps.
            weights: As they are.
        """
        with torch.no_grad():
            outputs = self.kernel(self.x, self.state, weights)[0]
            before = torch.cat([self.state[0].unsqueeze(1), outputs[:, :-1]], 1)
        hs, *others = self.recurrence.tied(of_inputs, linear(before), self.state, outputs, weights[1])
        return hs, (hs[:, -1], *others)

    def unit_by_unit(self, weights: Iterable[list[Tensor]], units: int) -> tuple[Tensor, State]:
        """Return the same without a graph, by torch's kernel, one unit after another with its own weights."""
        tensors = self.x, *self.state
        hs, states = [], []
        for own, x, *state in zip(weights, *(t.chunk(units) for t in tensors), strict=True):
            of_unit, last = self.kernel(x, tuple(state), own)
            hs.append(of_unit)
            states.append(last)
        return torch.cat(hs), tuple(map(torch.cat, zip(*states, strict=True)))


RECURRENCES: dict[str, Recurrence] = {
    "LSTM": LSTM(),
    "GRU": GRU(),
    "RNN_TANH": Elman("tanh"),
    "RNN_RELU": Elman("relu"),
}
"""By the ``mode`` of a layer of ``torch.nn``."""


def _sizes(gates: Tensor, *shares: int) -> list[int]:
    size = gates.shape[-1] // sum(shares)
    return [share * size for share in shares]


def _backwards(*tensors: Tensor) -> Any:
    """Go through steps, tensors' first dimension, from the last to the first."""
    return zip(*(reversed(t.unbind()) for t in tensors), strict=True)


class _LSTM(torch.autograd.Function):
    """Ties the h of all steps and the last c to what both weights gave and to the first state."""

    @staticmethod
    def forward(
        ctx: Any, of_inputs: Tensor, of_states: Tensor, h: Tensor, c: Tensor, outputs: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        n, steps, width = of_inputs.shape
        gates = of_inputs.new_empty(steps, n, width)
        torch.add(of_inputs.transpose(0, 1), of_states.transpose(0, 1), out=gates)
        i_f, g, o = gates.split(_sizes(gates, 2, 1, 1), -1)
        i, f = i_f.sigmoid_().chunk(2, -1)
        o.sigmoid_()
        added = i * g.tanh_()
        cs = torch.empty(len(gates) + 1, *c.shape, dtype=c.dtype, device=c.device)
        each = cs.unbind()
        each[0].copy_(c)
        for before, after, kept, more in zip(each, each[1:], f.unbind(), added.unbind(), strict=False):
            torch.addcmul(more, before, kept, out=after)
        ctx.save_for_backward(gates, cs, weight)
        return outputs, cs[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        gates, cs, weight = ctx.saved_tensors
        of_h, of_c = grads[0].transpose(0, 1), grads[1]
        steps, n, width = gates.shape
        i, f, g, o = gates.chunk(4, -1)
        bounded = cs[1:].tanh()
        c_to_e = torch.stack([g * i * (1 - i), cs[:-1] * f * (1 - f), i * (1 - g * g)], 2)
        h_to_o, h_to_c = bounded * o * (1 - o), o * (1 - bounded * bounded)
        e = gates.new_empty(steps, n, 4, width // 4)
        from_before = torch.cat([torch.zeros_like(of_h[:1]), of_h[:-1]])
        past = of_h[-1]
        for from_output, by_c, by_h, through, kept, e_ifg, e_o, whole in _backwards(
            from_before, c_to_e, h_to_o, h_to_c, f, e[:, :, :3], e[:, :, 3], e.flatten(2)
        ):
            of_c = torch.addcmul(of_c, past, through)
            torch.mul(by_c, of_c.unsqueeze(1), out=e_ifg)
            torch.mul(by_h, past, out=e_o)
            of_c = of_c * kept
            past = torch.addmm(from_output, whole, weight)
        towards = e.flatten(2).transpose(0, 1).contiguous()  # once, for all that take it
        return towards, towards, past, of_c, None, None


class _GRU(torch.autograd.Function):
    """Ties the h of all steps to what both weights gave and to the first h."""

    @staticmethod
    def forward(ctx: Any, of_inputs: Tensor, of_states: Tensor, h: Tensor, outputs: Tensor, weight: Tensor) -> Tensor:
        x, s = of_inputs.transpose(0, 1), of_states.transpose(0, 1)
        (r_z_x, n_x), (r_z, n_h) = (t.split(_sizes(t, 2, 1), -1) for t in (x, s))
        r, z = (r_z_x + r_z).sigmoid_().chunk(2, -1)
        before = torch.cat([h.unsqueeze(0), outputs.transpose(0, 1)[:-1]])
        ctx.save_for_backward(r, z, torch.addcmul(n_x, r, n_h).tanh_(), n_h, before, weight)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        r, z, n, n_h, before, weight = ctx.saved_tensors
        h_to_n = (1 - z) * (1 - n * n)
        h_to_e = torch.stack([h_to_n * n_h * r * (1 - r), (before - n) * z * (1 - z), h_to_n * r], 2)
        e, of_hs = torch.empty_like(h_to_e), torch.empty_like(before)
        past = torch.zeros_like(before[0])
        for from_output, by_h, kept, e_each, whole, of_this in _backwards(
            grads[0].transpose(0, 1), h_to_e, z, e, e.flatten(2), of_hs
        ):
            torch.add(past, from_output, out=of_this)
            torch.mul(by_h, of_this.unsqueeze(1), out=e_each)
            past = torch.addmm(of_this * kept, whole, weight)
        towards = torch.cat([e[:, :, :2].flatten(2), h_to_n * of_hs], 2)
        return towards.transpose(0, 1), e.flatten(2).transpose(0, 1), past, None, None


class _Elman(torch.autograd.Function):
    """Ties the h of all steps to what both weights gave and to the first h."""

    @staticmethod
    def forward(
        ctx: Any, of_inputs: Tensor, of_states: Tensor, h: Tensor, outputs: Tensor, weight: Tensor, is_tanh: bool
    ) -> Tensor:
        ctx.save_for_backward(outputs, weight)
        ctx.is_tanh = is_tanh
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        outputs, weight = ctx.saved_tensors
        h = outputs.transpose(0, 1)
        slopes = 1 - h * h if ctx.is_tanh else (h > 0).to(h.dtype)
        e, past = torch.empty_like(slopes), torch.zeros_like(slopes[0])
        for from_output, by_h, e_each in _backwards(grads[0].transpose(0, 1), slopes, e):
            torch.mul(past + from_output, by_h, out=e_each)
            past = torch.mm(e_each, weight)
        towards = e.transpose(0, 1)
        return towards, towards, past, None, None, None
