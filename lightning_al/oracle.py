"""Where labels come from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from torch.utils.data import Dataset

from lightning_al.task import Task


class _Skip:
    def __repr__(self) -> str:
        return "SKIP"

    def __reduce__(self) -> str:
        return "SKIP"


SKIP: Final = _Skip()
"""The answer of an annotator who declines; the sample is never asked for again."""


class Oracle(ABC):
    """Answers questions for labels, at once or days later, wholly or in part.

    Only rank 0 asks. What :meth:`poll` returned is on disk before anything else happens; until then a kill may lose
    it, so a request is repeated after a resume and **must be idempotent**: asking again for an index that is already
    with the annotators must not ask them twice.
    """

    annotator: str = ""
    """Who answers; recorded in the ledger."""

    @abstractmethod
    def request(self, indices: Sequence[int]) -> None:
        """Ask for the labels of dataset ``indices``."""

    @abstractmethod
    def poll(self) -> dict[int, Any]:
        """Return the answers that are there, ``{dataset index: label or SKIP}``, possibly none. Never blocks long."""


def encode_answers(answers: dict[int, Any], task: Task) -> tuple[dict[int, Any], list[int]]:
    """Split answers into labels, as JSON values by dataset index, and declined indices.

    Raises:
        TypeError: If a label is not of the task's kind; the index is named.
    """
    told: dict[int, Any] = {}
    for index, label in answers.items():
        if label is SKIP:
            continue
        try:
            told[index] = task.encode_label(label)
        except TypeError as error:
            raise TypeError(f"The label of dataset index {index} cannot be taken: {error}") from None
    return told, [index for index, label in answers.items() if label is SKIP]


class DatasetOracle(Oracle):
    """Reveals the data set's own labels: a simulated campaign, as the papers run.

    Args:
        dataset: A map-style data set with labels.
        task: Finds the label in a sample.
    """

    annotator = "dataset"

    def __init__(self, dataset: Dataset, task: Task) -> None:
        self.dataset = dataset
        self.task = task
        self._asked: list[int] = []

    def request(self, indices: Sequence[int]) -> None:
        """See :meth:`Oracle.request`."""
        self._asked.extend(i for i in indices if i not in self._asked)

    def poll(self) -> dict[int, Any]:
        """Answer everything asked, at once."""
        answers = {i: self.task.targets(self.dataset[i]) for i in self._asked}
        self._asked.clear()
        return answers


class AwaitTell(Oracle):
    """Leaves every answer to :meth:`ActiveLearningLoop.tell`: for people, and for data sets without labels."""

    def request(self, indices: Sequence[int]) -> None:
        """Do nothing: the question is in the ledger and in what ``ask`` returned."""

    def poll(self) -> dict[int, Any]:
        """Know nothing yet."""
        return {}
