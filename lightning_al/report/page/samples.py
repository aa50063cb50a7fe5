"""The samples of a campaign's pool as they are today: found by their keys, and looked at as people would."""

import contextlib
import zlib
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch

from lightning_al._compat import quiet_infos
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.distributed.randomness import draws_undone
from lightning_al.drawing.signal import is_signal, is_strip
from lightning_al.inference.trainer import quiet_trainer
from lightning_al.oracle.base import Oracle, truth_of
from lightning_al.oracle.people.pictures import array_of, sides_of
from lightning_al.oracle.truth import Truth
from lightning_al.report.page.pictures import Look, picture_of, values_of
from lightning_al.storage.blobs import as_read
from lightning_al.tasks.annotations import annotation_of
from lightning_al.tasks.base import Task
from lightning_al.tasks.classification import ClassificationTask
from lightning_al.tasks.keys import file_of
from lightning_al.tasks.texts import Entry, entries_of, first_text, given_text, input_entries

_SIDE = 8  # of the pictures that images are compared by
_WORDS = 256  # places of a text's words
_MOST_COMPARED = 1024  # numbers of an entry that samples are compared by
_MOST_ROWS = 9  # of numbers that are shown


class PoolSamples:
    """The samples that a campaign may ask for.

    Args:
        data: Open.
        task: What is where in a sample.
        truth: Where a simulated oracle has its labels from; None: it is not known, and looked for in the data
            themselves.
    """

    def __init__(self, data: ActiveDataModule, task: Task, truth: Truth | None = None) -> None:
        self._data = data
        self._task = task
        self.knows_truth = truth is not None
        """Whether labels that nobody told are those that the oracle would say, wherever it has them from."""
        self._truth = truth or Truth(data.samples.pool.label_set, task)
        self._dataset: Any = data.samples.shown
        self._looks: dict[int, Look | None] = {}
        self._features: dict[int, np.ndarray | None] = {}
        self.compared_by: set[str] = set()
        """What :meth:`features` were so far, in words."""

    def __len__(self) -> int:
        return self._data.samples.size

    def place(self, unit: int, key: str | None) -> int | None:
        """Return where a sample is now; None if it is not found.

        Args:
            unit: Where it was when the campaign was last open.
            key: What it is called; None: it is known by its place alone.
        """
        inside = 0 <= unit < len(self)
        if key is None:
            return unit if inside else None
        with draws_undone():
            if inside and self._data.key(unit) in (key, None):
                return unit
            return self._data.places([key]).get(key)

    def look(self, place: int) -> Look | None:
        """Return what there is to see of a sample; None if it cannot be read."""
        if place not in self._looks:
            try:
                with draws_undone():
                    self._looks[place] = self._look(place)
            except Exception:  # the user's data, of any kind
                self._looks[place] = None
        return self._looks[place]

    def _look(self, place: int) -> Look:
        seen = self._seen(place)
        first = seen.entries[0].value if seen.entries else None
        if seen.kind == "text":
            return Look(text=first)
        if seen.kind == "image":
            return Look(image=picture_of(first))
        signal = next((entry.value for entry in seen.entries if is_signal(np.shape(entry.value))), None)
        if signal is not None:
            return Look(image=picture_of(signal))
        several = len(seen.entries) > 1
        rows = [row for name, value in seen.entries for row in values_of(value, (name or "") if several else "")]
        return Look(values=rows[:_MOST_ROWS])

    def _seen(self, place: int) -> "_Seen":
        """Return what of a sample is looked at: what its dataset says, or else what the model sees of it.

        Whole numbers alone, as of tokens, say little: a text beside them goes first.
        """
        said = given_text(self._dataset, place)
        if said is not None:
            return _Seen("text", [Entry("sample_text", said)])
        sample = self._dataset[place]
        entries = input_entries(self._task, sample)
        text = first_text(entries)
        if text is not None:
            return _Seen("text", [text])
        image = next((entry for entry in entries if _is_picture(entry.value)), None)
        if image is not None:
            return _Seen("image", [image])
        numbers = [Entry(name, array) for name, value in entries if (array := _numbers_in(value)) is not None]
        if not any(entry.value.dtype.kind == "f" for entry in numbers) and file_of(self._dataset, place) is None:
            text = first_text(entries_of(sample), self._data.key(place))
        return _Seen("numbers", numbers) if text is None else _Seen("text", [text])

    def own_label(self, place: int, classes: list[str] | None) -> Any:
        """Return the label that a sample has although nobody told it, as people say it; None if it has none."""
        try:
            with draws_undone():
                return annotation_of(as_read(self._task.encode_label(self._truth.label(place))), classes)
        except Exception:  # the data may have none, or raise where it is asked for
            return None

    def features(self, place: int) -> np.ndarray | None:
        """Return what a sample is compared by: a tiny picture, a text's words, or its numbers; None for nothing."""
        if place not in self._features:
            try:
                with draws_undone():
                    seen = self._seen(place)
                    self._features[place] = seen.features()
                    self.compared_by.add(seen.words)
            except Exception:  # the user's data, of any kind
                self._features[place] = None
        return self._features[place]


class _Seen(NamedTuple):
    """What of a sample is looked at: a text, an image, or arrays of numbers."""

    kind: Literal["text", "image", "numbers"]
    entries: list[Entry]

    @property
    def words(self) -> str:
        names = ", ".join(f"`{entry.name}`" for entry in self.entries if entry.name)
        what = {"text": "the words", "image": "the pixels of tiny pictures", "numbers": "the numbers"}[self.kind]
        return f"{what} of {names}" if names else what

    def features(self) -> np.ndarray | None:
        if not self.entries:
            return None
        value = self.entries[0].value
        if self.kind == "text":
            counts = np.zeros(_WORDS)
            for word in value.lower().split():
                counts[zlib.crc32(word.encode("utf-8", "replace")) % _WORDS] += 1
            return counts / (np.linalg.norm(counts) or 1.0)
        if self.kind == "image":
            picture = picture_of(value)
            tiny = None if picture is None else picture.resize((_SIDE, _SIDE))
            return None if tiny is None else np.asarray(tiny, dtype=np.float64).reshape(-1) / 255
        flat = np.concatenate([_thinned(entry.value.astype(np.float64).reshape(-1)) for entry in self.entries])
        return flat if np.isfinite(flat).all() else None


def _is_picture(value: Any) -> bool:
    shape = tuple(getattr(value, "shape", ()))
    if len(shape) == 3 and is_strip(sides_of(shape)):
        return False
    return hasattr(value, "convert") or (2 <= len(shape) <= 4 and not is_signal(shape))


def _numbers_in(value: Any) -> np.ndarray | None:
    """Return a tensor, an array, a number or a list of such as an array; None if it is none of them."""
    try:
        array = array_of(value)
    except ValueError:  # lists of lists of different lengths
        return None
    return array if array.dtype.kind in "iufb" and array.size else None


def _thinned(values: np.ndarray) -> np.ndarray:
    """Return some of many numbers, evenly spread."""
    if len(values) <= _MOST_COMPARED:
        return values
    return values[np.linspace(0, len(values) - 1, _MOST_COMPARED).astype(int)]


@contextlib.contextmanager
def open_samples(
    datamodule: pl.LightningDataModule, *, task: Task | None = None, pool: str = "auto", oracle: Oracle | None = None
) -> Iterator[PoolSamples]:
    """Open the data of a campaign, to be looked at.

    Args:
        datamodule: The project's.
        task: As the loop's.
        pool: As the loop's.
        oracle: As the loop's, which is bound to the data if it is simulated. None: labels that nobody told are looked
            for in the data.

    Yields:
        The samples.
    """
    task = ClassificationTask() if task is None else task
    data = ActiveDataModule(datamodule, task=task, pool_source=pool)
    trainer = quiet_trainer("cpu")
    try:
        with quiet_infos():
            data.begin(trainer)
            data.open(trainer, torch.nn.Identity(), None)
        yield PoolSamples(data, task, truth_of(oracle, data, task))
    finally:
        data.close()
