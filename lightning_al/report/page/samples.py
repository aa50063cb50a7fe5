"""The samples of a campaign's pool as they are today: found by their keys, and looked at as people would."""

import contextlib
import zlib
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from lightning_al._compat import quiet_infos
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.distributed.randomness import draws_undone
from lightning_al.inference.trainer import quiet_trainer
from lightning_al.report.page.pictures import Look, picture_of, values_of
from lightning_al.tasks.annotations import annotation_of
from lightning_al.tasks.base import Task
from lightning_al.tasks.classification import ClassificationTask
from lightning_al.tasks.texts import text_of

_SIDE = 8  # of the pictures that images are compared by
_WORDS = 256  # places of a text's words


class PoolSamples:
    """The samples that a campaign may ask for.

    Args:
        data: Open.
        task: What is where in a sample.
    """

    def __init__(self, data: ActiveDataModule, task: Task) -> None:
        self._data = data
        self._task = task
        self._dataset: Any = data.samples.shown
        self._looks: dict[int, Look | None] = {}

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
        text = text_of(self._dataset, place)
        if text is not None:
            return Look(text=text)
        inputs = self._task.inputs(self._dataset[place])
        entries = list(inputs.values()) if isinstance(inputs, dict) else inputs
        for value in entries if isinstance(entries, (list, tuple)) else [entries]:
            if isinstance(value, str):
                return Look(text=value)
            if hasattr(value, "convert") or getattr(value, "ndim", 0) > 1:
                picture = picture_of(value)
                if picture is not None:
                    return Look(image=picture)
            elif isinstance(value, (Tensor, np.ndarray)):
                return Look(values=values_of(value))
        return Look()

    def own_label(self, place: int, classes: list[str] | None) -> Any:
        """Return the label that the data themselves have, as people say it; None if they have none."""
        try:
            with draws_undone():
                return annotation_of(self._data.samples.pool.own_label(place), classes)
        except Exception:  # the data may have none, or raise where it is asked for
            return None

    def features(self, place: int) -> np.ndarray | None:
        """Return what a sample is compared by: a tiny picture, a text's words, or its numbers; None for nothing."""
        look = self.look(place)
        if look is None:
            return None
        if look.image is not None:
            return np.asarray(look.image.resize((_SIDE, _SIDE)), dtype=np.float64).reshape(-1) / 255
        if look.text is not None:
            counts = np.zeros(_WORDS)
            for word in look.text.lower().split():
                counts[zlib.crc32(word.encode("utf-8", "replace")) % _WORDS] += 1
            return counts / (np.linalg.norm(counts) or 1.0)
        if not look.values:
            return None
        with draws_undone():
            value = self._task.inputs(self._dataset[place])
        flat = torch.as_tensor(value).detach().double().reshape(-1).numpy() if not isinstance(value, dict) else None
        return flat if flat is not None and np.isfinite(flat).all() else None


@contextlib.contextmanager
def open_samples(
    datamodule: pl.LightningDataModule, *, task: Task | None = None, pool: str = "auto"
) -> Iterator[PoolSamples]:
    """Open the data of a campaign, to be looked at.

    Args:
        datamodule: The project's.
        task: As the loop's.
        pool: As the loop's.

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
        yield PoolSamples(data, task)
    finally:
        data.close()
