"""The tape: records the calls of layers in one pass, finds gradients towards their outputs, replays them.

The first pass runs the batch as it is, keeps what goes into each layer, and takes gradients towards the layers'
*outputs* only; the gradient of the batch's weights is never formed. From both, each layer's rule finds the norm of each
unit's own weight gradient. The second pass gives each unit its own perturbed weights, again by the rules, so that no
copies of the model are held.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from lightning_al.gradients.costs import whole_weights
from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.forwards import LayerForwards, Pass
from lightning_al.gradients.graphs import in_faster_order, leaves_of, nodes_of, resampling
from lightning_al.gradients.layouts import OtherPass, Place, RowFinder, RowLayout, Shape, check_rows_keep_their_order
from lightning_al.gradients.mixing import Operation, Operations
from lightning_al.gradients.network import Network
from lightning_al.gradients.parameters import Names
from lightning_al.gradients.recorded_calls import RecordedCall
from lightning_al.gradients.rules.base import Rule
from lightning_al.gradients.rules.composites import LinearPart, Projection, Recurrent
from lightning_al.gradients.rules.linear import LinearRule
from lightning_al.gradients.rules.recurrences import Sequences, State
from lightning_al.inference.outputs import floating_tensors

Receive = Callable[[RecordedCall, Tensor], None]
"""``receive(call, e)``: takes the gradient towards the output of a layer's call."""


class OtherWeights(ABC):
    """Each unit's own weights, in the place of those that a pass was recorded with."""

    @abstractmethod
    def output(self, call: RecordedCall, x: Tensor) -> Tensor:
        """Return what a recorded call's layer gives for ``x`` under them; it is asked for once."""

    @abstractmethod
    def repeated(
        self, of_input: RecordedCall | Projection, of_state: RecordedCall | Projection, sequences: Sequences
    ) -> tuple[Tensor, State]:
        """Return what a recurrent layer gives under them; it is asked for once.

        Args:
            of_input: The recorded call of the input's weights; the layer itself where it is frozen.
            of_state: The same of the state's weights.
            sequences: What it is called on.
        """


class Tape(Pass):
    """Runs the network once and records the layers' calls, sends gradients back to them, and replays them.

    Args:
        network: The network.
        units: How many gradients are wanted.
        rows: How many rows the inputs have.
        layouts: Where layers' tensors have their rows, or a pass that shows it; None: along the first dimension, and
            their shapes are noted.
    """

    def __init__(
        self, network: Network, units: int, rows: int, layouts: Mapping[Place, RowLayout] | OtherPass | None = None
    ) -> None:
        self.network = network
        self.units = units
        self.rows = rows
        self.goes_back = True
        """Whether there may be a backward pass."""
        self.calls: list[RecordedCall] = []
        self.leaves: dict[str, Tensor] = {}
        """Each unit's copies of the parameters that no layer's rule takes care of, (U, *shape)."""
        self.perturb = False
        """Whether a second forward pass with other weights follows."""
        self.differentiated = False
        """Whether the loss depended on any parameter."""
        self.outputs: list[Tensor] = []
        """The floating-point tensors of the model's outputs in the first pass, without their graph."""
        self.operations_of_model: list[Operation] | None = None
        """What the model does outside of the calls that rules take care of; None: not noted."""
        self.operations_of_losses: list[Operation] | None = None
        """What the losses do with the outputs, up to the first backward pass; None: not noted."""
        self.fused_steps = 0
        """Steps of recurrent layers for which torch has one kernel, of all steps of a unit."""
        self.other_steps = 0
        """Steps of other recurrent layers."""
        self.anchor = torch.zeros((), requires_grad=True)
        self._finder = RowFinder(layouts, rows)
        self._receive: Receive | None = None
        self._noting: Operations | None = None
        self._recorded = False
        self._resampling: list[Node] | None = None

    @property
    def layouts(self) -> dict[Place, RowLayout]:
        """Where layers' tensors have their rows, as far as it is known."""
        return self._finder.layouts or {}

    @property
    def shapes(self) -> dict[Place, Shape]:
        """The shapes of the layers' tensors, where no layouts were given."""
        return self._finder.shapes

    # -- the first pass ----------------------------------------------------------------------------------------------

    def record(self, inputs: Any, *, perturb: bool = False) -> Any:
        """Run the model and keep what goes into each layer.

        Args:
            inputs: Of the model.
            perturb: Whether a second pass with other weights is going to follow.
        """
        self.perturb = perturb
        network = self.network
        traced = {name for names in network.traced.values() for name in names.values()}
        for name in [*network.loose, *sorted(traced)]:
            leaf = network.params[name].expand(self.units, *network.params[name].shape)
            self.leaves[name] = leaf.clone().requires_grad_()
        self._finder.begin_pass()

        def forward() -> Any:
            with self._noted_in(self.operations_of_model):
                return network.root(inputs)

        outputs = self._run(forward, self, self.leaves)
        self._finder.end_pass()
        self._recorded = True
        self.outputs = [t.detach() for t in floating_tensors(outputs)]
        if self.units > 1:
            check_rows_keep_their_order(outputs)
        return outputs

    @contextlib.contextmanager
    def _noted_in(self, done: list[Operation] | None) -> Iterator[None]:
        """Inside, operations are noted there."""
        if done is None:
            yield
            return
        try:
            with Operations() as self._noting:
                yield
            done += self._noting.done
        finally:
            self._noting = None

    def by_rules(self, function: str = "") -> contextlib.AbstractContextManager[None]:
        """Inside, operations are those of rules, which keep units apart: of them, functions of parameters are noted."""
        if self._noting is None:
            return super().by_rules(function)
        if function:
            self._noting.note_kept_apart(function)
        return self._noting.paused()

    def _run(self, action: Callable[[], Any], of_pass: Pass, copies: dict[str, Tensor]) -> Any:
        forwards = LayerForwards(self.network, self.units, self._finder, of_pass)
        return self.network.run(action, forwards.of_modules(copies), copies, forwards)

    def call(self, rule: type[Rule], layer: nn.Module, names: Names, rows: Tensor) -> Tensor:
        """Return a layer's output, and keep what went in."""
        made = rule(layer, tuple(names), self.units)
        return self._kept(made, names, rows, made.forward(rows))

    def _kept(self, made: Rule, names: Names, rows: Tensor, y: Tensor) -> Tensor:
        """Take note of a layer's call, and return its output with a graph."""
        if torch.is_grad_enabled() and not y.requires_grad:
            shared = y._is_view() or y.untyped_storage().data_ptr() == rows.untyped_storage().data_ptr()
            own = y.clone() if shared else y
            y = Anchor.apply(own, self.anchor.to(y.device))
        if not self._recorded:
            call = RecordedCall(made, names, rows.detach(), y)
            self.calls.append(call)
            if y.requires_grad:
                y.register_hook(lambda e: self._hand_on(call, e))
        return y

    def repeat(self, parts: Recurrent, sequences: Sequences) -> tuple[Tensor, State]:
        """Keep what went into the linear parts of a recurrent layer, all steps as one call."""
        x = sequences.x
        if not self._recorded and sequences.recurrence.is_fused:
            self.fused_steps += x.shape[1]
        elif not self._recorded:
            self.other_steps += x.shape[1]
        of_input, of_state = parts
        of_inputs = self._linear(of_input, x) if self.goes_back else self._noted(of_input, x)
        return sequences.recorded(
            of_inputs, lambda before: self._noted(of_state, before), parts.weights, goes_back=self.goes_back
        )

    def _noted(self, part: LinearPart, rows: Tensor) -> Tensor:
        """Keep what goes into a linear part; return what stands for its output, whose values nobody reads."""
        layer, names = part
        stands_for = rows.new_empty(*rows.shape[:-1], len(layer.weight))
        if not names:
            return stands_for
        return self._kept(LinearRule(layer, tuple(names), self.units), names, rows, stands_for)

    def _linear(self, part: LinearPart, x: Tensor) -> Tensor:
        return self.call(LinearRule, part.layer, part.names, x) if part.names else part.layer.forward(x)

    def copies_beyond_loop(self, *, perturb: bool) -> float:
        """Return how much more a unit costs than by itself for the layers that have no rule and go without ``vmap``.

        They run for each unit by itself as in the plain loop, and on copies of their weights.
        """
        network, passes = self.network, 2 if perturb else 1
        copied = [
            self.leaves[n]
            for names in network.traced.values()
            if tuple(names.values()) in network.not_vectorized
            for n in names.values()
        ]
        return sum(whole_weights(leaf[0].numel(), leaf.device, times=passes) for leaf in copied)

    # -- backward ----------------------------------------------------------------------------------------------------

    def backward(
        self,
        outputs: Sequence[Tensor],
        cotangents: Sequence[Tensor | None],
        receive: Receive,
        *,
        keep: bool,
    ) -> dict[str, Tensor]:
        """Send gradients back to the layers' outputs; ``receive`` gets each layer's, in reverse order.

        Args:
            outputs: The model's.
            cotangents: The gradients towards them.
            receive: Gets the layers'.
            keep: Whether another backward pass follows.

        Returns:
            The gradients of the parameters that no layer's rule takes care of, (U, *shape).

        Raises:
            NoRule: If the graph begins at a tensor of the model's, too.
        """
        inputs = [self.anchor, *self.leaves.values()]
        pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad and c is not None]
        if not pairs:
            return {}
        if not self.differentiated:
            self.before_backward()
        if self._resampling is None:
            nodes = list(nodes_of(output for output, _ in pairs))
            self._check_beginnings(leaves_of(nodes))
            self._resampling = resampling(nodes)

        def differentiate() -> tuple[Tensor | None, ...]:
            ends, of_ends = zip(*pairs, strict=True)
            with in_faster_order(self._resampling or []):
                return torch.autograd.grad(ends, inputs, of_ends, retain_graph=keep, allow_unused=True)

        self._receive = receive
        try:  # checkpointed blocks run again in here, hence among the same parameters
            grads = self._run(differentiate, self, self.leaves)
        finally:
            self._receive = None
        # Copies, since autograd may hand out memory that layers' own gradients lie in, too.
        return {name: g.clone() for name, g in zip(self.leaves, grads[1:], strict=True) if g is not None}

    def _check_beginnings(self, leaves: Sequence[Tensor]) -> None:
        """Refuse a graph that begins at a tensor of the model's: from layers after it no way leads to the anchor."""
        own = set(map(id, (self.anchor, *self.leaves.values())))
        if not own.issuperset(map(id, leaves)):
            raise NoRule("the model makes a tensor of its own ask for a gradient")

    def before_backward(self) -> None:
        """Take note that there is a backward pass; a pass that is no more than looked at may end here."""
        self.differentiated = True

    def _hand_on(self, call: RecordedCall, e: Tensor) -> None:
        if self._receive is not None:
            self._receive(call, e)

    # -- the second pass ---------------------------------------------------------------------------------------------

    def replay(self, inputs: Any, weights: OtherWeights, copies: dict[str, Tensor]) -> Any:
        """Run the model again, without gradients, each layer by its recorded call under other weights."""
        replay = _Replay(self.calls, weights)
        self._finder.begin_pass()
        outputs = self._run(lambda: self.network.root(inputs), replay, copies)
        replay.check_ended()
        return outputs

    def noting_losses(self) -> contextlib.AbstractContextManager[None]:
        """Inside, operations are those of the losses."""
        return self._noted_in(None if self.differentiated else self.operations_of_losses)

    def close(self) -> None:
        """Let go of everything that was kept; the hooks of the graph and what they refer to form circles."""
        for call in self.calls:
            call.release()
        self.calls.clear()
        self.leaves.clear()
        self.outputs.clear()
        self._resampling = None


class _Replay(Pass):
    """The second pass: calls are those of the first, in the same order."""

    def __init__(self, calls: Sequence[RecordedCall], weights: OtherWeights) -> None:
        self._remaining = iter(calls)
        self._weights = weights

    def call(self, rule: type[Rule], layer: nn.Module, names: Names, rows: Tensor) -> Tensor:
        return self._weights.output(self._next(rule, names), rows)

    def repeat(self, parts: Recurrent, sequences: Sequences) -> tuple[Tensor, State]:
        if not any(part.names for part in parts):
            return sequences.kernel(sequences.x, sequences.state, parts.weights)
        of_input, of_state = (self._next(LinearRule, p.names) if p.names else p.layer for p in parts)
        return self._weights.repeated(of_input, of_state, sequences)

    def check_ended(self) -> None:
        if next(self._remaining, None) is not None:
            raise NoRule("a layer that was called in the first pass was not called in the second")

    def _next(self, rule: type[Rule], names: Names) -> RecordedCall:
        """Return the recorded call that this one repeats."""
        call = next(self._remaining, None)
        if call is None:
            raise NoRule("more calls of layers in the second pass than in the first")
        if type(call.rule) is not rule or call.names != names:
            raise NoRule("other calls of layers in the second pass than in the first")
        return call


class Anchor(torch.autograd.Function):
    """Lets a graph begin at a layer's output, where neither weights nor inputs ask for gradients."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, anchor: Tensor) -> Tensor:
        """Tie ``y`` itself, which nobody else has, to the anchor."""
        ctx.mark_dirty(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        """Stop at the anchor, whose gradient is asked for only so that hooks run."""
        return None, grads[0].new_zeros(())
