"""Samples beside the training set that may be asked for: the user's ``unlabelled_dataset()``, found and checked."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.checks import Findings
from lightning_al.data.augmentation import Augment, check_told_labels
from lightning_al.data.augmented import warn_of_both
from lightning_al.data.collate import Collate
from lightning_al.data.keys import SampleKeys
from lightning_al.data.loaders import owner_of
from lightning_al.data.parts import CompletedSamples
from lightning_al.data.pool_set import find_known_samples, find_training_samples
from lightning_al.data.readable import readable
from lightning_al.data.samples import Samples
from lightning_al.data.stream import check_map_style
from lightning_al.data.training_samples import TrainingSamples
from lightning_al.data.validation import spread_over
from lightning_al.distributed.randomness import draws_undone
from lightning_al.inference.batches import copy_of
from lightning_al.tasks.base import Task, name_in
from lightning_al.tasks.mask_png import is_blank
from lightning_al.words import cut, first_line

HOOK = "unlabelled_dataset"
"""The method of the user's datamodule that gives samples which may be asked for, beside its training set."""

_FEW = 8


def has_unlabelled(datamodule: pl.LightningDataModule) -> bool:
    """Whether the user's datamodule has a pool beside its training set."""
    return hasattr(datamodule, HOOK)


def find_samples(
    datamodule: pl.LightningDataModule, train_set: Dataset, task: Task, *, source: str, collate: Collate
) -> Samples:
    """Return all samples of a campaign: the pool, and what is known beside it.

    Args:
        datamodule: The user's, set up.
        train_set: What its train loader is over.
        task: Reads targets.
        source: See :func:`~lightning_al.data.pool_set.find_training_samples`.
        collate: The train loader's.

    Raises:
        TypeError: If a dataset is not map-style, or unlabelled samples are of another kind than training samples.
        ValueError: If the pool's dataset does not hold the training samples in their order, or there is nothing beside
            them.
    """
    if not has_unlabelled(datamodule):
        return Samples(find_training_samples(datamodule, train_set, task, source=source))
    make: Any = getattr(datamodule, HOOK)
    owner = owner_of(datamodule)
    if not callable(make):
        raise TypeError(f"`{HOOK}` of {owner} must be a method that returns a dataset, got {type(make).__name__}.")
    unlabelled: Any = make()
    with Findings() as findings:
        found = findings.of(check_map_style, unlabelled, f"`{HOOK}()`")
        with findings.of_block():
            known = find_known_samples(datamodule, train_set, task, source=source)
            findings.of(_check_known_labels, known)
        if found and not findings.errors:
            example = _example(unlabelled, known)
            pool = UnlabelledSamples.of(unlabelled, Augment.of(datamodule), task, owner, example=example)
            findings.of(_check_another, unlabelled, known)
            findings.of(check_form, pool, known, collate)
    warn_of_both(pool, known, hook=HOOK)
    return Samples(pool, known)


class UnlabelledSamples(TrainingSamples):
    """Samples of an ``unlabelled_dataset()``, in the form of the training samples beside it, but for their labels."""

    @classmethod
    def of(  # type: ignore[override]
        cls, dataset: Dataset, augment: Augment | None, task: Task, owner: str, *, example: Any
    ) -> "UnlabelledSamples":
        """Return the samples of a dataset in the form of an example."""
        completed = CompletedSamples(dataset, example, task)
        return cls(completed, completed, dataset, augment, task=task, owner=owner)

    def keys(self) -> SampleKeys:
        """Return what says how the samples are called."""
        return SampleKeys(self.label_set, self.label_set, self.task, un_augmented=f"samples from `{HOOK}()`")

    def check_labels(self, *, told: bool, labels: Mapping[int, Any] | None = None) -> None:
        """Refuse samples beside which labels that were told would be wrong; their own move with them."""
        if told:
            super().check_labels(told=told, labels=labels)

    def check_told(self, rows: Sequence[int], told: list[Any]) -> None:
        """Refuse samples whose inputs move beside labels that would have to."""
        rows = readable(self.label_set, rows)
        example = self.task.targets(self.train_set.example)  # type: ignore[attr-defined]
        check_told_labels(
            self.label_set, rows, self.task, owner=self.owner, told=[*told, example], dataset_name=f"`{HOOK}()`"
        )


def _example(unlabelled: Any, known: TrainingSamples) -> Any:
    """Return a sample in the form of those that are trained on: a known one, or, of none, an unlabelled one.

    Raises:
        TypeError: If nothing is known, and unlabelled samples have no place for a label.
    """
    with draws_undone():
        if len(known.trained_on) > 0:  # type: ignore[arg-type]
            return copy_of(known.trained_on[0])
        if len(unlabelled) == 0:
            return None
        example = copy_of(unlabelled[readable(unlabelled, range(len(unlabelled)), 1)[0]])
    try:
        known.task.targets(example)
    except (TypeError, ValueError, LookupError, AttributeError):
        raise TypeError(
            f"The training set of {known.owner} is empty, so nothing says where a label stands in the samples of "
            f"`{HOOK}()`, which are {_look(example)}. Return them with something in its place, as `(input, -1)`."
        ) from None
    return example


def _check_known_labels(known: TrainingSamples) -> None:
    """Refuse a training set that is no labelled one."""
    blank = []
    for index in spread_over(len(known.trained_on)):  # type: ignore[arg-type]
        try:
            sample = known.trained_on[index]
        except Exception as error:
            name = name_in(known.task, known.train_set, index)
            called = f"{index}" if name is None else f"{index} ({name!r})"
            raise ValueError(
                f"Sample {called} of the training set of {known.owner}, which is trained on, cannot be read: "
                f"{first_line(error)}. Repair or remove it."
            ) from error
        try:
            target = known.task.targets(sample)
            if target is None:
                raise TypeError("it is None")
            blank.append(is_blank(known.task.encode_label(target)))
        except (TypeError, ValueError, LookupError) as error:
            raise ValueError(
                f"What `train_dataloader()` of {known.owner} has is labelled already, beside `{HOOK}()`, but sample "
                f"{index} has no label that could be taken: {cut(error, 300)} Leave samples without a label to "
                f"`{HOOK}()`."
            ) from None
    if blank and all(blank):
        raise ValueError(
            f"No pixel of {len(blank)} masks of the training set of {known.owner}, all of which is labelled beside "
            f"`{HOOK}()`, has a class: nothing could be learnt of them. Give another `ignore_index=`."
        )


def _check_another(unlabelled: Dataset, known: TrainingSamples) -> None:
    """Refuse a pool that is the training set itself."""
    for name, dataset in (("the training set", known.train_set), ("`pool_dataset()`", known.pool_set)):
        if unlabelled is dataset:
            raise ValueError(
                f"`{HOOK}()` of {known.owner} returns {name} itself, all of which is labelled then, so that nothing "
                "could be asked for. Return the samples that are not in the training set; to hide the labels of a "
                f"training set and ask for them, leave `{HOOK}()` out."
            )


# -- the form of samples -----------------------------------------------------------------------------------------------


def check_form(pool: UnlabelledSamples, known: TrainingSamples, collate: Collate) -> None:
    """Refuse unlabelled samples in which a label could not stand as in the training samples, or of other inputs.

    Args:
        pool: The unlabelled samples.
        known: The training samples.
        collate: Puts samples of both in one batch.

    Raises:
        TypeError: With the form of both.
    """
    task = known.task
    raw, examples = _few(pool.label_set), _few(known.trained_on)
    if not examples:  # nothing is known: they are their own example
        return
    scored = _few(known.pool_set) if known.pool_set is not known.trained_on else []
    for sample in raw:
        example = examples[0]
        try:
            completed = task.completed(copy_of(sample), copy_of(example))
            labelled = task.with_label(copy_of(completed), task.targets(copy_of(example)))
            fits = _frame(labelled) == _frame(example)
            why = f"with a label it becomes {_look(labelled)}"
        except Exception as error:
            fits, why = False, first_line(error)
        if not fits:
            raise TypeError(
                f"A label cannot be put into the samples of `{HOOK}()` of {pool.owner} as the training set has them: "
                f"an unlabelled one is {_look(sample)}, a training sample {_look(example)} ({why}). Return all that a "
                "training sample has beside its target; or give the task a method `completed(sample, example)`, which "
                "returns the sample with what it lacks."
            )
    inputs = [_input(task, task.completed(copy_of(sample), copy_of(examples[0]))) for sample in raw]
    trained, others = ([_input(task, sample) for sample in samples] for samples in (examples, scored))
    _check_kinds(inputs, [trained, others], pool.owner)
    shapes, training_shapes = set(map(_look, inputs)), set(map(_look, trained))
    if len(shapes) == len(training_shapes) == 1 and shapes != training_shapes:
        _check_collate([pool.train_set[0], examples[0]], collate, pool.owner, (inputs[0], trained[0]))


def _few(dataset: Any) -> list[Any]:
    with draws_undone():
        rows = readable(dataset, spread_over(len(dataset))[:: 16 // _FEW])
        return [copy_of(dataset[index]) for index in rows]


def _input(task: Task, sample: Any) -> Any:
    try:
        return task.inputs(sample)
    except Exception:  # it knows batches alone
        return sample


def _check_kinds(unlabelled: list[Any], training: list[list[Any]], owner: str) -> None:
    """Refuse inputs of other types of numbers, which a batch would mix silently, or of another make."""
    for some in filter(None, training):
        kinds = {_look(value, shapes=False) for value in some}
        other = next((value for value in unlabelled if _look(value, shapes=False) not in kinds), None)
        if other is not None:
            raise TypeError(
                f"Inputs of `{HOOK}()` of {owner} are {_look(other)}, and those of the training set {_look(some[0])}: "
                "batches hold both. Give both datasets the same transforms (random augmentation goes into a method "
                "`augment(sample)`)."
            )


def _check_collate(samples: list[Any], collate: Collate, owner: str, inputs: tuple[Any, Any]) -> None:
    """Refuse inputs of another shape than all training inputs have, unless the collate function can take both."""
    try:
        with draws_undone():
            collate(samples)
    except Exception as error:
        raise TypeError(
            f"Inputs of `{HOOK}()` of {owner} are {_look(inputs[0])}, and those of the training set "
            f"{_look(inputs[1])}, which cannot be in one batch: {first_line(error)}. Give both datasets the same "
            "transforms."
        ) from None


def _frame(sample: Any) -> Any:
    """Return what holds the parts of a sample: the names of a dict, the length of a tuple."""
    if isinstance(sample, Mapping) or hasattr(sample, "keys"):
        return sorted(map(str, sample.keys()))
    return len(sample) if isinstance(sample, (tuple, list)) else type(sample)


def _look(value: Any, *, shapes: bool = True) -> str:
    """Say what a sample is made of, for a reader.

    Args:
        value: A sample, or a part of one.
        shapes: Whether lengths and shapes are said too.
    """

    def look(part: Any) -> str:
        return _look(part, shapes=shapes)

    if isinstance(value, (Tensor, np.ndarray)):
        name = str(value.dtype).removeprefix("torch.")
        of = "" if isinstance(value, Tensor) else " array"
        return f"{name}{of} {tuple(value.shape)}" if shapes else f"{name}{of}"
    if isinstance(value, Mapping) or hasattr(value, "keys"):
        return f"{{{', '.join(f'{name!r}: {look(value[name])}' for name in list(value.keys())[:8])}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(look, value[:8]))}{',' * (len(value) == 1)})"
    if isinstance(value, list):
        return f"a list of {len(value)}" if shapes else "list"
    return type(value).__name__ if not hasattr(value, "getbands") else f"a picture of mode {value.mode}"
