"""What several people say of one sample, made one answer."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from lightning_al.oracle.skip import SKIP
from lightning_al.tasks.annotations import Mask, meaning
from lightning_al.words import shown

AGREEMENTS = ("latest", "first", "majority")


@dataclass(frozen=True)
class Said:
    """What one person said of a sample.

    Args:
        annotator: Who.
        time: When; anything that can be sorted. None: it goes by the order in the list.
        annotation: What, or :data:`~lightning_al.SKIP`.
    """

    annotator: str
    time: Any
    annotation: Any


@dataclass(frozen=True)
class Agreed:
    """What comes of it.

    Args:
        annotation: What counts, or ``SKIP``; None: nothing yet.
        annotators: Who said it, or what it was made of; nobody where there is nothing yet.
        disagreement: Whether not all said the same.
    """

    annotation: Any
    annotators: tuple[str, ...]
    disagreement: bool

    @property
    def annotator(self) -> str:
        """Who said it, as one name."""
        return ", ".join(self.annotators)


def check_agreement(rule: Any) -> None:
    """Refuse what is no rule.

    Raises:
        ValueError: With those that there are.
    """
    if rule not in AGREEMENTS:
        raise ValueError(f"`agreement` must be one of {', '.join(map(repr, AGREEMENTS))}, got {shown(rule)}.")


def agree(said: Sequence[Said], rule: str = "latest") -> Agreed:
    """Return what counts of what several people said of a sample.

    Each person counts once, with what they said last.

    * ``"latest"``: the newest.
    * ``"first"``: that of the person who spoke first.
    * ``"majority"``: what more people say than anything else; a tie is nothing yet. Of numbers it is the median; of
      masks, pixel by pixel, what more say than anything else, and 255, not said, at a tie. Boxes, and lists of names,
      are the same only if all of them are.

    Under each of them a skip counts only where nobody gave a label.

    Args:
        said: In the order they came, where times do not say it.
        rule: One of these.

    Example:
        >>> votes = [Said("anna", 1, "cat"), Said("ben", 2, "dog"), Said("carl", 3, "cat")]
        >>> agree(votes, "majority")
        Agreed(annotation='cat', annotators=('anna', 'carl'), disagreement=True)
        >>> agree(votes[:2], "majority").annotation is None
        True
    """
    check_agreement(rule)
    timed = all(each.time is not None for each in said)
    in_order = sorted(said, key=lambda each: each.time) if timed else list(said)
    last = {each.annotator: each for each in in_order}  # in the order in which people first spoke
    words = [each for each in last.values() if each.annotation is not SKIP]
    if not words:
        return Agreed(SKIP if last else None, tuple(last), False)
    differ = len({meaning(each.annotation) for each in last.values()}) > 1
    if rule == "majority":
        annotation = _majority([each.annotation for each in words])
    elif rule == "first":
        annotation = words[0].annotation
    else:
        annotation = next(each.annotation for each in reversed(in_order) if each in words)
    who = tuple(each.annotator for each in words if meaning(each.annotation) == meaning(annotation))
    if not who and annotation is not None:  # a median, say
        who = tuple(each.annotator for each in words)
    return Agreed(annotation, who, differ)


def _majority(annotations: list[Any]) -> Any:
    if all(isinstance(each, (int, float)) for each in annotations):
        return median(annotations)
    if len(annotations) > 1 and all(isinstance(each, Mask) for each in annotations):
        return _majority_of_masks(annotations)
    counts = Counter(map(meaning, annotations)).most_common(2)
    if len(counts) == 2 and counts[0][1] == counts[1][1]:
        return None
    return next(each for each in annotations if meaning(each) == counts[0][0])


def _majority_of_masks(masks: list[Mask]) -> Mask | None:
    if len({(mask.size, mask.not_said) for mask in masks}) > 1:
        return None
    nothing = masks[0].not_said
    values = np.stack([mask.values for mask in masks])
    classes = np.setdiff1d(np.unique(values), [nothing])
    if not len(classes):
        return masks[0]
    votes = np.stack([(values == number).sum(0) for number in classes])
    in_order = np.sort(votes, 0)
    runner_up = in_order[-2] if len(classes) > 1 else np.zeros_like(in_order[-1])
    return Mask(np.where(in_order[-1] > runner_up, classes[votes.argmax(0)], nothing), nothing)
