"""Parameters that join whatever optimizer a user's module makes, as a group of their own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_al.inference.replaced import replaced


@contextmanager
def own_group(parameters: Mapping[str, nn.Parameter], options: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Put parameters into the first optimizer that is made inside the block, as its last group, and into no other.

    One that is given the groups of the first, since it wraps it or is wrapped by it, has this one with the rest. The
    group must be there before schedules are made, which count groups; so the optimizer is met where it is made.

    Args:
        parameters: By name; they are taken out of whatever groups an optimizer is given.
        options: The group's own, such as ``lr``; the others are the optimizer's.

    Yields:
        A list that has the group once the optimizer is made.

    Example:
        >>> import torch
        >>> net, extra = nn.Linear(2, 3), nn.Linear(2, 1)
        >>> with own_group(dict(extra.named_parameters()), {"lr": 0.5}) as made:
        ...     sgd = torch.optim.SGD([*net.parameters(), *extra.parameters()], lr=0.1)
        >>> [(group["lr"], len(group["params"])) for group in sgd.param_groups]
        [(0.1, 2), (0.5, 2)]
        >>> sgd.param_groups[1] is made[0]
        True
    """
    ours = {id(p) for p in parameters.values()}
    made: list[dict[str, Any]] = []
    original = Optimizer.__init__

    def init(self: Optimizer, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            original(self, params, defaults)  # which refuses it
        groups = list(params)
        if not groups or not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        kept, named = [], False
        for group in groups:
            if any(group is g for g in made):
                kept.append(group)
                continue
            given = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
            named = named or any(isinstance(p, tuple) for p in given)
            rest = [p for p in given if id(p[1] if isinstance(p, tuple) else p) not in ours]
            if rest or not given:
                kept.append({**group, "params": rest})
        if not made:
            kept.append({"params": list(parameters.items() if named else parameters.values()), **options})
        original(self, kept, defaults)
        if not made:
            made.append(self.param_groups[-1])

    with replaced(Optimizer, "__init__", init):
        yield made
