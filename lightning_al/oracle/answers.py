"""What an oracle said, sorted into labels, skips and what cannot be taken."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from lightning_al.oracle.skip import SKIP
from lightning_al.storage.blobs import Blob, as_read, is_same
from lightning_al.tasks.annotations import Boxes, Mask
from lightning_al.tasks.base import Task
from lightning_al.tasks.label_sizes import check_size
from lightning_al.words import cut, said_once

_MOST_REASONS = 3
_NO_LABEL = (
    "None is no label. Where the dataset has none they are told (`oracle=AwaitTell()`); if they are elsewhere in the "
    "samples, the loop's `task=` says where. A sample that is not to be labelled is `SKIP`."
)


class Answers(NamedTuple):
    """Answers by dataset index: labels as JSON values, what was skipped, and why a label cannot be taken.

    ``void`` are those to questions for parts of samples in which there is nothing to label.
    """

    labels: dict[int, Any]
    skipped: list[int]
    refused: dict[int, str]
    void: Sequence[int] = ()

    def of_changed(self, labels: dict[int, Any], skipped: Collection[int], pending: Collection[int] = ()) -> "Answers":
        """Return these answers without those that say what is known already.

        Args:
            labels: The known ones, as JSON values.
            skipped: Dataset indices that are skipped already.
            pending: Those that are asked for now: a skip ends that, whatever was said of other parts.
        """
        changed = {index: label for index, label in self.labels.items() if not is_same(label, labels.get(index))}
        known = {*labels, *skipped} - set(pending)  # what has a label keeps it
        return self._replace(labels=changed, skipped=[index for index in self.skipped if index not in known])

    def check(self) -> None:
        """Refuse labels that are not of the task's kind.

        Raises:
            TypeError: Naming each index and what is wrong with its label.
        """
        if self.refused:
            of_reason: dict[str, list[int]] = {}
            for index, reason in self.refused.items():
                of_reason.setdefault(cut(reason), []).append(index)
            several = list(of_reason.items())[:_MOST_REASONS]
            reasons = " ".join(
                f"Dataset index {', '.join(map(str, indices[:5]))}{', ...' * (len(indices) > 5)}: {reason}"
                for reason, (_, indices) in zip(said_once(reason for reason, _ in several), several, strict=True)
            )
            others = "" if len(of_reason) <= _MOST_REASONS else f" And so on for {len(of_reason) - _MOST_REASONS} more."
            raise TypeError(f"{len(self.refused)} label(s) cannot be taken. {reasons}{others}")


def sort_answers(
    answers: dict[int, Any],
    task: Task,
    classes: Sequence[str] | None = None,
    sizes: Mapping[int, Sequence[int]] = MappingProxyType({}),
) -> Answers:
    """Split an oracle's answers into labels, skipped indices and labels that cannot be taken.

    Args:
        answers: By dataset index: labels, or else annotations of which the task makes labels.
        task: Of the loop.
        classes: Names, by class index.
        sizes: Width and height of images, by dataset index, of which a mask must be, and in which boxes are.
    """
    sorted_answers = Answers({}, [], {})
    for index, label in answers.items():
        if label is SKIP:
            sorted_answers.skipped.append(index)
            continue
        try:
            if label is None:
                raise TypeError(_NO_LABEL)
            # As a resumed process reads it, and no object of the dataset's.
            encoded = as_read(_encoded(label, task, classes, sizes.get(index)))
            check_size(encoded, sizes.get(index))
            sorted_answers.labels[index] = encoded
        except (TypeError, ValueError) as error:
            sorted_answers.refused[index] = str(error)
    return sorted_answers


def _encoded(label: Any, task: Task, classes: Sequence[str] | None, size: Any) -> Any:
    """Return what the ledger keeps of a label, or of what people call it where that is no label by itself."""
    names = isinstance(label, (list, tuple)) and len(label) > 0 and all(isinstance(name, str) for name in label)
    if isinstance(label, Blob):  # encoded already
        task.check_label(label)
        return label
    if isinstance(label, Boxes):
        label = label.in_pixels_of(size)
    if isinstance(label, (Boxes, Mask)):
        return task.encode_label(task.from_annotation(label, classes))
    try:
        return task.encode_label(label)
    except TypeError:
        if not names and not (isinstance(label, str) and classes is not None):
            raise
        return task.encode_label(task.from_annotation(label, classes))
