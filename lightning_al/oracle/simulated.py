"""Oracles that have the answers: a labelled data set, exact or with noise."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from lightning_al.checks import check_number
from lightning_al.data.pool import integers
from lightning_al.distributed.randomness import generator
from lightning_al.oracle.base import DATASET, SKIP, Oracle
from lightning_al.tasks.base import Task


class DatasetOracle(Oracle):
    """Reveals the data set's own labels: a simulated campaign, as the papers run.

    Args:
        dataset: A map-style data set with labels; default the loop's.
        task: Finds the label in a sample; default the loop's.
    """

    annotator = DATASET
    simulated = True

    def __init__(self, dataset: Dataset | None = None, task: Task | None = None) -> None:
        self.dataset = dataset
        self.task = task
        self._asked: list[int] = []

    def bind(self, dataset: Dataset, task: Task) -> None:
        """See :meth:`Oracle.bind`."""
        self.dataset = dataset if self.dataset is None else self.dataset
        self.task = task if self.task is None else self.task

    def request(self, indices: Sequence[int]) -> None:
        """See :meth:`Oracle.request`."""
        self._asked.extend(i for i in indices if i not in self._asked)

    def poll(self) -> dict[int, Any]:
        """Answer everything asked, at once."""
        if self.dataset is None or self.task is None:
            raise RuntimeError("`DatasetOracle` has no data set yet: give it one, or have the loop `bind` it.")
        answers = {i: self.task.targets(self.dataset[i]) for i in self._asked}
        self._asked.clear()
        return answers


class NoisyOracle(Oracle):
    """Another oracle with an annotator's faults, for experiments: wrong labels, none, late ones, at a price.

    What happens to a sample follows from ``seed`` and its dataset index alone: it gets the same answer whenever it is
    asked for, in whatever order, on resume too. Class labels only (integers).

    Args:
        oracle: Who really answers. Default: the data set's own labels.
        flip: Share of labels that are replaced by another class, each other one as likely, 0 to 1.
        classes: How many classes there are; needed to flip.
        abstain: Share of samples that are declined, 0 to 1.
        delay: How often :meth:`poll` is asked in vain before the answer to a request is there. The loop polls once a
            run while it waits, and ``run`` then returns; a process that starts anew begins to count anew, hence not
            for strategies that spawn or fork.
        price: What a label costs: a number for all, or numbers by dataset index (a list with one for each sample, or a
            mapping; what is not in it costs 1).
        seed: Of flips and abstentions.

    Raises:
        TypeError: If ``oracle`` is none, or ``price`` holds what is no number.
        ValueError: If an option is out of range.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> from lightning_al import ClassificationTask
        >>> data = TensorDataset(torch.zeros(6, 2), torch.arange(6) % 3)
        >>> oracle = NoisyOracle(DatasetOracle(data, ClassificationTask()), flip=1.0, classes=3)
        >>> oracle.request([0, 4])
        >>> [int(label) == index % 3 for index, label in oracle.poll().items()]
        [False, False]
    """

    annotator = "noisy"

    def __init__(
        self,
        oracle: Oracle | None = None,
        *,
        flip: float = 0.0,
        classes: int | None = None,
        abstain: float = 0.0,
        delay: int = 0,
        price: float | list[float] | dict[int, float] = 1.0,
        seed: int = 0,
    ) -> None:
        if oracle is not None and not isinstance(oracle, Oracle):
            raise TypeError(f"`oracle` must be an `Oracle`, got {type(oracle).__name__}.")
        for name, share in (("flip", flip), ("abstain", abstain)):
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
                raise ValueError(f"`{name}` must be a share between 0 and 1, got {share!r}.")
        for name, count, least in (("delay", delay, 0), ("classes", classes, 2)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < least):
                raise ValueError(f"`{name}` must be an integer of at least {least}, got {count!r}.")
        if flip > 0 and classes is None:
            raise ValueError(f"`flip={flip}` needs to know how many classes there are: give `classes=`.")
        of_each = isinstance(price, Sequence) and not isinstance(price, str)
        of_some = price.values() if isinstance(price, Mapping) else [price]
        for one in price if of_each else of_some:  # type: ignore[union-attr]
            check_number("price", one, least=0)
        if isinstance(price, Mapping):
            integers(list(price))
        self.oracle = DatasetOracle() if oracle is None else oracle
        self.flip = flip
        self.classes = classes
        self.abstain = abstain
        self.delay = delay
        self.price = price
        self.seed = seed
        self.simulated = self.oracle.simulated
        self._waiting: dict[int, int] = {}
        self._answers: dict[int, Any] = {}

    def bind(self, dataset: Dataset, task: Task) -> None:
        """See :meth:`Oracle.bind`.

        Raises:
            ValueError: If ``price`` is a list that does not have one for each sample.
        """
        size = len(dataset)  # type: ignore[arg-type]
        if isinstance(self.price, Sequence) and len(self.price) != size:
            raise ValueError(f"`price` lists {len(self.price)} prices, but the training set has {size} samples.")
        self.oracle.bind(dataset, task)

    def cost(self, index: int) -> float:
        """See :meth:`Oracle.cost`."""
        if isinstance(self.price, Mapping):
            return float(self.price.get(index, 1.0))
        return float(self.price[index] if isinstance(self.price, Sequence) else self.price)

    def request(self, indices: Sequence[int]) -> None:
        """See :meth:`Oracle.request`."""
        new = [i for i in indices if i not in self._waiting and i not in self._answers]
        self._waiting.update(dict.fromkeys(new, self.delay))
        self.oracle.request(new)

    def poll(self) -> dict[int, Any]:
        """Return what the other oracle answered and is not late, with its faults."""
        self._answers.update(self.oracle.poll())
        due = [i for i in self._answers if self._waiting.get(i, 0) <= 0]
        self._waiting = {i: left - 1 for i, left in self._waiting.items() if i not in due}
        return {i: self._faulty(i, self._answers.pop(i)) for i in due}

    def _faulty(self, index: int, label: Any) -> Any:
        draws = generator(self.seed, "noise", index)
        declined, flipped = torch.rand(2, generator=draws, dtype=torch.float64).tolist()
        if label is SKIP or declined < self.abstain:
            return SKIP
        if flipped >= self.flip:
            return label
        assert self.classes is not None
        shift = 1 + int(torch.randint(self.classes - 1, (), generator=draws))
        return (int(label) + shift) % self.classes
