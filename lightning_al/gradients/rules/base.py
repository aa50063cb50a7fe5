"""What a layer contributes to per-sample gradients: the base of all rules, and their register."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from lightning_al.gradients.costs import LayerCosts, units_at_once
from lightning_al.gradients.errors import NoRule

_LOST = 1e-5  # of a squared norm, to rounding

T = TypeVar("T")

Gradients = dict[str, Tensor]
"""Per-unit gradients of a layer's parameters by attribute name, (U, *shape) each."""


Move = Callable[[slice, Gradients], Gradients]
"""From gradients of some rows of a layer's parameters to the units' own weights there."""


class Rule(ABC):
    """The per-sample gradients of one call of a layer, ``y = layer(x)`` with tensors of the batch first.

    The engine calls a layer with its weights detached, learns the gradient ``e`` of the loss towards the output ``y``,
    and asks the rule for what follows from ``(x, e)``. A *unit* is what shares one gradient: a sample, or a group of
    them. ``x``, ``e`` and ``y`` have N rows, N a multiple of the number of units U, and the rows of a unit follow one
    another; sums over a unit's rows are the rule's.

    To teach the engine a layer of one's own, define :meth:`gradients` and :meth:`perturbed` and register the class.
    Layers without a rule are exact too, through ``torch.func``, only slower.

    Args:
        module: The layer, or a twin of it whose parameters are detached tensors, in float32 at least.
        names: Attribute names of the parameters to differentiate.
        units: U.

    Example:
        >>> class Scale(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.scale = nn.Parameter(torch.ones(3))
        ...
        ...     def forward(self, x):
        ...         return x * self.scale
        >>> @register_rule(Scale)
        ... class ScaleRule(Rule):
        ...     def gradients(self, x, e):
        ...         return {"scale": self.sum_rows(e * x)}
        ...
        ...     def perturbed(self, x, weights):
        ...         return x * self.per_row(weights["scale"], x)
        >>> from lightning_al import functional as F_al
        >>> F_al.gradient_norm(nn.Sequential(Scale(), nn.Linear(3, 2)), torch.ones(4, 3)).shape
        torch.Size([4])
    """

    low_rank: ClassVar[bool] = False
    """Whether the rule also knows :meth:`square_norms` and :meth:`moved_along` from inner products of ``x`` and ``e``,
    without forming any gradient."""

    features_dim: ClassVar[int] = -1
    """Which dimension of an output holds its features; all but this and the rows are positions."""

    takes_images: ClassVar[bool] = False
    """Whether the layer is faster on a CPU with the channels of images (N, C, H, W) last in memory."""

    takes_planes: ClassVar[bool] = False
    """Whether the layer is so much slower with them last that others gain nothing: one that works on each plane."""

    def __init__(self, module: nn.Module, names: tuple[str, ...], units: int) -> None:
        self.module = module
        self.names = names
        self.units = units

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        """Whether the rule holds for this very layer and its options."""
        return True

    @classmethod
    def with_options(cls, module: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> nn.Module:
        """Return the layer that gives for ``x`` alone what ``module`` gives for ``x`` and further arguments.

        Raises:
            NoRule: If there is none, as by default.
        """
        raise NoRule(f"{type(module).__name__} called with {1 + len(args)} arguments and {sorted(kwargs)}")

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        y: Tensor = self.module.forward(x)  # without hooks, which the call from outside runs
        return y

    @abstractmethod
    def gradients(self, x: Tensor, e: Tensor) -> Gradients:
        """Return each unit's gradient of each parameter in ``names``: (U, ...), ``...`` its shape."""

    @abstractmethod
    def perturbed(self, x: Tensor, weights: Gradients) -> Tensor:
        """Return the output where each unit has its own ``weights`` (U, ...) in place of those in ``names``."""

    def positions(self, e: Tensor) -> int:
        """Return how often the weights were applied to one unit."""
        return e.numel() // max(self.units * e.shape[self.features_dim], 1)

    # -- inner products instead of gradients, where that is cheaper ------------------------------------------------

    def prefers_inner_products(self, x: Tensor, e: Tensor, perturb: bool) -> bool:
        """Whether inner products cost less than gradients for these sizes.

        ``perturb``: a second pass follows.
        """
        costs = self.costs(x, e, perturb)
        return costs is not None and costs.by_inner_products < costs.by_gradients

    def costs(self, x: Tensor, e: Tensor, perturb: bool) -> LayerCosts | None:
        """Return what gradients cost one unit for these sizes, and what inner products do, where both are known."""
        return None

    def beyond_loop(self, x: Tensor, e: Tensor, perturb: bool) -> float:
        """Return how much more one unit costs by the rule, in a batch, than by itself; below 0, how much less.

        In multiply-adds of a matrix product, which :mod:`~lightning_al.gradients.costs` counts.
        """
        costs, weights = self.costs(x, e, perturb) or LayerCosts(), 0
        if "weight" in self.names:
            weights = self.module.weight.numel()  # type: ignore[operator,union-attr]
        else:
            costs = LayerCosts()
        if not self.low_rank:
            costs = costs._replace(by_inner_products=math.inf)
        return costs.beyond_loop(weights, self.dearer_numbers(e), e.device, perturb=perturb)

    def dearer_numbers(self, e: Tensor) -> float:
        """Return how many numbers of one unit's output cost more where each unit of a batch has its own weights."""
        return e.numel() / self.units

    def square_norms(self, x: Tensor, e: Tensor, cache: dict[str, Any]) -> Gradients | None:
        """Return the squared L2 norm of each parameter's gradient, (U,). ``cache`` lives as long as ``x``.

        None where terms cancel so far that rounding is what is left; :meth:`gradients` is used then.
        """
        raise NotImplementedError

    def inner_product_bytes(self, x: Tensor, e: Tensor) -> int:
        """Return about what :meth:`square_norms` and :meth:`moved_along` hold at once beside ``x`` and ``e``."""
        return 0

    def moved_along(self, x: Tensor, then: Tensor, e: Tensor, step: Tensor, cache: dict[str, Any]) -> Tensor:
        """Return the output for ``x`` with ``step`` (U,) times the gradient of ``(then, e)`` added to the weights."""
        raise NotImplementedError

    def units_at_once(self, weights: int, e: Tensor) -> int:
        """Return how many units' gradients to form in one call, where ``weights`` parameters are asked for."""
        return units_at_once(self.units, weights, self.positions(e), e.device)

    def for_units(self, units: int) -> "Rule":
        """Return the same rule for the rows of fewer units."""
        fewer = copy.copy(self)
        fewer.units = units
        return fewer

    # -- gradients that are used up at once, so that not all of a layer's need exist --------------------------------

    def blocks(self, x: Tensor, e: Tensor) -> Iterator[tuple[slice, Gradients]]:
        """Yield :meth:`gradients` a part at a time: which rows of each parameter, and theirs, (U, rows, ...).

        What was yielded may be overwritten by what comes next.
        """
        yield slice(None), self.gradients(x, e)

    def perturbed_along(self, x: Tensor, then: Tensor, e: Tensor, move: Move) -> Tensor:
        """Return :meth:`perturbed`, with the weights that ``move`` makes of the gradients of ``(then, e)``."""
        return self.perturbed(x, move(slice(None), self.gradients(then, e)))

    # -- for rules to use ------------------------------------------------------------------------------------------

    def sum_rows(self, values: Tensor) -> Tensor:
        """Add up the rows of each unit, (N, ...) -> (U, ...)."""
        return values if len(values) == self.units else values.unflatten(0, (self.units, -1)).sum(1)

    def rows(self, values: Tensor, n: int) -> Tensor:
        """Give each row its unit's values, (U, ...) -> (n, ...)."""
        return values if n == self.units else values.repeat_interleave(n // self.units, 0)

    def per_row(self, values: Tensor, x: Tensor, dim: int = -1) -> Tensor:
        """Give each row of ``x`` its unit's vector, (U, d), shaped to broadcast along dimension ``dim`` of ``x``."""
        shape = [len(x)] + [1] * (x.ndim - 1)
        shape[dim] = -1
        return self.rows(values, len(x)).reshape(shape)


RuleClass = type[Rule]
_RULES: dict[type[nn.Module], RuleClass] = {}


def register_rule(*layers: type[nn.Module]) -> Callable[[RuleClass], RuleClass]:
    """Class decorator: use the rule for these layer types, and for derived ones that inherit ``forward`` as it is."""

    def register(rule: RuleClass) -> RuleClass:
        for layer in layers:
            _RULES[layer] = rule
        return rule

    return register


def registered(register: Mapping[type[nn.Module], T], module: nn.Module) -> T | None:
    """Return what is registered for a layer's type, or for the one that it inherits ``forward`` from."""
    own = type(module).forward
    for base in type(module).__mro__:
        found = register.get(base)
        # A derived layer may compute something else.
        if found is not None and getattr(base, "forward", None) is own and "forward" not in vars(module):
            return found
    return None


def find_rule(module: nn.Module) -> RuleClass | None:
    """Return the rule that holds for a layer, if there is one."""
    rule = registered(_RULES, module)
    return rule if rule is not None and rule.accepts(module) else None


def sum_of_products(a: Tensor, b: Tensor, units: int) -> Tensor | None:
    """``Σ a ∘ b`` over all but the units, (U,); None where terms cancel so far that rounding is what is left."""
    both = (a * b).view(units, -1)
    total = both.sum(1).clamp(min=0)
    lost = both.abs_().sum(1) * torch.finfo(both.dtype).eps
    return None if bool((lost > _LOST * total).any()) else total
