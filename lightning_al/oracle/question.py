"""What is asked and not answered yet, with all that a person needs to see to answer it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch.utils.data import Dataset

from lightning_al.oracle.regions import Region


class Prediction(NamedTuple):
    """What the model says of a sample that it picked.

    Args:
        label: Its label, as the task's ``decode_label`` gives it.
        confidence: How sure it is, 0 to 1: one less the task's least confidence. None where that is not known.
    """

    label: Any
    confidence: float | None


class OpenQuestion(list[int]):
    """The dataset indices that are asked and not answered yet, in the order asked, best first.

    It is a list of ints: an oracle that needs no more than them takes it as one. Tools that people label in go by keys,
    and show the sample and what the model makes of it.

    Args:
        indices: What :meth:`Oracle.request` is asked for.
        dataset: The samples without augmentation, by dataset index.
        folder: The campaign's, where an oracle may keep files of its own.
        keys: What the samples are called that were ever asked for or answered, by dataset index.
        round: The last question's round, -1 for the initial set.
        region_of: Gives the part that a sample is asked for, or None where it is all of it.
        regions_of: Gives all parts that a sample was asked for so far, the oldest first.
        sizes: Width and height of images as the dataset gives them, by dataset index, where labels are masks or boxes.
        predict: Gives the model's predictions of the samples, by dataset index; called when needed.

    Example:
        >>> question = OpenQuestion([7, 2], dataset=list("abcdefgh"), folder=Path("c"), keys={7: "h.png"})
        >>> question, question.key(7), question.key(2), question.sample(7), question.prediction(7)
        ([7, 2], 'h.png', 'index 2', 'h', None)
    """

    def __init__(
        self,
        indices: Iterable[int],
        *,
        dataset: Dataset,
        folder: Path,
        keys: Mapping[int, str],
        round: int = -1,
        region_of: Callable[[int], Region | None] = lambda index: None,
        regions_of: Callable[[int], Sequence[Region]] = lambda index: (),
        sizes: Mapping[int, tuple[int, int]] = MappingProxyType({}),
        predict: Callable[[], Mapping[int, Prediction]] = dict,
    ) -> None:
        super().__init__(indices)
        self.dataset = dataset
        self.folder = folder
        self.round = round
        self._keys = keys
        self._region_of = region_of
        self._regions_of = regions_of
        self._sizes = sizes
        self._predict = predict
        self._predictions: Mapping[int, Prediction] | None = None

    def only(self, indices: Iterable[int]) -> "OpenQuestion":
        """Return the same question of some of the samples."""
        return OpenQuestion(
            indices,
            dataset=self.dataset,
            folder=self.folder,
            keys=self._keys,
            round=self.round,
            region_of=self._region_of,
            regions_of=self._regions_of,
            sizes=self._sizes,
            predict=self._predict,
        )

    def key(self, index: int) -> str:
        """Return what a sample is called. One that is known by its index alone is called by that."""
        return self._keys.get(index, f"index {index}")

    def indices_of(self) -> dict[str, list[int]]:
        """Return the dataset indices of all samples that were ever asked for, by key: equal inputs have one key."""
        of_key: dict[str, list[int]] = {}
        for index in dict.fromkeys([*self._keys, *self]):
            of_key.setdefault(self.key(index), []).append(index)
        return of_key

    def sample(self, index: int) -> Any:
        """Return a sample as it is scored."""
        return self.dataset[index]

    def region(self, index: int) -> Any:
        """Return which pixels of a sample are asked for, a NumPy array of booleans (H, W); None: all of it.

        An answer may be a mask of the whole sample all the same: what was not asked for is not taken.
        """
        region = self._region_of(index)
        return None if region is None else region.pixels

    def part(self, index: int) -> Region | None:
        """Return which part of a sample is asked for, by its name too; None: all of it."""
        return self._region_of(index)

    def parts(self, index: int) -> Sequence[Region]:
        """Return all parts of a sample that were asked for so far, the oldest first; none where it was all of it."""
        return self._regions_of(index)

    def size(self, index: int) -> tuple[int, int] | None:
        """Return width and height of a sample's image as the dataset gives it; None where labels have no place in it.

        Boxes of labels are in these pixels; people may be shown its file, which is larger.
        """
        return self._sizes.get(index)

    def prediction(self, index: int) -> Prediction | None:
        """Return what the model says of a sample; None of the initial set, and where the oracle wants none."""
        if self._predictions is None:
            self._predictions = self._predict()
        return self._predictions.get(index)
