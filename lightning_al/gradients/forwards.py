"""What takes the place of layers' forwards while the engine runs a network."""

import contextlib
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.layouts import RowFinder, rows_back
from lightning_al.gradients.network import Composed, Forwards, Layer, Network
from lightning_al.gradients.parameters import Names, ParameterRows
from lightning_al.gradients.rules.base import Rule
from lightning_al.gradients.rules.composites import LinearPart, Parts, Projection, Recurrent
from lightning_al.gradients.rules.linear import LinearRule
from lightning_al.gradients.rules.recurrences import Sequences, State
from lightning_al.gradients.stand_ins import LooseParameter, OwnedParameter, known_operation
from lightning_al.gradients.unit_by_unit import Alone, UnitByUnit
from lightning_al.inference.calling import as_parameter


class Pass(ABC):
    """What a pass through the network does with the calls of layers; tensors have their rows first."""

    @abstractmethod
    def call(self, rule: type[Rule], layer: nn.Module, names: Names, rows: Tensor) -> Tensor:
        """Return a layer's output."""

    @abstractmethod
    def repeat(self, parts: Recurrent, sequences: Sequences) -> tuple[Tensor, State]:
        """Return the h after each step, (N, T, d), and the last state, of a recurrent layer."""

    def by_rules(self, function: str = "") -> contextlib.AbstractContextManager[None]:
        """Inside, calls are done by rules, or for each unit by itself; or a function of parameters, by this name."""
        return contextlib.nullcontext()


class LayerForwards:
    """Sends each call of a layer to its rule, in one pass through the network.

    It is also what does functions of parameters outside of layers' calls
    (:class:`~lightning_al.gradients.stand_ins.Functions`).

    Args:
        network: The network.
        units: How many units there are.
        finder: Where tensors have their rows.
        of_pass: What the pass does with a layer's call.
    """

    def __init__(self, network: Network, units: int, finder: RowFinder, of_pass: Pass) -> None:
        self.network = network
        self.units = units
        self.finder = finder
        self._pass = of_pass
        self._unit_by_unit = UnitByUnit(finder, units, network.not_vectorized)

    def of_modules(self, copies: dict[str, Tensor]) -> Forwards:
        """Return what to call in place of each module's forward, with these copies of layers' without a rule."""
        network = self.network
        forwards: Forwards = {}
        for module, layer in network.layers.items():
            forwards[module] = self._of_layer(layer)
        for module, composed in network.composed.items():
            forwards[module] = self._of_composed(composed)
        for module, names in network.traced.items():
            forwards[module] = self._of_traced(module, {a: copies[n] for a, n in names.items()})
        return forwards

    def _of_layer(self, layer: Layer) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if len(args) == 1 and not kwargs:
                return self.by_rule(layer.rule, layer.twin, layer.names, args[0])
            if not args and kwargs.keys() == {"input"}:
                return self.by_rule(layer.rule, layer.twin, layer.names, kwargs["input"])
            if not args or not isinstance(args[0], Tensor):
                raise NoRule(f"{type(layer.twin).__name__} called with {len(args)} arguments and {sorted(kwargs)}")
            twin = layer.rule.with_options(layer.twin, *args, **kwargs)
            return self.by_rule(layer.rule, twin, layer.names, args[0])

        return forward

    def _of_composed(self, composed: Composed) -> Callable[..., Any]:
        return functools.partial(composed.forward, _PartsByRule(self, composed.names), composed.twin)

    def _of_traced(self, module: nn.Module, copies: dict[str, Tensor]) -> Callable[..., Any]:
        """Call a layer without a rule on each unit's rows with its own copies of the parameters."""
        alone = Alone(module)
        weights = {f"layer.{a}": c for a, c in copies.items()}
        owner = tuple(self.network.traced[module].values())

        def call(own: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
            own = {name: as_parameter(tensor) for name, tensor in own.items()}
            return functional_call(alone, own, args, kwargs, tie_weights=False)

        def forward(*args: Any, **kwargs: Any) -> Any:
            with self._pass.by_rules():
                return self._unit_by_unit(call, owner=owner, copies=weights, functions=self, args=args, kwargs=kwargs)

        return forward

    # -- functions of parameters -----------------------------------------------------------------------------------

    def linear(self, x: Tensor, weight: OwnedParameter, bias: Tensor | None) -> Any:
        """Do ``F.linear`` with a layer's weights, outside of that layer's call."""
        params = self.network.params
        names = {"weight": ParameterRows(weight.called)}
        own_bias = bias
        if isinstance(bias, OwnedParameter):
            names["bias"] = ParameterRows(bias.called)
            own_bias = params[bias.called]
        elif isinstance(bias, LooseParameter):
            own_bias = None
        y = self.by_rule(LinearRule, Projection(params[weight.called], own_bias), names, x)
        return y + bias if isinstance(bias, LooseParameter) else y

    def of_parameters(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Do a function of parameters with a copy for each unit."""
        with self._pass.by_rules(name):
            return known_operation(name, func, args, kwargs)

    def beside_rows(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Do a function of parameters with a copy for each unit and of other tensors."""
        with self._pass.by_rules(name):
            return self._beside_rows(name, func, args, kwargs)

    def _beside_rows(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            return known_operation(name, func, args, kwargs)
        except NoRule:
            if name.endswith("_") and not name.endswith("__"):  # what it writes to is not only the unit's
                raise

        def call(_: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
            return func(*args, **kwargs)

        owner = ("function", name)
        return self._unit_by_unit(call, owner=owner, copies={}, functions=self, args=args, kwargs=kwargs)

    # -- one call --------------------------------------------------------------------------------------------------

    def by_rules(self) -> contextlib.AbstractContextManager[None]:
        """Inside, what is done keeps units apart."""
        return self._pass.by_rules()

    def repeat(self, parts: Recurrent, sequences: Sequences) -> tuple[Tensor, State]:
        """Do the calls of a recurrent layer's linear parts by their rule."""
        x = sequences.x
        if any(isinstance(t, LooseParameter) for t in (x, *sequences.state)):
            raise NoRule("a recurrent layer called on what all samples share")
        for part in parts:
            if part.names:
                layout = self.finder.layout_of(x.shape, tuple(rows.name for rows in part.names.values()))
                if layout.dim != 0:
                    raise NoRule("a recurrent layer called on something else than the batch")
                self.finder.rows_first(x, layout)
        return self._pass.repeat(parts, sequences)

    def by_rule(self, rule: type[Rule], layer: nn.Module, names: Names, x: Any) -> Any:
        """Do a layer's call by its rule."""
        with self._pass.by_rules():
            return self._by_rule(rule, layer, names, x)

    def _by_rule(self, rule: type[Rule], layer: nn.Module, names: Names, x: Any) -> Any:
        kind = type(layer).__name__
        if not isinstance(x, Tensor):
            raise NoRule(f"{kind} called on something else than a tensor")
        layout = self.finder.layout_of(x.shape, tuple(rows.name for rows in names.values()))
        if layout.dim < 0 or isinstance(x, LooseParameter):
            # The same for all samples, such as positions: each unit gets its own.
            if layout.dim >= 0 and self.finder.layouts is not None:
                raise NoRule(f"{kind} called on a parameter with the batch first")
            rows = x.copies if isinstance(x, LooseParameter) else x.expand(self.units, *x.shape)
            return LooseParameter(self._pass.call(rule, layer, names, rows), self)
        rows = self.finder.rows_first(x, layout)
        if self.network.channels_last and rule.takes_images and rows.ndim == 4:
            rows = rows.contiguous(memory_format=torch.channels_last)
        return rows_back(self._pass.call(rule, layer, names, rows), layout)


class _PartsByRule(Parts):
    """The linear parts of a layer, by the rule of linear layers; frozen ones as they are.

    Args:
        forwards: Does a call.
        trainable: Names in the model of the layer's trainable parameters.
    """

    def __init__(self, forwards: LayerForwards, trainable: dict[str, str]) -> None:
        self.forwards = forwards
        self.trainable = trainable

    def apply(self, part: LinearPart, x: Tensor) -> Tensor:
        layer, own = self._in_model(part)
        if not own:
            return layer.forward(x)
        y: Tensor = self.forwards.by_rule(LinearRule, layer, own, x)
        return y

    def by_rules(self) -> contextlib.AbstractContextManager[None]:
        return self.forwards.by_rules()

    def repeat(self, parts: Recurrent, sequences: Sequences) -> tuple[Tensor, State]:
        return self.forwards.repeat(Recurrent(*map(self._in_model, parts)), sequences)

    def _in_model(self, part: LinearPart) -> LinearPart:
        trainable = self.trainable
        names = {
            short: rows._replace(name=trainable[rows.name])
            for short, rows in part.names.items()
            if rows.name in trainable
        }
        return part._replace(names=names)
