"""Where labels come from."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from torch.utils.data import Dataset

from lightning_al.task import Task

DATASET = "dataset"
"""The annotator who reveals the data set's own labels."""


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
    with the annotators must not ask them twice. Under a strategy that starts processes of its own (spawn, fork) it is a
    copy that is asked; state belongs in a file or a service.
    """

    annotator: str = ""
    """Who answers; recorded in the ledger."""

    simulated: bool = False
    """Whether answers come from labels that the data set has anyway, so that methods may read them all."""

    @abstractmethod
    def request(self, indices: Sequence[int]) -> None:
        """Ask for the labels of dataset ``indices``."""

    @abstractmethod
    def poll(self) -> dict[int, Any]:
        """Return the answers that are there, ``{dataset index: label or SKIP}``, possibly none. Never blocks long."""


class Answers(NamedTuple):
    """Answers by dataset index: labels as JSON values, what was declined, and why a label cannot be taken."""

    told: dict[int, Any]
    skipped: list[int]
    refused: dict[int, str]

    def check(self) -> None:
        """Refuse labels that are not of the task's kind.

        Raises:
            TypeError: Naming each index and what is wrong with its label.
        """
        if self.refused:
            of_reason: dict[str, list[int]] = {}
            for index, reason in self.refused.items():
                of_reason.setdefault(reason, []).append(index)
            said = " ".join(
                f"Dataset index {', '.join(map(str, indices[:5]))}{', ...' * (len(indices) > 5)}: {reason}"
                for reason, indices in list(of_reason.items())[:5]
            )
            raise TypeError(f"{len(self.refused)} label(s) cannot be taken. {said}")


def sort_answers(answers: dict[int, Any], task: Task) -> Answers:
    """Split an oracle's answers into labels, declined indices and labels that cannot be taken."""
    sorted_answers = Answers({}, [], {})
    for index, label in answers.items():
        if label is SKIP:
            sorted_answers.skipped.append(index)
            continue
        try:
            value = task.encode_label(label)
            json.dumps(value)
            sorted_answers.told[index] = value
        except (TypeError, ValueError) as error:
            sorted_answers.refused[index] = str(error)
    return sorted_answers


class DatasetOracle(Oracle):
    """Reveals the data set's own labels: a simulated campaign, as the papers run.

    Args:
        dataset: A map-style data set with labels.
        task: Finds the label in a sample.
    """

    annotator = DATASET
    simulated = True

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
