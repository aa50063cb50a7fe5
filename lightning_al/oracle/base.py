"""The base of all oracles, and the prices of labels."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.checks import check_type
from lightning_al.oracle.truth import Truth
from lightning_al.tasks.base import Task


class Unreachable(ConnectionError):
    """The annotators cannot be reached now, which may be otherwise in an hour: the campaign waits, as for answers."""


class Oracle(ABC):
    """Answers questions for labels, at once or days later, wholly or in part.

    Only rank 0 asks. What :meth:`poll` returned is on disk before anything else happens; until then a kill may lose
    it, so a request is repeated after a resume and **must be idempotent**: asking again for an index that is already
    with the annotators must not ask them twice. Under a strategy that starts processes of its own (spawn, fork) it is a
    copy that is asked; state belongs in a file or a service.

    Indices are those of the dataset as it is in this launch. What is kept for another one must go by
    :meth:`OpenQuestion.key`, where the dataset may change in between.

    Most need :meth:`request` and :meth:`poll` alone. One for people may say who answered (:meth:`annotator_of`),
    show the model's predictions (:attr:`wants_predictions`), go on changing its answers (:attr:`corrects`), and raise
    :class:`Unreachable` in both methods.
    """

    annotator: str = ""
    """Who answers; recorded in the ledger."""

    simulated: bool = False
    """Whether answers come from labels that the dataset has anyway, so that methods may read them all."""

    wants_predictions: bool = False
    """Whether :meth:`OpenQuestion.prediction` is to be there, for which each question's samples pass the model once."""

    corrects: bool = False
    """Whether answers may change after they were taken, so that it is polled, once a round, with nothing pending too.

    An answer that is repeated as it was is not written again.
    """

    truth: Truth | None = None
    """Of a simulated oracle, once bound, where the labels are that it answers with. None: the loop's dataset has them.
    """

    def bind(self, dataset: Dataset, task: Task) -> None:  # noqa: B027 - most need neither
        """Take note of the training dataset and the task; called once they are known, before any question."""

    def check(self) -> None:  # noqa: B027
        """Refuse what the first question would fail on; on rank 0, before a campaign begins, once bound.

        Raises:
            ValueError: With what to do; nothing has been written then.
        """

    def annotator_of(self, index: int) -> str:
        """Return who gave the last answer that :meth:`poll` returned for this index; by default :attr:`annotator`."""
        return self.annotator

    def cost(self, index: int) -> float:
        """How much of the loop's ``budget`` a label of this sample takes; 1 by default. A skipped one takes nothing.

        The same whenever it is asked.
        """
        return 1.0

    @abstractmethod
    def request(self, indices: Sequence[int]) -> None:
        """Ask for the labels of dataset ``indices``, all that are pending.

        Args:
            indices: From the loop an :class:`OpenQuestion`, which also has keys, samples and predictions.
        """

    @abstractmethod
    def poll(self) -> dict[int, Any]:
        """Return the answers that are there, ``{dataset index: label or SKIP}``, possibly none.

        Never blocks long.
        """

    def acknowledge(self) -> None:  # noqa: B027
        """Take note that all that :meth:`poll` returned is on disk and need not be returned again."""


def truth_of(oracle: Oracle | None, data: Any, task: Task) -> Truth | None:
    """Return where a simulated oracle, which is bound to the data, has its labels from; None for any other.

    Args:
        oracle: Of a campaign; None: it is not known.
        data: The campaign's :class:`~lightning_al.data.datamodule.ActiveDataModule`, open.
        task: As the loop's.

    Raises:
        TypeError: If it is no oracle, or does not go with the data.
        ValueError: If the oracle does not go with the data.
    """
    check_type("oracle", oracle, (Oracle, type(None)), "an `Oracle`, as the loop's")
    if oracle is None or not oracle.simulated:
        return None
    oracle.bind(data.samples.label_set, task)
    return oracle.truth or Truth(data.samples.pool.label_set, task)


def cost_the_same(oracle: Oracle) -> bool:
    """Whether all labels cost 1."""
    return type(oracle).cost is Oracle.cost


def costs(oracle: Oracle, indices: Sequence[int] | Tensor) -> Tensor:
    """What labels of dataset ``indices`` cost, (N,) float64.

    Raises:
        ValueError: If a cost is negative or not finite; the index is named.
    """
    if cost_the_same(oracle):
        return torch.ones(len(indices), dtype=torch.float64)
    indices = indices.tolist() if isinstance(indices, Tensor) else indices
    prices = [float(oracle.cost(i)) for i in indices]
    for index, price in zip(indices, prices, strict=True):
        if not (price >= 0 and math.isfinite(price)):
            raise ValueError(
                f"`{type(oracle).__name__}.cost` must give a number of at least 0, got {price} for dataset index "
                f"{index}."
            )
    return torch.tensor(prices, dtype=torch.float64)
