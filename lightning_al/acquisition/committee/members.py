"""Where the members of a committee come from: the interface, and further fits of the model."""

from collections.abc import Callable, Mapping
from functools import partial

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_al.acquisition.query import Query
from lightning_al.campaign.states import State

Member = Mapping[str, Tensor] | None
"""The parameters and buffers of a member; None: the model as it is."""


class Members:
    """A source of members, which may take part in the fit of each round.

    Args:
        count: How many members.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def of(self, query: Query) -> list[Member]:
        """Return the members that vote in a query. Every rank calls it."""
        raise NotImplementedError(f"{type(self).__name__} must define `of`.")

    def begin_round(self, save: Callable[[str, State], None]) -> None:
        """Begin a round of a loop; ``save(name, state)`` keeps a state with the campaign for the query that follows."""

    def leave(self) -> None:
        """Leave the loop."""

    def check_fit(self, trainer: pl.Trainer) -> None:
        """Refuse a fit, before it begins, that the source cannot work with."""

    def begin_training(self, trainer: pl.Trainer, *, automatic: bool) -> None:
        """Begin a fit; ``automatic``: whether Lightning steps the optimizer."""

    def before_batch(self, trainer: pl.Trainer, batch_idx: int) -> None:
        """Do what is due before a training batch."""

    def after_batch(self, trainer: pl.Trainer, model: pl.LightningModule, batch_idx: int) -> None:
        """Do what is due after a training batch."""


class FurtherFits(Members):
    """The round's own fit, and further fits on the same labels.

    Args:
        count: How many members, the round's own fit among them.
        redraw: Whether further fits begin with random weights of their own.
    """

    def __init__(self, count: int, *, redraw: bool) -> None:
        super().__init__(count)
        self.redraw = redraw

    def of(self, query: Query) -> list[Member]:
        """Fit the members, but for those that the campaign has."""
        # Members that are made with other options have other names.
        name = "member_{}" if self.redraw else "member_{}_not_redrawn"
        further = range(1, self.count)
        return [None, *(query.keep(name.format(i), partial(query.refit, i, self.redraw)) for i in further)]


def moved_to(device: torch.device, members: list[Member]) -> list[Member]:
    """Return the members on the device that the model is on, once and for all; where memory is short, as they are."""
    away = [t for member in members if member is not None for t in member.values() if t.device != device]
    if device.type == "cuda" and 2 * sum(t.nbytes for t in away) > torch.cuda.mem_get_info(device)[0]:
        return members
    if not away:
        return members
    return [None if member is None else {name: t.to(device) for name, t in member.items()} for member in members]
