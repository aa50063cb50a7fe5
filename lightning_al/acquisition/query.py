"""What an acquisition is given: rows of candidates, and what it may learn from."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_al.campaign.states import State
from lightning_al.distributed.shard import Shard

Rows = Mapping[str, Tensor]
"""What an acquisition made of samples, by name, one row each; their dataset indices are ``"index"``."""


class RowSource(Protocol):
    """What a pass over samples needs of an acquisition: each attribute is that of ``Acquisition``."""

    gathers: ClassVar[bool] = True

    @property
    def sees_samples(self) -> bool:
        """Whether there is a pass at all; there is, unless overridden."""
        return True

    @property
    def batch_multiple(self) -> int:
        """Batches are cut only at multiples of this; anywhere, unless overridden."""
        return 1

    @property
    def differentiates(self) -> bool:
        """Whether rows are made of gradients of the model; they are not, unless overridden."""
        return False

    @property
    def name_in_errors(self) -> str:
        """Whose rows they are; the class, unless overridden."""
        return type(self).__name__

    def begin_pass(self, indices: Tensor) -> None:
        """Take note of the samples that come next; nothing is done, unless overridden."""
        return

    def begin_batch(self, indices: Tensor) -> None:
        """Take note of the samples of the next batch; nothing is done, unless overridden."""
        return

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return what is to be known of each sample of a batch."""


class LocalRows(dict[str, Tensor]):
    """The rows of those samples that one process scored.

    Args:
        rows: By name.
        shard: Which of all rows they are.
    """

    def __init__(self, rows: Rows, shard: Shard) -> None:
        super().__init__(rows)
        self.shard = shard


@dataclass(frozen=True)
class Query:
    """What an acquisition may learn from in :meth:`Acquisition.learn`; the same on every rank.

    Attributes:
        trainer: The user's. Networks of one's own get a Trainer of their own, with this one's accelerator, devices and
            precision.
        model: The user's, as it was fitted.
        round: Which round.
        size: How many samples there are, labelled or not; known ones beside the pool have the numbers after its own.
        seed: For every draw; follows from the campaign's seed and the round.
        candidates: Dataset indices that are to be scored, in order.
        labelled: Dataset indices of the labelled samples.
        loader: ``loader(batches)``: the samples of these batches of dataset indices, of which there may be infinitely
            many, as the pool pass sees them, without augmentation. The same on every rank that asks. Labelled ones come
            with the labels that were told.
        to_device: ``to_device(batch, device)``: a batch of the loader there, moved by the project's own hooks.
        score: ``score(acquisition, indices)``: an acquisition's rows of the samples of these dataset indices, from a
            pass over them on all processes; they are on rank zero, and all ranks must ask.
        keep: ``keep(name, make)``: what ``make()`` returns on rank zero, on every rank. It is put in the campaign's
            folder, and a killed campaign that goes on finds it there and does not make it again.
        refit: ``refit(member, redraw)``: the parameters and buffers of a further fit of the model on what is labelled,
            number ``member`` from 1, with an order of the samples and other draws of its own; with ``redraw`` from
            random initial weights of its own too. Afterwards model and Trainer are as they were. Every rank must call
            it. Callbacks that look after themselves between rounds can tell such a fit by its coming between
            ``on_query_start`` and ``on_query_end``.
    """

    trainer: pl.Trainer
    model: pl.LightningModule
    round: int
    size: int
    seed: int
    candidates: Tensor
    labelled: Tensor
    loader: Callable[[Iterable[list[int]]], DataLoader]
    to_device: Callable[[Any, torch.device], Any]
    score: Callable[[RowSource, Tensor], Rows]
    keep: Callable[[str, Callable[[], State]], State]
    refit: Callable[[int, bool], State]
