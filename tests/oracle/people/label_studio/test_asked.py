"""Which task asks what, and what comes of several for one sample."""

from pathlib import Path

import numpy as np

from lightning_al.campaign.regions import region_blob
from lightning_al.oracle import SKIP, OpenQuestion
from lightning_al.oracle.people.label_studio.answering import Answered
from lightning_al.oracle.people.label_studio.asked import asked_of, task_key, together_of
from lightning_al.oracle.regions import Region
from lightning_al.tasks.annotations import Mask
from lightning_al.tasks.mask_png import mask_blob

FIRST, SECOND, THIRD = (Region(region_blob(np.arange(3)[None] == pixel)) for pixel in range(3))


def question(indices, parts, keys, now):
    return OpenQuestion(
        indices, dataset=range(9), folder=Path("c"), keys=keys, region_of=now.get,
        regions_of=lambda index: parts.get(index, ()),
    )  # fmt: skip


def said(pixel, value, who="anna"):
    mask = np.where(np.arange(3)[None] == pixel, value, 255)
    return Answered(mask_blob(mask.astype(np.uint8)), who)


def values_of(answer):
    label = answer.label
    return (label if isinstance(label, Mask) else Mask.of_png(label.data)).values[0].tolist()


def test_tasks_are_known_by_key_and_part():
    keys = {0: "a", 1: "a", 2: "b", 3: "a"}  # equal inputs
    asked = asked_of(question([3], {0: [FIRST, SECOND], 1: [FIRST], 3: [SECOND]}, keys, {3: SECOND}))
    assert {key: [each.index for each in several] for key, several in asked.items()} == {
        task_key("a", FIRST): [0, 1], task_key("a", SECOND): [0, 3], "b": [2],
    }  # fmt: skip
    assert task_key("a", None) == "a"


def test_what_several_tasks_say_of_one_sample():
    parts, keys, now = {0: [FIRST, SECOND, THIRD]}, {0: "a"}, {0: THIRD}
    first, second, third = (task_key("a", part) for part in parts[0])
    pending, done = question([0], parts, keys, now), question([], parts, keys, {})
    corrections = {first: said(0, 1), second: said(1, 2)}
    assert together_of(pending, corrections) == ({}, {first, second})
    answers, held = together_of(pending, {**corrections, third: said(2, 0, "ben")})
    assert (values_of(answers[0]), answers[0].annotator, held) == ([1, 2, 0], "ben, anna", set())
    skipped = {**corrections, third: Answered(SKIP, "ben")}
    answers, held = together_of(pending, skipped)
    assert (answers[0], held) == (Answered(SKIP, "ben"), {first, second})
    answers, held = together_of(done, skipped)
    assert (values_of(answers[0]), held) == ([1, 2, 255], set())
    assert together_of(pending, {first: Answered(SKIP, "ben")}) == ({}, set())  # ends no other question
    assert together_of(pending, {third: Answered(problem="none")}) == ({}, set())


def test_whole_samples_in_the_order_asked():
    answered = {"b": Answered(1, "anna"), "c": Answered(SKIP, "ben"), "a": Answered(0, "carl"), "d": Answered(2)}
    answers, held = together_of(question([0, 2], {}, {0: "a", 1: "b", 2: "c"}, {}), answered)
    assert [(index, each.label) for index, each in answers.items()] == [(0, 0), (2, SKIP), (1, 1)]
    assert held == set()
