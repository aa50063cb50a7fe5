"""A model as the gradient engine sees it: which layers have a rule, and what becomes of the other parameters."""

import copy
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import lightning_al.gradients.rules.attention  # registers what it has, as the others do
import lightning_al.gradients.rules.convolution
import lightning_al.gradients.rules.embedding
import lightning_al.gradients.rules.linear
import lightning_al.gradients.rules.normalization
import lightning_al.gradients.rules.recurrent
import lightning_al.gradients.rules.transposed_convolution  # noqa: F401
from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.parameters import Names, ParameterRows
from lightning_al.gradients.rules.base import Rule, find_rule
from lightning_al.gradients.rules.composites import find_composite
from lightning_al.gradients.stand_ins import Functions, LooseParameter, OwnedParameter
from lightning_al.inference.calling import Around, call_with, places_of
from lightning_al.inference.module_state import modules_of, named_modules_of
from lightning_al.inference.replaced import replaced_in_each

_HOLDERS = (nn.ParameterList, nn.ParameterDict, parametrize.ParametrizationList)
"""Modules that keep parameters for the layer they are in."""
Forwards = dict[nn.Module, Callable[..., Any]]
"""What takes the place of each module's forward."""


class Layer(NamedTuple):
    """A layer with a rule: the rule, the layer with its weights detached and raised to float32, its parameters."""

    rule: type[Rule]
    twin: nn.Module
    names: Names


class Composed(NamedTuple):
    """A layer that is made of linear ones.

    Attributes:
        forward: How it is written out; see :class:`~lightning_al.gradients.rules.composites.Composite`.
        twin: The layer with its weights detached and raised to float32.
        names: Its parameters' names in the model, by those that they have in the layer.
    """

    forward: Callable[..., Any]
    twin: nn.Module
    names: dict[str, str]


class Network:
    """A model as the engine sees it.

    Args:
        root: The model.
        params: Its trainable parameters, detached, by name.
        fixed: Frozen parameters and buffers to use in place of the model's, by name.
        elsewhere: Names of parameters that are used outside of their layers' calls, other than by ``F.linear``.

    Raises:
        NoRule: If a layer writes its weights.
    """

    def __init__(
        self,
        root: nn.Module,
        params: dict[str, Tensor],
        fixed: dict[str, Tensor],
        *,
        elsewhere: frozenset[str] = frozenset(),
    ) -> None:
        if any(getattr(module, "max_norm", None) is not None for module in modules_of(root)):
            raise NoRule("an embedding with `max_norm` writes its weights in the forward pass")
        self.channels_last = False
        """Whether images go through convolutions so in memory, which is faster on a CPU, but too much for models that
        ask for a ``view``."""
        self.elsewhere = elsewhere
        self.not_vectorized: set[Hashable] = set()
        """Who failed under ``torch.func.vmap``."""
        self.root = root
        self.params = params
        self.values = {**params, **fixed}
        first: dict[int, str] = {}
        self._name_of: dict[tuple[int, str], str] = {}  # by module and attribute; tied weights share one name
        for path, module in named_modules_of(root):
            for attribute, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    name = first.setdefault(id(tensor), f"{path}.{attribute}" if path else attribute)
                    self._name_of[id(module), attribute] = name
        self.layers: dict[nn.Module, Layer] = {}
        self.composed: dict[nn.Module, Composed] = {}
        self._find_layers()
        covered = {rows.name for layer in self.layers.values() for rows in layer.names.values()}
        covered.update(name for layer in self.composed.values() for name in layer.names.values())
        self.traced = self._find_traced(covered)  # layers without a rule
        own = covered.union(*(names.values() for names in self.traced.values()))
        self._of_linear = {
            name for name, p in params.items() if p.ndim == 2 and name not in own.union(elsewhere)
        }  # maybe
        own |= self._of_linear
        self.loose = [name for name in params if name not in own]  # what a module uses itself, beside the layers in it
        self._around = Around(root)
        self._places = places_of(self._around)
        self._owned = {name: OwnedParameter(p, name) for name, p in params.items() if name in own}
        self._fixed = fixed

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(iter(self.params.values())).device

    def _find_layers(self) -> None:
        inside: set[int] = set()  # layers of composed ones, which are never called themselves
        for module in modules_of(self.root):
            if id(module) in inside or parametrize.is_parametrized(module):
                continue
            names = self._trainable(module)
            if not self.elsewhere.isdisjoint(names.values()):
                continue
            composite = find_composite(module)
            if composite is not None:
                parts = {name: getattr(module, name) for name in composite.inside}
                inside.update(map(id, parts.values()))
                for name, part in parts.items():
                    names.update({f"{name}.{a}": n for a, n in self._trainable(part).items()})
                if names:
                    twin = self._twin(module)
                    twin._modules = {name: self._twin(part) for name, part in parts.items()}
                    self.composed[module] = Composed(composite.forward, twin, names)
            elif names and (rule := find_rule(module)) is not None:
                rows = {a: ParameterRows(n) for a, n in names.items()}
                self.layers[module] = Layer(rule, self._twin(module), rows)

    def _find_traced(self, covered: set[str]) -> dict[nn.Module, dict[str, str]]:
        traced: dict[nn.Module, dict[str, str]] = {}
        if covered.issuperset(self.params):
            return traced
        inside: set[int] = set()
        for module in modules_of(self.root):
            if module is self.root or id(module) in inside or isinstance(module, _HOLDERS) or not _is_leaf(module):
                continue
            inside.update(map(id, module.modules()))
            names = {
                f"{path}.{a}" if path else a: n
                for path, part in module.named_modules()
                for a, n in self._trainable(part).items()
                if n not in covered
            }
            if names and self.elsewhere.isdisjoint(names.values()):
                traced[module] = names
        return traced

    def _trainable(self, module: nn.Module) -> dict[str, str]:
        """Names of a module's own parameters that are differentiated, by attribute."""
        names = {a: self._name_of.get((id(module), a)) for a in module._parameters}
        return {a: n for a, n in names.items() if n in self.params}

    def _twin(self, module: nn.Module) -> nn.Module:
        """Return the layer with its weights detached and raised to float32, the same otherwise."""
        twin = copy.copy(module)
        vars(twin).pop("forward", None)
        for kind in ("_parameters", "_buffers"):
            own = getattr(module, kind)
            vars(twin)[kind] = {a: self.values.get(self._name_of.get((id(module), a), ""), t) for a, t in own.items()}
        return twin

    def alike(self, names: frozenset[str]) -> frozenset[str]:
        """Return these parameters, and those of no layer that other modules of the same kind have under the same name.

        What such a module does with one of its own, the others do with theirs, so that it need not be found out for
        each of them.
        """
        holders = [(type(module), module) for module in modules_of(self.root)]
        kinds = {
            (kind, a) for kind, m in holders for a, n in self._trainable(m).items() if n in names & self._of_linear
        }
        alike = {n for kind, m in holders for a, n in self._trainable(m).items() if (kind, a) in kinds}
        return names | (alike & self._of_linear)

    def with_channels_last(self) -> "Network":
        """Return the same network, whose images have their channels last."""
        network = copy.copy(self)
        network.channels_last = True
        return network

    def run(
        self, action: Callable[[], Any], forwards: Forwards, copies: dict[str, Tensor], functions: Functions
    ) -> Any:
        """Run ``action`` with the calls of layers going to ``forwards``, and ``copies`` of the loose parameters.

        Parameters of layers are out of reach meanwhile, except for the layers themselves; functions of parameters go
        to ``functions``.
        """
        before = self._give_owned(functions)
        loose = {name: LooseParameter(copies[name], functions) for name in self.loose}
        weights = {f"model.{n}": t for n, t in {**self._fixed, **self._owned, **loose}.items()}
        try:
            with replaced_in_each("forward", forwards):
                return call_with(self._around, weights, action, places=self._places)
        finally:
            self._give_owned(before)  # or they would keep what this run is about

    def _give_owned(self, functions: Any) -> Any:
        """Let functions of the parameters that rules take care of go there; return where they went before."""
        before = None
        for stand_in in self._owned.values():
            before, stand_in.functions = stand_in.functions, functions
        return before


def _is_leaf(module: nn.Module) -> bool:
    """Whether no layers are in a module, only lists of parameters and what its own parameters are computed from."""
    in_holders = {id(part) for holder in module.modules() if isinstance(holder, _HOLDERS) for part in holder.modules()}
    layers = [m for m in module.modules() if m._parameters or parametrize.is_parametrized(m)]
    return bool(layers) and all(m is module or id(m) in in_holders for m in layers)
