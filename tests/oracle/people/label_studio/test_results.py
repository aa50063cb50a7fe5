"""Annotations and Label Studio's results, beside JSON written by hand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_al.oracle.people.label_studio.control import Control
from lightning_al.oracle.people.label_studio.results import from_results, to_results
from lightning_al.oracle.people.label_studio.rle import encode
from lightning_al.tasks.annotations import Boxes, Mask

NAMES = ("road", "cat", "dog")
PAINTED = [0, 0, 0, 24, 57, 27, 252, 127, 247, 192, 35, 255, 0]  # of 3 x 2 pixels the first and the last


def control(kind, labels=NAMES):
    return Control(kind, "label", "image", "image", "image", labels)


def region(kind, value, **extra):
    sizes = {"original_width": 3, "original_height": 2, "image_rotation": 0}
    return {"from_name": "label", "to_name": "image", "type": kind, **sizes, "value": value, **extra}


def choices(*names):
    return {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": list(names)}}


BOX = {"x": 25, "y": 50, "width": 50, "height": 25, "rotation": 0, "rectanglelabels": ["cat"]}
PAIRS = [
    ("class", "cat", [choices("cat")]),
    ("classes", ["cat", "dog"], [choices("cat", "dog")]),
    ("classes", [], []),
    (
        "number",
        2.5,
        [{"from_name": "label", "to_name": "image", "type": "number", "value": {"number": 2.5}}],
    ),
    (
        "boxes",
        Boxes([[1, 2, 3, 3]], ["cat"], size=(4, 4)),
        [
            {
                "from_name": "label",
                "to_name": "image",
                "type": "rectanglelabels",
                "original_width": 4,
                "original_height": 4,
                "image_rotation": 0,
                "value": BOX,
            }
        ],
    ),
    ("boxes", Boxes([], []), []),
    (
        "mask",
        Mask([[1, 255, 255], [255, 255, 1]]),
        [region("brushlabels", {"format": "rle", "rle": PAINTED, "brushlabels": ["cat"]})],
    ),
]


@pytest.mark.parametrize(("kind", "annotation", "results"), PAIRS)
def test_written_by_hand(kind, annotation, results):
    read = from_results(results, control(kind), classes=NAMES)
    assert read == annotation
    written = to_results(annotation, control(kind), classes=NAMES)
    assert json.loads(json.dumps(written)) == written  # plain values
    if kind == "mask":  # there are several ways to pack the same
        assert from_results(written, control(kind), classes=NAMES) == annotation
        results, written = ([{**r, "value": {**r["value"], "rle": None}} for r in each] for each in (results, written))
    assert written == results


coordinates = st.tuples(st.integers(0, 60), st.integers(0, 40), st.integers(0, 60), st.integers(0, 40))


@given(st.lists(st.tuples(coordinates, st.sampled_from(NAMES)), max_size=4))
@settings(max_examples=40, deadline=None)
def test_boxes_there_and_back(drawn):
    corners = [(min(a, c), min(b, d), max(a, c), max(b, d)) for (a, b, c, d), _ in drawn]
    boxes = Boxes(corners, [name for _, name in drawn], size=(60, 40))
    read = from_results(to_results(boxes, control("boxes")), control("boxes"))
    assert read.labels == boxes.labels
    assert np.allclose(read.boxes or [[0] * 4], corners or [[0] * 4], atol=1e-9)


@given(st.lists(st.sampled_from([0, 1, 2, 255]), min_size=12, max_size=12))
@settings(max_examples=40, deadline=None)
def test_masks_there_and_back(values):
    mask = Mask(np.array(values).reshape(3, 4))
    read = from_results(to_results(mask, control("mask"), classes=NAMES), control("mask"), classes=NAMES, size=(4, 3))
    if (mask.values == 255).all():
        assert (read.values == 255).all()
    assert read == mask


def test_scores_of_boxes_travel():
    [result] = to_results(Boxes([[0, 0, 1, 1]], ["dog"], scores=[0.25], size=(2, 2)), control("boxes"))
    assert result["score"] == 0.25


def test_what_is_not_painted():
    cat = region("brushlabels", {"format": "rle", "rle": PAINTED, "brushlabels": ["cat"]})
    only = control("mask", ("cat", "dog"))
    road = from_results([cat], only, classes=NAMES, unpainted="road")
    assert road.values.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert [result["value"]["brushlabels"] for result in to_results(road, only, classes=NAMES)] == [["cat"]]
    assert from_results([], only, classes=NAMES, size=(2, 1), unpainted="road").values.tolist() == [[0, 0]]


def test_later_strokes_are_on_top():
    below = {"format": "rle", "rle": encode(np.ones((2, 3))), "brushlabels": ["dog"]}
    above = {"format": "rle", "rle": PAINTED, "brushlabels": ["cat"]}
    strokes = [region("brushlabels", below), region("brushlabels", above)]
    read = from_results(strokes, control("mask"), classes=NAMES)
    assert read.values.tolist() == [[1, 2, 2], [2, 2, 1]]


def test_a_turned_box_is_the_upright_one_around_it():
    turned = {**BOX, "x": 50, "y": 50, "width": 25, "height": 10, "rotation": 90}
    read = from_results([region("rectanglelabels", turned, original_width=100, original_height=100)], control("boxes"))
    assert np.allclose(read.boxes, [[40, 50, 50, 75]])  # clockwise about its top left corner


def test_remarks_beside_the_answer_are_passed_over():
    remark = {"from_name": "remark", "to_name": "image", "type": "textarea", "value": {"text": ["odd"]}}
    assert from_results([remark, choices("dog")], control("class")) == "dog"


@pytest.mark.parametrize(
    ("kind", "results", "message"),
    [
        ("class", [], "One class is asked for, got none"),
        ("class", [choices("cat", "dog")], r"got \['cat', 'dog'\]"),
        ("number", [], "One number"),
        ("boxes", [region("rectanglelabels", {**BOX, "rectanglelabels": []})], "needs one label"),
        ("boxes", [region("rectanglelabels", BOX, image_rotation=90)], "turn it back"),
        ("mask", [], "Nothing is painted"),
        ("mask", [region("brushlabels", {"format": "rle", "rle": PAINTED, "brushlabels": ["rat"]})], "no class 'rat'"),
        ("mask", [region("brushlabels", {"brushlabels": ["cat"]})], "format 'rle'"),
    ],
)
def test_what_is_no_answer(kind, results, message):
    with pytest.raises(ValueError, match=message):
        from_results(results, control(kind), classes=NAMES)


@pytest.mark.parametrize(
    ("kind", "annotation"), [("class", "rat"), ("classes", ["cat", "rat"]), ("boxes", Boxes([[0, 0, 1, 1]], ["rat"]))]
)
def test_a_label_that_the_config_lacks_is_named(kind, annotation):
    with pytest.raises(ValueError, match="offers no 'rat' in 'label', which has 'road', 'cat', 'dog'"):
        to_results(annotation, control(kind), size=(2, 2))


def test_boxes_in_an_image_of_unknown_size():
    with pytest.raises(ValueError, match="size is not known"):
        to_results(Boxes([[0, 0, 1, 1]], ["cat"]), control("boxes"))
