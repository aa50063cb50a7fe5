"""Oracles that have the answers: a labelled dataset, exact or with noise."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from lightning_al.checks import Findings, check_count, check_number, check_type
from lightning_al.data.pool import integers
from lightning_al.data.stream import check_map_style
from lightning_al.distributed.randomness import draws_undone, generator
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.skip import ANOTHER_DATASET, DATASET, NOISY, SKIP
from lightning_al.oracle.truth import Truth
from lightning_al.storage.blobs import Blob
from lightning_al.tasks.base import Task, annotation_kind_of
from lightning_al.words import shown


class DatasetOracle(Oracle):
    """Reveals the dataset's own labels: a simulated campaign, as the papers run.

    They stay in the samples that are trained on, as the training set gives them. Labels of another ``dataset`` are put
    in, as those that people tell; so the training set may hide them.

    Args:
        dataset: A map-style dataset with labels, index for index the samples that the loop may ask for; default the
            loop's.
        task: Finds the label in a sample of it; default the loop's.
    """

    annotator = DATASET
    simulated = True

    def __init__(self, dataset: Dataset | None = None, task: Task | None = None) -> None:
        self.dataset = dataset
        self.task = task
        self._own = dataset, task
        self._asked: list[int] = []

    def bind(self, dataset: Dataset, task: Task) -> None:
        """Take the loop's dataset and task, unless it was given its own.

        Raises:
            TypeError: If its own dataset is not map-style.
            ValueError: If its own dataset has another number of samples than the loop's.
        """
        own_dataset, own_task = self._own
        if own_dataset is not None:
            _check_same_size(own_dataset, dataset)
        self.dataset = dataset if own_dataset is None else own_dataset
        self.task = task if own_task is None else own_task
        self.annotator = DATASET if self.dataset is dataset else ANOTHER_DATASET
        self.truth = None if self.dataset is dataset and self.task is task else Truth(self.dataset, self.task)

    def request(self, indices: Sequence[int]) -> None:
        """Take note of what is asked for, to be answered by the next :meth:`poll`."""
        self._asked.extend(i for i in indices if i not in self._asked)

    def poll(self) -> dict[int, Any]:
        """Answer everything asked, at once."""
        if self.dataset is None or self.task is None:
            raise RuntimeError("`DatasetOracle` has no dataset yet: give it one, or have the loop `bind` it.")
        answers = {i: _small(self.task.targets(self.dataset[i]), self.task) for i in self._asked}
        self._asked.clear()
        return answers


class NoisyOracle(Oracle):
    """Another oracle with an annotator's faults, for experiments: wrong labels, none, late ones, at a price.

    What happens to a sample follows from ``seed`` and its dataset index alone: it gets the same answer whenever it is
    asked for, in whatever order, on resume too. Class indices alone are flipped; all else goes with any label.

    Args:
        oracle: Who really answers. Default: the dataset's own labels.
        flip: Share of labels that are replaced by another class, each other one as likely, 0 to 1.
        classes: How many classes there are; needed to flip.
        abstain: Share of samples that are skipped, 0 to 1.
        delay: How often :meth:`poll` is asked in vain before the answer to a request is there. The loop polls once a
            run while it waits, and ``run`` then returns; a process that starts anew begins to count anew, hence not
            for strategies that spawn or fork.
        price: What a label costs: a number for all, or numbers by dataset index (a list with one for each sample, or a
            mapping). Default, and for what is not in a mapping: as ``oracle`` says.
        seed: Of flips and abstentions.

    Raises:
        TypeError: If ``oracle`` is none, or another option, or a price, is no number.
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

    def __init__(
        self,
        oracle: Oracle | None = None,
        *,
        flip: float = 0.0,
        classes: int | None = None,
        abstain: float = 0.0,
        delay: int = 0,
        price: float | list[float] | dict[int, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.oracle = DatasetOracle() if oracle is None else oracle
        with Findings() as findings:
            findings.of(check_type, "oracle", self.oracle, Oracle, "an `Oracle`")
            flip_is_right = findings.of(check_number, "flip", flip, least=0, most=1)
            findings.of(check_number, "abstain", abstain, least=0, most=1)
            findings.of(check_count, "delay", delay, 0)
            findings.of(check_count, "classes", classes, 2, optional=True)
            if price is not None:
                findings.of(_check_prices, price)
            if flip_is_right and flip > 0 and classes is None:
                findings.refuse(f"`flip={flip}` needs to know how many classes there are: give `classes=`.")
        self.flip = flip
        self.classes = classes
        self.abstain = abstain
        self.delay = delay
        self.price = price
        self.seed = seed
        self._waiting: dict[int, int] = {}
        self._answers: dict[int, Any] = {}
        self._bound: Truth | None = None

    @property
    def annotator(self) -> str:  # type: ignore[override]
        """``"noisy"`` where labels are flipped, else who the other oracle says."""
        return NOISY if self.flip > 0 else self.oracle.annotator

    @property
    def simulated(self) -> bool:  # type: ignore[override]
        """As the other oracle."""
        return self.oracle.simulated

    @property
    def truth(self) -> Truth | None:  # type: ignore[override]
        """As the other oracle."""
        return self.oracle.truth

    @property
    def wants_predictions(self) -> bool:  # type: ignore[override]
        """As the other oracle."""
        return self.oracle.wants_predictions

    @property
    def corrects(self) -> bool:  # type: ignore[override]
        """As the other oracle."""
        return self.oracle.corrects

    def annotator_of(self, index: int) -> str:
        """Return ``"noisy"`` where labels are flipped, else who the other oracle says."""
        return NOISY if self.flip > 0 else self.oracle.annotator_of(index)

    def bind(self, dataset: Dataset, task: Task) -> None:
        """Compare the prices with the dataset, and bind the other oracle.

        Raises:
            ValueError: If ``price`` is a list that does not have one for each sample.
        """
        size = len(dataset)  # type: ignore[arg-type]
        if isinstance(self.price, Sequence) and len(self.price) != size:
            raise ValueError(f"`price` lists {len(self.price)} prices, but there are {size} samples to ask for.")
        self.oracle.bind(dataset, task)
        self._bound = Truth(dataset, task)

    def check(self) -> None:
        """Refuse labels that cannot be flipped, and have the other oracle refuse what its first question fails on.

        Raises:
            ValueError: If ``flip`` is above 0 and labels are no class indices, or of fewer than ``classes``.
        """
        if self.flip > 0 and self.classes is not None and self._bound is not None:
            task = self._bound.task
            example = _example(self.truth or self._bound, task)
            if annotation_kind_of(task) not in (None, "class") or not (example is None or isinstance(example, int)):
                raise ValueError(self._unflippable(f"labels of `{type(task).__name__}` are others", example))
            if task.num_classes is not None and self.classes > task.num_classes:
                raise ValueError(
                    f"`NoisyOracle(classes={self.classes})` flips to classes that there are not: "
                    f"`{type(task).__name__}` has {task.num_classes}."
                )
        self.oracle.check()

    def _unflippable(self, what: str, label: Any) -> str:
        seen = "" if label is None else f", such as {shown(label)}"
        return (
            f"`NoisyOracle(flip={self.flip})` makes one class index another, and {what}{seen}. Leave `flip` out "
            "(`abstain`, `delay` and `price` go with any label), or give an `Oracle` of your own that makes labels "
            "wrong."
        )

    def acknowledge(self) -> None:
        """Hand it on, once no answer of the other oracle is held back any more: a kill would lose those."""
        if not self._answers:
            self.oracle.acknowledge()

    def cost(self, index: int) -> float:
        """Return the price of a sample's label."""
        if self.price is None or (isinstance(self.price, Mapping) and index not in self.price):
            return self.oracle.cost(index)
        return float(self.price[index] if isinstance(self.price, (Mapping, Sequence)) else self.price)

    def request(self, indices: Sequence[int]) -> None:
        """Ask the other oracle, and begin to count for what is new."""
        self.oracle.request(indices)
        new = [i for i in indices if i not in self._waiting and i not in self._answers]
        self._waiting.update(dict.fromkeys(new, self.delay))

    def poll(self) -> dict[int, Any]:
        """Return what the other oracle answered and is not late, with its faults."""
        self._answers.update(self.oracle.poll())
        due = [i for i in self._answers if self._waiting.get(i, 0) <= 0]
        self._waiting = {i: left - 1 for i, left in self._waiting.items() if i not in due}
        return {i: self._faulty(i, self._answers.pop(i)) for i in due}

    def _faulty(self, index: int, label: Any) -> Any:
        draws = generator(self.seed, "noise", index)
        abstains, flips = torch.rand(2, generator=draws, dtype=torch.float64).tolist()
        if label is SKIP or abstains < self.abstain:
            return SKIP
        if self.classes is None or flips >= self.flip:
            return label
        shift = 1 + int(torch.randint(self.classes - 1, (), generator=draws))
        try:
            return (int(label) + shift) % self.classes
        except (TypeError, ValueError, RuntimeError):  # a name, a list, a tensor of several
            raise TypeError(self._unflippable(f"the label of dataset index {index} is none", label)) from None


def _small(label: Any, task: Task) -> Any:
    """Return a label as it is kept in a file, if it is: many masks would fill the memory."""
    with contextlib.suppress(TypeError, ValueError):  # what cannot be taken is refused with all others
        encoded = task.encode_label(label)
        return encoded if isinstance(encoded, Blob) else label
    return label


def _example(truth: Truth, task: Task) -> Any:
    """Return a label that the data have, as the ledger would keep it; None where they have none."""
    with contextlib.suppress(Exception), draws_undone():
        return task.encode_label(truth.label(0))
    return None


def _check_same_size(own: Any, dataset: Any) -> None:
    check_map_style(own, "`DatasetOracle(dataset)`")
    if len(own) != len(dataset):
        raise ValueError(
            f"`DatasetOracle(dataset)` has {len(own)} samples, but there are {len(dataset)} to ask for. Both must hold "
            "the same samples in the same order."
        )


def _check_prices(price: Any) -> None:
    if isinstance(price, Mapping):
        integers(list(price))
        prices = list(price.values())
    else:
        prices = list(price) if isinstance(price, Sequence) and not isinstance(price, str) else [price]
    for each in prices:
        check_number("price", each, least=0)
