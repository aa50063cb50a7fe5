"""Which task asks what of which sample, and one answer for a sample of those to several tasks; without torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightning_al.oracle.people.label_studio.answering import Answered
from lightning_al.oracle.question import OpenQuestion
from lightning_al.oracle.regions import Region, together
from lightning_al.oracle.skip import SKIP
from lightning_al.tasks.annotations import Mask


@dataclass(frozen=True)
class Asked:
    """What a task asks for.

    Args:
        index: Of the sample.
        part: Of it; None: all.
    """

    index: int
    part: Region | None


def task_key(key: str, part: Region | None) -> str:
    """Return what a task is known by: its sample's key, and which part of it is asked for.

    An image that is asked for again in another round has another task; one that was sent before a process was killed is
    known again.
    """
    return key if part is None else f"{key} part {part.name}"


def asked_of(question: OpenQuestion) -> dict[str, list[Asked]]:
    """Return what was ever asked for, by the key of its task: equal inputs have one key."""
    of_key: dict[str, list[Asked]] = {}
    for key, indices in question.indices_of().items():
        for index in indices:
            parts: Sequence[Region | None] = question.parts(index) or [None]
            for part in parts:
                of_key.setdefault(task_key(key, part), []).append(Asked(index, part))
    return of_key


class Together(NamedTuple):
    """What several tasks say.

    Args:
        answers: By dataset index.
        held: Tasks whose answers wait, by key.
    """

    answers: dict[int, Answered]
    held: set[str]


def together_of(question: OpenQuestion, answered: Mapping[str, Answered]) -> Together:
    """Return one answer for each sample, in the order asked, then corrections.

    An answer to a question ends it. So where a part of an image is asked for, a correction of an earlier part waits
    until that is answered.

    Args:
        question: What is open.
        answered: What came, by the key of its task.
    """
    now = [task_key(question.key(index), question.part(index)) for index in question]
    asked = asked_of(question)
    of_index: dict[int, list[tuple[str, Asked]]] = {}
    for key in dict.fromkeys([*now, *answered]):
        if key in answered and answered[key].label is not None:
            for each in asked.get(key, ()):
                of_index.setdefault(each.index, []).append((key, each))
    answers: dict[int, Answered] = {}
    held: set[str] = set()
    for index, tasks in of_index.items():
        part = question.part(index)
        current = [key for key, each in tasks if each.part == part]
        ends = [key for key in current if answered[key].label is SKIP]
        keys = [key for key, _ in tasks if answered[key].label is not SKIP]
        if part is not None and (ends or not current):
            held |= set(keys)
            keys = []
        if keys:
            answers[index] = _one([answered[key] for key in keys])
        elif ends or part is None:
            answers[index] = answered[(ends or [tasks[0][0]])[0]]
    return Together(answers, held)


def _one(answers: Sequence[Answered]) -> Answered:
    if len(answers) == 1:
        return answers[0]
    masks: list[Any] = [Mask.of_png(each.label.data) for each in answers]
    return Answered(together(masks), ", ".join(dict.fromkeys(each.annotator for each in answers)))
