"""The losses of many samples, each under its own perturbation of the weights: a backward pass and a second forward."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor

from lightning_al.gradients.balls import Ball, Balls, EuclideanBalls
from lightning_al.gradients.costs import CACHED_WEIGHTS, prefers_own_kernel
from lightning_al.gradients.loss import Loss
from lightning_al.gradients.recorded_calls import Part, RecordedCall, in_own_memory
from lightning_al.gradients.rules.base import Gradients
from lightning_al.gradients.rules.composites import Projection, weights_in_order
from lightning_al.gradients.rules.linear import LinearRule
from lightning_al.gradients.rules.recurrences import Product, Sequences, State, product_of
from lightning_al.gradients.shared_gradients import SharedGradients
from lightning_al.gradients.tape import OtherWeights, Tape

_ALL = slice(None)


def perturbed_losses(
    tape: Tape, inputs: Callable[[], Any], loss: Loss, *, given: Callable[[Any], Tensor], ball: Ball
) -> Tensor:
    """Return what is given of each row under its unit's own worst-case perturbation, its loss say, (N,) or (N, ...).

    Args:
        tape: A recorded pass.
        inputs: Gives the pass's inputs anew.
        loss: Of its outputs; a unit's perturbation is that of the sum over its rows.
        given: Gives one number for each row, or several, of the perturbed outputs.
        ball: What the perturbations stay in.
    """
    shared = SharedGradients(tape.calls)
    cotangents, scale = loss.cotangents()
    weights = PerturbedWeights(tape, shared, ball.of_units(tape.units, scale))
    of_loose_parameters = tape.backward(loss.ends, cotangents, weights.receive, keep=False)
    copies = weights.finish(of_loose_parameters)
    with torch.no_grad():
        return given(tape.replay(inputs(), weights, copies))


class PerturbedWeights(OtherWeights):
    """Each unit's own weights, perturbed: what the balls need of each gradient, and the layers' outputs under them.

    A gradient is kept from the backward pass to the second forward pass only where that costs less than forming it
    again from what its layer was called on.

    Args:
        tape: A recorded pass.
        shared: For the gradients that more than one call adds to.
        balls: A ball for each unit.
    """

    def __init__(self, tape: Tape, shared: SharedGradients, balls: Balls) -> None:
        self.tape = tape
        self.shared = shared
        self.balls = balls
        self._parameters = tape.network.params
        self._euclidean = balls if isinstance(balls, EuclideanBalls) else None
        self._kept: dict[RecordedCall, list[tuple[Part, Gradients]]] = {}
        self._formed_again: dict[RecordedCall, Tensor] = {}  # from the gradient towards the call's output

    # -- the backward pass -------------------------------------------------------------------------------------------

    def receive(self, call: RecordedCall, e: Tensor) -> None:
        """Take note of a call's gradient ``e`` towards its output."""
        if self.shared.concern(call):
            self.shared.add(call, e)
        elif self._euclidean is not None:
            squares = call.square_norms(e, perturb=True)
            if squares is None:
                self._keep(call, e)
                return
            self._formed_again[call] = e
            for values in squares.values():
                self._euclidean.add_squares(values)
        elif sum(rows.of(self._parameters).numel() for rows in call.names.values()) <= CACHED_WEIGHTS:
            self._keep(call, e)
        else:  # large ones are formed again, which costs less than keeping them
            self._formed_again[call] = e
            for part in call.parts(e):
                for some, gradients in part.rule.blocks(call.x[part.rows], e[part.rows]):
                    self._add(call, gradients, part.units, some)

    def finish(self, of_loose_parameters: Gradients) -> dict[str, Tensor]:
        """Take note of all other gradients, and return each unit's copies of the parameters of no call, (U, *shape)."""
        for rows, gradient in self.shared.sums.items():
            self.balls.add(rows.of(self._parameters), gradient.clone(), _ALL)
        for name, gradient in of_loose_parameters.items():
            self.balls.add(self._parameters[name], gradient.clone(), _ALL)
        return {
            name: self._moved(self._parameters[name], of_loose_parameters.get(name), _ALL, self.tape.units)
            for name in self.tape.leaves
        }

    def _keep(self, call: RecordedCall, e: Tensor) -> None:
        self._kept[call] = []
        for part in call.parts(e):
            gradients = call.gradients(part, e)
            self._kept[call].append((part, gradients))
            self._add(call, gradients, part.units)

    def _add(self, call: RecordedCall, gradients: Gradients, units: slice, some: slice = _ALL) -> None:
        for short, gradient in gradients.items():
            self.balls.add(call.names[short].of(self._parameters)[some], gradient, units)

    # -- the second pass ---------------------------------------------------------------------------------------------

    def output(self, call: RecordedCall, x: Tensor) -> Tensor:
        """Return what a layer gives for ``x`` with each unit's own weights; it gives that once."""
        if self.shared.concern(call):
            return self._with_shared(call, x)
        if call in self._kept:
            return joined(
                part.rule.perturbed(x[part.rows], self._weights(call, gradients, part.units, part.rule.units))
                for part, gradients in emptied(self._kept.pop(call))
            )
        if call not in self._formed_again:  # no gradient reaches this call
            return call.rule.forward(x)
        e = self._formed_again.pop(call)
        if self._euclidean is not None:
            step = self._euclidean.step.to(e.dtype)
            y = call.rule.moved_along(x, call.x, e, step=step, cache=call.cache)
        else:
            y = joined(self._along(call, part, x, e) for part in call.parts(e))
        call.cache.clear()
        return y

    def repeated(
        self, of_input: RecordedCall | Projection, of_state: RecordedCall | Projection, sequences: Sequences
    ) -> tuple[Tensor, State]:
        """Return what a recurrent layer gives with each unit's own weights; it gives that once."""
        units = self.tape.units
        x = sequences.x
        if (
            sequences.recurrence.is_fused
            and self._is_moved(of_state)
            and not self._goes_by_factors(of_state)
            and not self._goes_by_factors(of_input)
            and prefers_own_kernel(x, units, _layer_of(of_state).weight.numel())
        ):
            each = map(weights_in_order, self._of_each_unit(of_input), self._of_each_unit(of_state))
            return sequences.unit_by_unit(each, units)
        of_inputs = self.output(of_input, x) if isinstance(of_input, RecordedCall) else of_input.forward(x)
        return sequences.repeated(of_inputs, self._product(of_state))

    def _is_moved(self, part: RecordedCall | Projection) -> TypeGuard[RecordedCall]:
        """Whether a part of a recurrent layer has each unit's own weights: it is not frozen, and gradients reach it."""
        return isinstance(part, RecordedCall) and (
            part in self._kept or part in self._formed_again or self.shared.concern(part)
        )

    def _goes_by_factors(self, part: RecordedCall | Projection) -> bool:
        """Whether each unit's own weights are never formed, only the factors of their gradients are there."""
        return self._euclidean is not None and part in self._formed_again

    def _product(self, part: RecordedCall | Projection) -> Product:
        """Return what the weights of the state do, each unit's own."""
        if not self._is_moved(part):
            layer = _layer_of(part)
            return product_of(layer.weight, layer.bias)
        rule = cast(LinearRule, part.rule)
        if self._euclidean is not None and part in self._formed_again:
            e = self._formed_again.pop(part)
            return rule.product_along(part.x, e, step=self._euclidean.step.to(e.dtype))
        return rule.product(self._of_some_units(part))

    def _of_some_units(self, call: RecordedCall) -> Iterator[Gradients]:
        """Yield the own weights of some units of a call after another."""
        parts: Iterator[tuple[Part, Gradients]]
        if call in self._kept:
            parts = emptied(self._kept.pop(call))
        elif call in self._formed_again:
            e = self._formed_again.pop(call)
            parts = ((part, call.gradients(part, e)) for part in call.parts(e))
        else:
            parts = iter([(call.whole, self._shared_gradients(call))])
        for part, gradients in parts:
            yield self._weights(call, gradients, part.units, part.rule.units)

    def _of_each_unit(self, part: RecordedCall | Projection) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the weight and the bias of each unit, of a part of a recurrent layer."""
        layer = _layer_of(part)
        if not self._is_moved(part):
            yield from itertools.repeat((layer.weight, layer.bias), self.tape.units)
            return
        for some in self._of_some_units(part):
            for own in zip(*some.values(), strict=True):
                of_unit = dict(zip(some, own, strict=True))
                yield of_unit.get("weight", layer.weight), of_unit.get("bias", layer.bias)

    def _shared_gradients(self, call: RecordedCall) -> Gradients:
        sums = self.shared.sums
        return {short: sums[rows].clone() for short, rows in call.names.items() if rows in sums}

    def _with_shared(self, call: RecordedCall, x: Tensor) -> Tensor:
        total = self._shared_gradients(call)
        if not total:
            return call.rule.forward(x)
        return call.rule.perturbed(x, self._weights(call, total, _ALL, self.tape.units))

    def _along(self, call: RecordedCall, part: Part, x: Tensor, e: Tensor) -> Tensor:
        """Return a part's output, its gradients formed again a block at a time."""

        def move(some: slice, gradients: Gradients) -> Gradients:
            return self._weights(call, in_own_memory(gradients, e), part.units, part.rule.units, some=some)

        return part.rule.perturbed_along(x[part.rows], call.x[part.rows], e[part.rows], move)

    def _weights(
        self, call: RecordedCall, gradients: Gradients, units: slice, count: int, *, some: slice = _ALL
    ) -> Gradients:
        """Return each unit's own weights of a call, ``some`` of their rows."""
        return {
            short: self._moved(rows.of(self._parameters)[some], gradients.get(short), units, count)
            for short, rows in call.names.items()
        }

    def _moved(self, weight: Tensor, gradient: Tensor | None, units: slice, count: int) -> Tensor:
        """Return ``count`` units' own weights; those that no gradient reaches stay."""
        if gradient is None:
            return weight.expand(count, *weight.shape)
        return self.balls.moved(weight, gradient, units)


def _layer_of(part: RecordedCall | Projection) -> Projection:
    """Return the linear layer that a part of a recurrent one is."""
    return part if isinstance(part, Projection) else cast(Projection, part.rule.module)


def emptied(parts: list[tuple[Part, Gradients]]) -> Iterator[tuple[Part, Gradients]]:
    """Hand out parts in order, each let go of once it is used."""
    parts.reverse()
    while parts:
        yield parts.pop()


def joined(parts: Iterator[Tensor]) -> Tensor:
    """Join the parts of a tensor; the only one is not copied."""
    tensors = list(parts)
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
