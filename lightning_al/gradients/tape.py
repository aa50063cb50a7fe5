"""Per-sample gradients at the price of a few forward passes.

The first pass runs the batch as it is, keeps what goes into each layer, and takes gradients towards the layers'
*outputs* only; the gradient of the batch's weights is never formed. From both, each layer's rule finds the norm of each
unit's own weight gradient. The second pass gives each unit its own perturbed weights, again by the rules, so that no
copies of the model are held.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lightning_al.gradients.layouts import Layout, Place, check_rows_keep_their_order, rows_back
from lightning_al.gradients.network import Forwards, Network
from lightning_al.gradients.rules.attention import Names, Projection, attention
from lightning_al.gradients.rules.base import Rule
from lightning_al.gradients.rules.linear import LinearRule
from lightning_al.gradients.stand_ins import LooseParameter, NoRule, OwnedParameter, known_rule
from lightning_al.gradients.uses import Alone, Anchor, Use
from lightning_al.inference.calling import as_parameter
from lightning_al.inference.memory import is_out_of_memory


class Tape:
    """One run of the network: records the layers' calls, or replays them under perturbed weights.

    Args:
        network: The network.
        units: How many gradients are wanted.
        rows: How many rows the inputs have.
        layouts: Where layers' tensors have their rows; None: along the first dimension, and their shapes are noted.
    """

    def __init__(self, network: Network, units: int, rows: int, layouts: Mapping[Place, Layout] | None = None) -> None:
        self.network = network
        self.units = units
        self.rows = rows
        self.layouts = layouts
        self.uses: list[Use] = []
        self.shapes: dict[Place, tuple[int, ...]] = {}
        self.leaves: dict[str, Tensor] = {}
        self.receive: Callable[[Use, Tensor], None] | None = None
        self.replayed: Callable[[Use, Tensor], Tensor] | None = None
        self.seen_bytes = 0
        self.held_bytes = 0
        """What the passes keep beside the inputs of layers; they write it down."""
        self.formed_bytes = 0
        """The most that one layer's gradients took at once."""
        self.differentiated = False
        """Whether the loss depended on any parameter."""
        self.anchor = torch.zeros((), requires_grad=True)
        self._dims: dict[Hashable, Layout] = {}
        self._shown: Counter[Hashable] = Counter()  # tensors, by whose they are
        self._called = 0  # layers
        self._closed = False

    # -- running ---------------------------------------------------------------------------------------------------

    def record(self, inputs: Any) -> Any:
        """Run the model and keep what goes into each layer."""
        network = self.network
        traced = {name for names in network.traced.values() for name in names.values()}
        for name in [*network.loose, *sorted(traced)]:
            leaf = network.params[name].expand(self.units, *network.params[name].shape)
            self.leaves[name] = leaf.clone().requires_grad_()
        outputs = network.run(lambda: network.root(inputs), self._forwards(self.leaves), self.leaves, self)
        self._closed = True
        if self.units > 1:
            check_rows_keep_their_order(outputs)
        return outputs

    def replay(self, inputs: Any, use: Callable[[Use, Tensor], Tensor], copies: dict[str, Tensor]) -> Any:
        """Run the model again, each layer by ``use(its recorded call, x)``."""
        network = self.network
        self.replayed, self._called = use, 0
        self._shown.clear()
        outputs = network.run(lambda: network.root(inputs), self._forwards(copies), copies, self)
        if self._called != len(self.uses):
            raise NoRule("a layer that was called in the first pass was not called in the second")
        return outputs

    def release(self) -> None:
        """Let go of everything that was kept; the hooks of the graph and what they refer to form circles."""
        for use in self.uses:
            use.release()
        self.uses.clear()
        self.leaves.clear()
        self.replayed = None

    @property
    def bytes_used(self) -> int:
        """About what the passes hold at once: what layers saw, its graph, and gradients."""
        copies = sum(leaf.numel() * leaf.element_size() for leaf in self.leaves.values())
        return 6 * self.seen_bytes + 3 * copies + self.held_bytes + self.formed_bytes

    # -- the layers' calls -----------------------------------------------------------------------------------------

    def _forwards(self, copies: dict[str, Tensor]) -> Forwards:
        network = self.network
        found: Forwards = {}
        for module, layer in network.layers.items():
            found[module] = self._call_of(*layer)
        for module, (twin, names) in network.attentions.items():
            found[module] = self._attention_of(twin, names)
        for module, names in network.traced.items():
            found[module] = self._traced(module, {a: copies[n] for a, n in names.items()})
        return found

    def _call_of(self, rule: type[Rule], twin: nn.Module, names: Names) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            if len(args) == 1 and not kwargs:
                return self._use(rule, twin, names, args[0])
            if not args and kwargs.keys() == {"input"}:
                return self._use(rule, twin, names, kwargs["input"])
            raise NoRule(f"{type(twin).__name__} called with {len(args)} arguments and {sorted(kwargs)}")

        return forward

    def _attention_of(self, twin: nn.Module, known: dict[str, str]) -> Callable[..., Any]:
        def apply(layer: nn.Module, names: Names, x: Tensor) -> Any:
            own = {short: (known[a], rows) for short, (a, rows) in names.items() if a in known}
            if not own:
                return F.linear(x, layer.weight, layer.bias)  # type: ignore[arg-type]
            return self._use(LinearRule, layer, own, x)

        def forward(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
            if args:
                raise NoRule("attention called with its options by position")
            return attention(apply, twin, query, key, value, **kwargs)

        return forward

    def _traced(self, module: nn.Module, copies: dict[str, Tensor]) -> Callable[..., Any]:
        """Call a layer without a rule on each unit's rows with its own copies of the parameters."""
        alone = Alone(module)
        weights = {f"layer.{a}": c for a, c in copies.items()}
        owner = tuple(self.network.traced[module].values())

        def call(own: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
            own = {name: as_parameter(tensor) for name, tensor in own.items()}
            return functional_call(alone, own, args, kwargs, tie_weights=False)

        def forward(*args: Any, **kwargs: Any) -> Any:
            return self._unit_by_unit(owner, call, weights, args, kwargs)

        return forward

    def _unit_by_unit(
        self, owner: Hashable, call: Callable[..., Any], copies: dict[str, Tensor], args: Any, kwargs: Any
    ) -> Any:
        """Return ``call(own, *args, **kwargs)`` for each unit's own of ``copies`` and rows of the arguments, joined."""
        leaves, spec = pytree.tree_flatten((args, kwargs))
        layouts = [self._layout(leaf.shape, owner) if isinstance(leaf, Tensor) else None for leaf in leaves]
        if self.layouts is None:
            plain = [leaf.copies[0] if isinstance(leaf, LooseParameter) else leaf for leaf in leaves]
            args, kwargs = pytree.tree_unflatten(plain, spec)
            whole = call({a: c[0] for a, c in copies.items()}, *args, **kwargs)
            pytree.tree_map_only(Tensor, lambda t: self._layout(t.shape, owner), whole)
            return whole
        per_unit = [
            self._by_rows(leaf, layout).unflatten(0, (self.units, -1))
            if layout is not None and layout.dim >= 0
            else getattr(leaf, "copies", None)
            for leaf, layout in zip(leaves, layouts, strict=True)
        ]

        def one(own: dict[str, Tensor], *mine: Tensor) -> Any:
            of_unit = iter(mine)
            filled = [
                leaf if given is None else rows_back(next(of_unit), layout)
                for leaf, given, layout in zip(leaves, per_unit, layouts, strict=True)
            ]
            own_args, own_kwargs = pytree.tree_unflatten(filled, spec)
            return call(own, *own_args, **own_kwargs)

        outputs = self._for_each_unit(owner, one, copies, [t for t in per_unit if t is not None])
        return pytree.tree_map_only(Tensor, lambda t: self._joined(t, owner), outputs)

    def _for_each_unit(
        self, owner: Hashable, one: Callable[..., Any], copies: dict[str, Tensor], rows: list[Tensor]
    ) -> Any:
        """Return ``one(copies, *rows)`` of all units, stacked."""
        if owner not in self.network.not_vectorized:
            try:
                return vmap(one)(copies, *rows)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                self.network.not_vectorized.add(owner)  # recurrent layers, for some
        found = [one({a: c[i] for a, c in copies.items()}, *[t[i] for t in rows]) for i in range(self.units)]
        return pytree.tree_map(_stacked, *found)

    def _joined(self, outputs: Tensor, owner: Hashable) -> Tensor:
        """Put the units' outputs, (U, ...), together as the layer itself would have."""
        layout = self._layout(outputs.shape, owner)
        if layout.dim < 0:
            return LooseParameter(outputs, self)
        joined = outputs.transpose(1, 1 + layout.dim).flatten(0, 1)
        self._check_rows(len(joined), layout)
        return rows_back(joined, layout)

    # -- functions of parameters -----------------------------------------------------------------------------------

    def linear(self, x: Tensor, weight: OwnedParameter, bias: Tensor | None) -> Any:
        """Do ``F.linear`` with a layer's weights, outside of that layer's call."""
        params = self.network.params
        everything = slice(None)
        names = {"weight": (weight.called, everything)}
        if isinstance(bias, OwnedParameter):
            names["bias"] = (bias.called, everything)
        loose = bias if isinstance(bias, LooseParameter) else None
        own = params[bias.called] if isinstance(bias, OwnedParameter) else None if loose is not None else bias
        y = self._use(LinearRule, Projection(params[weight.called], own), names, x)
        return y if loose is None else y + loose

    def beside_rows(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Do a function of parameters with a copy for each unit and of other tensors."""
        owner = ("function", name)
        try:
            return known_rule(name, func, args, kwargs)
        except NoRule:
            if name.endswith("_") and not name.endswith("__"):  # what it writes to is not only the unit's
                raise
        return self._unit_by_unit(owner, lambda _, *a, **k: func(*a, **k), {}, args, kwargs)

    # -- one call --------------------------------------------------------------------------------------------------

    def _layout(self, shape: Sequence[int], owner: Hashable) -> Layout:
        """Return where the next tensor that its owner takes or gives has its rows."""
        shape = tuple(shape)
        if self._closed and self.replayed is None:  # a checkpointed block runs again in the backward pass
            return self._dims[owner, shape]
        place = owner, self._shown[owner]
        self._shown[owner] += 1
        if self.layouts is None:
            self.shapes[place] = shape
            return Layout(0, 0)
        if place not in self.layouts:
            raise NoRule("the calls of layers depend on the data")
        layout = self._dims[owner, shape] = self.layouts[place]
        return layout

    def _check_rows(self, rows: int, layout: Layout) -> None:
        if self.layouts is not None and rows != layout.each * self.rows:
            raise NoRule(f"a layer was called on {rows} rows, not on {layout.each} for each of {self.rows} samples")

    def _by_rows(self, x: Tensor, layout: Layout) -> Tensor:
        """Return a layer's input with its rows first."""
        if isinstance(x, LooseParameter) or layout.dim >= x.ndim:
            raise NoRule(f"a layer was called on {tuple(x.shape)} without rows")
        rows = x.transpose(0, layout.dim) if layout.dim else x
        self._check_rows(len(rows), layout)
        return rows

    def _use(self, rule: type[Rule], layer: nn.Module, names: Names, x: Any) -> Any:
        if not isinstance(x, Tensor):
            raise NoRule(f"{type(layer).__name__} called on something else than a tensor")
        layout = self._layout(x.shape, tuple(name for name, _ in names.values()))
        shared = layout.dim < 0 or isinstance(x, LooseParameter)
        if shared:  # the same for all samples, such as positions: each unit gets its own
            if layout.dim >= 0 and self.layouts is not None:
                raise NoRule(f"{type(layer).__name__} called on a parameter with the batch first")
            rows = x.copies if isinstance(x, LooseParameter) else x.expand(self.units, *x.shape)
        else:
            rows = self._by_rows(x, layout)
            if self.network.channels_last and rule.takes_images and rows.ndim == 4:
                rows = rows.contiguous(memory_format=torch.channels_last)
        y = self._record_use(rule, layer, names, rows) if self.replayed is None else self._replay_use(rule, names, rows)
        return LooseParameter(y, self) if shared else rows_back(y, layout)

    def _replay_use(self, rule: type[Rule], names: Names, x: Tensor) -> Tensor:
        if self._called >= len(self.uses):
            raise NoRule("more calls of layers in the second pass than in the first")
        use = self.uses[self._called]
        self._called += 1
        if type(use.rule) is not rule or use.names != names:
            raise NoRule("other calls of layers in the second pass than in the first")
        assert self.replayed is not None
        return self.replayed(use, x)

    def _record_use(self, rule_class: type[Rule], layer: nn.Module, names: Names, x: Tensor) -> Tensor:
        rule = rule_class(layer, tuple(names), self.units)
        y = rule.forward(x)
        if torch.is_grad_enabled() and not y.requires_grad:
            y = Anchor.apply(y, self.anchor.to(y.device))
        if not self._closed:
            use = Use(rule, names, x.detach())
            self.uses.append(use)
            self.seen_bytes += x.numel() * x.element_size()
            if y.requires_grad:
                y.register_hook(lambda e: self._receive(use, e))
        return y

    def _receive(self, use: Use, e: Tensor) -> None:
        if self.receive is not None:
            self.receive(use, e)

    # -- backward --------------------------------------------------------------------------------------------------

    def backward(
        self,
        outputs: Sequence[Tensor],
        cotangents: Sequence[Tensor | None],
        receive: Callable[[Use, Tensor], None],
        *,
        keep: bool,
    ) -> dict[str, Tensor]:
        """Send gradients back to the layers' outputs; ``receive`` gets each layer's, in reverse order.

        Returns:
            The gradients of the parameters that no layer's rule takes care of, (U, *shape).
        """
        wanted = [self.anchor, *self.leaves.values()]
        pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad and c is not None]
        if not pairs:
            return {}
        self.differentiated = True

        def differentiate() -> tuple[Tensor | None, ...]:
            ends, given = zip(*pairs, strict=True)
            return torch.autograd.grad(ends, wanted, given, retain_graph=keep, allow_unused=True)

        self.receive = receive
        try:  # checkpointed blocks run again in here, hence among the same parameters
            found = self.network.run(differentiate, self._forwards(self.leaves), self.leaves, self)
        finally:
            self.receive = None
        # Copies, since autograd may hand out memory that layers' own gradients lie in, too.
        return {name: g.clone() for name, g in zip(self.leaves, found[1:], strict=True) if g is not None}


def _stacked(*each: Any) -> Any:
    """Return one tensor of the units' own, or what is the same for all of them."""
    if isinstance(each[0], Tensor):
        return torch.stack(each)
    if any(other != each[0] for other in each[1:]):
        raise NoRule(f"a layer gives {each[0]!r} for one sample and {each[-1]!r} for another")
    return each[0]
