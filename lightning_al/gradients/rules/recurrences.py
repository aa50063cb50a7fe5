"""What recurrent layers do from step to step beside their weights, and its gradients.

The weights of the state are called on what they gave before. In a pass that is differentiated the h of all steps come
first, without a graph. The weights of the state are then one linear layer that was called on all of them, and a
backward pass through time gives the gradient towards each of its outputs, of all that follows.

Loops over steps run in inference mode: of hundreds of small operations it saves a tenth, which is autograd's, that has
nothing to do there. What is made in one is copied where it leaves it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightning_al.gradients.costs import prefers_kernel_of_steps
from lightning_al.gradients.errors import NoRule

State = tuple[Tensor, ...]
"""What goes from one step to the next, (N, d) each: h, and of an LSTM c."""

Kernel = Callable[[Tensor, State, list[Tensor]], tuple[Tensor, State]]
"""``kernel(x, state, weights)``: the h after each step of a sequence (N, T, c), (N, T, d), and the last state; the
weights are those of the input, those of the state, and both biases, if there are any."""


class Product(NamedTuple):
    """What the weights of the state do.

    Attributes:
        added: ``added(values, h, out)`` writes to ``out`` (N, g) what they make of h (N, d), without the bias, plus the
            values, which may be in the same memory.
        bias: (g,), or each unit's own (U, g), or None.
    """

    added: Callable[[Tensor, Tensor, Tensor], object]
    bias: Tensor | None

    def add_bias(self, values: Tensor) -> Tensor:
        """Add the bias to ``values`` (N, T, g), in place, and return them."""
        if self.bias is None:
            return values
        if self.bias.ndim > 1:
            values.unflatten(0, (len(self.bias), -1)).add_(self.bias[:, None, None])
            return values
        return values.add_(self.bias)


def product_of(weight: Tensor, bias: Tensor | None) -> Product:
    """Return what a weight (g, d), the same for all, and its bias (g,) do."""
    columns = weight.t().contiguous()  # a product with the transposed one takes twice as long, in each step
    return Product(lambda values, h, out: torch.addmm(values, h, columns, out=out), bias)


class Steps(NamedTuple):
    """What all steps gave, without a graph.

    Attributes:
        outputs: The h after each, (N, T, d).
        others: What else the last state is made of: the c of an LSTM.
        kept: What a backward pass needs, if one follows.
    """

    outputs: Tensor
    others: State
    kept: tuple[Tensor, ...]


class Recurrence(ABC):
    """A kind of recurrent layer, without its weights."""

    is_fused: ClassVar[bool] = False
    """Whether torch has a kernel for all steps of one sequence on a CPU, which costs a step next to nothing."""

    @abstractmethod
    def steps(self, of_inputs: Tensor, product: Product, state: State, *, keep: bool) -> Steps:
        """Go step by step.

        Args:
            of_inputs: What the weights of the input gave, (N, T, g); it is overwritten.
            product: What those of the state do.
            state: The first state.
            keep: Whether a backward pass follows.
        """

    @abstractmethod
    def steps_of_kernel(self, of_inputs: Tensor, of_states: Tensor, state: State, outputs: Tensor) -> Steps:
        """Return what was between, where the h after each step are known.

        Args:
            of_inputs: What the weights of the input gave, (N, T, g).
            of_states: What those of the state gave for the h before each step, (N, T, g); it is overwritten.
            state: The first state.
            outputs: The h after each step, (N, T, d).
        """

    @abstractmethod
    def backward(self, kept: Sequence[Tensor], weight: Tensor, grads: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Go back through time.

        Args:
            kept: By the steps.
            weight: Of the state, (g, d).
            grads: The gradients towards the outputs, and the others.

        Returns:
            Those towards what the weights of the input gave, what those of the state gave, and the first state.
        """


class LSTM(Recurrence):
    """``c' = σ(f) c + σ(i) tanh(g)`` and ``h' = σ(o) tanh(c')``."""

    is_fused = True

    def steps(self, of_inputs: Tensor, product: Product, state: State, *, keep: bool) -> Steps:
        """Go step by step."""
        of_inputs = product.add_bias(of_inputs)
        h, c = state
        outputs, cs = _empty(of_inputs, h.shape[1]), _empty(of_inputs, h.shape[1], 1, keep=keep)
        cs[:, 0] = c
        gates = of_inputs if keep else _empty(of_inputs, of_inputs.shape[2], keep=False)
        i, f, g, o = _shares(gates, 1, 1, 1, 1)
        i_f, *_ = _shares(gates, 2, 1, 1)
        with torch.inference_mode():
            for from_x, whole, both, i_t, f_t, g_t, o_t, after, output in _by_step(
                of_inputs, gates, i_f, i, f, g, o, cs[:, 1:], outputs
            ):
                product.added(from_x, h, whole)
                both.sigmoid_(), g_t.tanh_(), o_t.sigmoid_()
                c = torch.mul(f_t, c, out=after).addcmul_(i_t, g_t)
                h = torch.mul(c.tanh(), o_t, out=output)
        return Steps(outputs, (c.clone(),), (gates, cs) if keep else ())

    def steps_of_kernel(self, of_inputs: Tensor, of_states: Tensor, state: State, outputs: Tensor) -> Steps:
        """Return what was between."""
        gates = of_states.add_(of_inputs)
        i_f, g, o = _shares(gates, 2, 1, 1)
        i, f = _shares(i_f.sigmoid_(), 1, 1)
        o.sigmoid_()
        added = i * g.tanh_()
        c = state[1]
        cs = _empty(gates, c.shape[1], 1)
        cs[:, 0] = c
        with torch.inference_mode():
            for after, kept, more in _by_step(cs[:, 1:], f, added):
                c = torch.addcmul(more, c, kept, out=after)
        return Steps(outputs, (c.clone(),), (gates, cs))

    def backward(self, kept: Sequence[Tensor], weight: Tensor, grads: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Go back through time."""
        gates, cs = kept
        of_outputs, of_c = grads
        i, f, g, o = _shares(gates, 1, 1, 1, 1)
        bounded = cs[:, 1:].tanh()
        c_to_e = gates.new_empty(*g.shape[:2], 3, g.shape[2])
        torch.mul(torch.addcmul(i, i, i, value=-1), g, out=c_to_e[:, :, 0])
        torch.mul(torch.addcmul(f, f, f, value=-1), cs[:, :-1], out=c_to_e[:, :, 1])
        torch.addcmul(i, i, g * g, value=-1, out=c_to_e[:, :, 2])
        h_to_o, h_to_c = torch.addcmul(o, o, o, value=-1).mul_(bounded), torch.addcmul(o, o, bounded.square(), value=-1)
        e = torch.empty_like(gates)
        e_ifg, e_o = _shares(e, 3, 1)
        past = of_outputs[:, -1]
        before = torch.cat([torch.zeros_like(of_outputs[:, :1]), of_outputs[:, :-1]], 1)
        with torch.inference_mode():
            for from_output, by_c, by_h, through, kept_c, e_c, e_h, whole in _backwards(
                before, c_to_e, h_to_o, h_to_c, f, e_ifg.unflatten(2, (3, -1)), e_o, e
            ):
                of_c = torch.addcmul(of_c, past, through)
                torch.mul(by_c, of_c.unsqueeze(1), out=e_c)
                torch.mul(by_h, past, out=e_h)
                of_c = of_c * kept_c
                past = torch.addmm(from_output, whole, weight)
        return e, e, past.clone(), of_c.clone()


class GRU(Recurrence):
    """``n = tanh(n_x + σ(r) n_h)`` and ``h' = n + σ(z) (h - n)``."""

    def steps(self, of_inputs: Tensor, product: Product, state: State, *, keep: bool) -> Steps:
        """Go step by step."""
        of_n = _shares(of_inputs, 2, 1)[1]
        n_x = of_n.clone()
        of_n.zero_()
        of_inputs = product.add_bias(of_inputs)
        (h,) = state
        outputs, n = _empty(of_inputs, h.shape[1]), _empty(of_inputs, h.shape[1], keep=keep)
        gates = of_inputs if keep else _empty(of_inputs, of_inputs.shape[2], keep=False)
        r, z, n_h = _shares(gates, 1, 1, 1)
        r_z, _ = _shares(gates, 2, 1)
        with torch.inference_mode():
            for before, whole, both, r_t, z_t, n_t, from_x, from_h, output in _by_step(
                of_inputs, gates, r_z, r, z, n, n_x, n_h, outputs
            ):
                product.added(before, h, whole)
                both.sigmoid_()
                torch.addcmul(from_x, r_t, from_h, out=n_t).tanh_()
                h = torch.lerp(n_t, h, z_t, out=output)
        return Steps(outputs, (), (r, z, n, n_h, _before(outputs, state[0])) if keep else ())

    def steps_of_kernel(self, of_inputs: Tensor, of_states: Tensor, state: State, outputs: Tensor) -> Steps:
        """Return what was between."""
        (r_z_x, n_x), (r_z_h, n_h) = _shares(of_inputs, 2, 1), _shares(of_states, 2, 1)
        r, z = _shares(r_z_h.add_(r_z_x).sigmoid_(), 1, 1)
        return Steps(outputs, (), (r, z, torch.addcmul(n_x, r, n_h).tanh_(), n_h, _before(outputs, state[0])))

    def backward(self, kept: Sequence[Tensor], weight: Tensor, grads: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Go back through time."""
        r, z, n, n_h, before = kept
        (of_outputs,) = grads
        h_to_n = (1 - z) * (1 - n * n)
        h_to_e = torch.stack([h_to_n * n_h * r * (1 - r), (before - n) * z * (1 - z), h_to_n * r], 2)
        e, of_hs = torch.empty_like(h_to_e), torch.empty_like(before)
        past = torch.zeros_like(before[:, 0])
        with torch.inference_mode():
            for from_output, by_h, kept_h, e_t, whole, of_h in _backwards(
                of_outputs, h_to_e, z, e, e.flatten(2), of_hs
            ):
                torch.add(past, from_output, out=of_h)
                torch.mul(by_h, of_h.unsqueeze(1), out=e_t)
                past = torch.addmm(of_h * kept_h, whole, weight)
        return torch.cat([e[:, :, :2].flatten(2), h_to_n * of_hs], 2), e.flatten(2), past.clone()


class Elman(Recurrence):
    """``h' = a(x + h)``, where ``a`` is tanh or ReLU."""

    def __init__(self, activation: str) -> None:
        self.is_tanh = activation == "tanh"

    def steps(self, of_inputs: Tensor, product: Product, state: State, *, keep: bool) -> Steps:
        """Go step by step."""
        outputs = product.add_bias(of_inputs)
        (h,) = state
        with torch.inference_mode():
            for output, values in _by_step(outputs, _empty(outputs, h.shape[1], keep=False)):
                product.added(output, h, values)
                h = torch.tanh(values, out=output) if self.is_tanh else torch.clamp_min(values, 0, out=output)
        return Steps(outputs, (), (outputs,))

    def steps_of_kernel(self, of_inputs: Tensor, of_states: Tensor, state: State, outputs: Tensor) -> Steps:
        """Return what was between, which is nothing."""
        return Steps(outputs, (), (outputs,))

    def backward(self, kept: Sequence[Tensor], weight: Tensor, grads: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Go back through time."""
        (h,), (of_outputs,) = kept, grads
        slopes = 1 - h * h if self.is_tanh else (h > 0).to(h.dtype)
        e, past = torch.empty_like(slopes), torch.zeros_like(slopes[:, 0])
        with torch.inference_mode():
            for from_output, by_h, e_t in _backwards(of_outputs, slopes, e):
                torch.mul(past + from_output, by_h, out=e_t)
                past = torch.mm(e_t, weight)
        return e, e, past.clone()


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
        self,
        of_inputs: Tensor,
        note: Callable[[Tensor], Tensor],
        weights: list[Tensor],
        *,
        goes_back: bool,
    ) -> tuple[Tensor, State]:
        """Return the h after each step and the last state, with a graph.

        Args:
            of_inputs: What the weights of the input gave, (N, T, g), or where no backward pass follows what stands for
                it; it is overwritten.
            note: Takes note that those of the state were called, once, on the h before each step, (N, T, d); gives
                what stands in the graph for what they gave, (N, T, g).
            weights: As they are.
            goes_back: Whether a backward pass may follow.
        """
        with torch.no_grad():
            steps = self._steps(of_inputs, weights) if goes_back else self._outputs_alone(weights)
            before = _before(steps.outputs, self.state[0])
        # Without products x is tied itself: a gradient that the model asks for is refused on its way there.
        recurrence, ends = (self.recurrence, self.state) if goes_back else (None, (*self.state, self.x))
        hs, *others = _Tied.apply(recurrence, steps, weights[1], of_inputs, note(before), *ends)
        return hs, (hs[:, -1], *others)

    def _steps(self, of_inputs: Tensor, weights: list[Tensor]) -> Steps:
        recurrence, (_, weight, *biases) = self.recurrence, weights
        product = product_of(weight, biases[1] if biases else None)
        if not prefers_kernel_of_steps(self.x, weight.numel(), fused=recurrence.is_fused):
            # Nobody reads the inputs again. Not `detach`, which tells autograd, and that forgets the hooks of views.
            return recurrence.steps(of_inputs.data, product, self.state, keep=True)
        outputs = self.kernel(self.x, self.state, weights)[0]
        of_states = nn.functional.linear(_before(outputs, self.state[0]), weight, product.bias)
        return recurrence.steps_of_kernel(of_inputs, of_states, self.state, outputs)

    def _outputs_alone(self, weights: list[Tensor]) -> Steps:
        """Return what torch's kernel gives, and in place of what a backward pass needs as much memory, or more."""
        outputs, (_, *others) = self.kernel(self.x, self.state, weights)
        return Steps(outputs, tuple(others), (outputs.new_empty(5, *outputs.shape),))

    def unit_by_unit(self, weights: Iterable[list[Tensor]], units: int) -> tuple[Tensor, State]:
        """Return the same without a graph, by torch's kernel, one unit after another with its own weights."""
        tensors = self.x, *self.state
        hs, states = [], []
        for own, x, *state in zip(weights, *(t.chunk(units) for t in tensors), strict=True):
            of_unit, last = self.kernel(x, tuple(state), own)
            hs.append(of_unit)
            states.append(last)
        return torch.cat(hs), tuple(map(torch.cat, zip(*states, strict=True)))

    def repeated(self, of_inputs: Tensor, product: Product) -> tuple[Tensor, State]:
        """Return the same step by step; ``of_inputs`` is overwritten. There is no graph: NoRule if one is asked for."""
        if torch.is_grad_enabled() and any(t.requires_grad for t in (of_inputs, self.x, *self.state)):
            raise NoRule("a gradient through a recurrent layer in the second pass")
        steps = self.recurrence.steps(of_inputs, product, self.state, keep=False)
        return steps.outputs, (steps.outputs[:, -1], *steps.others)


RECURRENCES: dict[str, Recurrence] = {
    "LSTM": LSTM(),
    "GRU": GRU(),
    "RNN_TANH": Elman("tanh"),
    "RNN_RELU": Elman("relu"),
}
"""By the ``mode`` of a layer of ``torch.nn``."""


class _Tied(torch.autograd.Function):
    """Ties what all steps gave to what both weights gave and to the first state."""

    @staticmethod
    def forward(
        ctx: Any,
        recurrence: Recurrence | None,
        steps: Steps,
        weight: Tensor,
        of_inputs: Tensor,
        of_states: Tensor,
        *ends: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.recurrence = recurrence
        ctx.save_for_backward(weight, *steps.kept)
        return steps.outputs, *steps.others

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        if ctx.recurrence is None:
            raise NoRule("a gradient through a recurrent layer inside the forward pass")
        weight, *kept = ctx.saved_tensors
        towards = None, None, None, *ctx.recurrence.backward(kept, weight, grads)
        return tuple(e if needed else None for e, needed in zip(towards, ctx.needs_input_grad, strict=True))


def _shares(gates: Tensor, *shares: int) -> tuple[Tensor, ...]:
    """Split the last dimension by shares of it."""
    size = gates.shape[-1] // sum(shares)
    return gates.split([share * size for share in shares], -1)


def _empty(gates: Tensor, size: int, more: int = 0, *, keep: bool = True) -> Tensor:
    """Return memory for what each step makes, and so many more, (N, T + more, size).

    Where nothing is kept all steps have the same (stride 0), which stays near, its rows next to each other.
    """
    steps = gates.shape[1] + more
    return gates.new_empty(len(gates), steps if keep else 1, size).expand(-1, steps, -1)


def _before(outputs: Tensor, h: Tensor) -> Tensor:
    """Return the h before each step, (N, T, d)."""
    return torch.cat([h.unsqueeze(1), outputs[:, :-1]], 1)


def _by_step(*tensors: Tensor) -> Any:
    """Go through the steps, tensors' second dimension."""
    return zip(*(repeat(t[:, 0], t.shape[1]) if t.stride(1) == 0 else t.unbind(1) for t in tensors), strict=True)


def _backwards(*tensors: Tensor) -> Any:
    """Go through the steps from the last to the first."""
    return zip(*(reversed(t.unbind(1)) for t in tensors), strict=True)
