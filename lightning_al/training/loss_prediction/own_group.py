"""Parameters that join whatever optimizer a user's module makes, as a group of their own, and stay trained by it."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_al.inference.replaced import replaced


class OwnGroup(NamedTuple):
    """A group of an optimizer.

    Attributes:
        group: The optimizer's own.
        rate: The learning rate that it was made with, before a schedule that begins elsewhere changed it.
    """

    group: dict[str, Any]
    rate: float | None


@contextmanager
def own_group(parameters: Mapping[str, nn.Parameter], options: dict[str, Any]) -> Iterator[list[OwnGroup]]:
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
        >>> sgd.param_groups[1] is made[0].group
        True
    """
    ours = {id(p) for p in parameters.values()}
    made: list[OwnGroup] = []
    original = Optimizer.__init__

    def init(self: Optimizer, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            original(self, params, defaults)  # which refuses it
        groups = list(params)
        if not groups or not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        remaining, named = [], False
        for group in groups:
            if any(group is own.group for own in made):
                remaining.append(group)
                continue
            members = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
            named = named or any(isinstance(p, tuple) for p in members)
            rest = [p for p in members if id(p[1] if isinstance(p, tuple) else p) not in ours]
            if rest or not members:
                remaining.append({**group, "params": rest})
        if not made:
            remaining.append({"params": list(parameters.items() if named else parameters.values()), **options})
        original(self, remaining, defaults)
        if not made:
            group = self.param_groups[-1]
            rate = group.get("lr")
            if isinstance(rate, Tensor):  # the groups share it
                group["lr"] = rate.clone()
            made.append(OwnGroup(group, None if rate is None else float(rate)))

    with replaced(Optimizer, "__init__", init):
        yield made


def join_optimizer(
    model: LightningModule,
    parameters: Callable[[], Mapping[str, nn.Parameter]],
    options: dict[str, Any],
    joined: Callable[[float | None], None],
) -> None:
    """Have the next call of ``model.configure_optimizers``, wherever it is defined, make a group of their own.

    On the instance, since the command line and the loop put theirs there.

    Args:
        model: Whose optimizer is joined.
        parameters: Gives them by name, once the optimizer is made.
        options: The group's own.
        joined: Called with the learning rate that the group was made with.
    """
    original = model.configure_optimizers

    @functools.wraps(original)
    def configure_optimizers() -> Any:
        joining.close()
        with own_group(parameters(), options) as made:
            configured = original()

        if not made:
            raise MisconfigurationException(
                f"{type(model).__name__}.configure_optimizers made no optimizer, which the parameters of the loss "
                "prediction could join. Make it there, and not before."
            )
        joined(made[0].rate)
        return configured

    joining = replaced(model, "configure_optimizers", configure_optimizers)


def check_trained(model: nn.Module, part: nn.Module, optimizers: Iterable[Optimizer]) -> None:
    """Refuse a fit whose optimizers step the model and not the part of it that joined one of them.

    Raises:
        MisconfigurationException: With what to do.
    """
    stepped = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    ours = {id(p) for p in part.parameters()}
    # Under strategies that shard, an optimizer may have other tensors for all of them.
    if not ours & stepped and any(id(p) in stepped for p in model.parameters()):
        raise MisconfigurationException(
            f"The optimizer that {type(model).__name__}.configure_optimizers returned does not have the parameters of "
            "the loss prediction, which joined the first one that it made. Make the returned one first, or on the "
            "groups of the other (`other.param_groups`)."
        )


def hold_rate(optimizers: Iterable[Optimizer], part: nn.Module, rate: float | None) -> None:
    """Set the learning rate of the part's group back, whatever schedules made of it since the last step."""
    if rate is None:
        return
    first = next(part.parameters())
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if any(p is first for p in group["params"]):
                group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate
