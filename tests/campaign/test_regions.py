"""Which pixels were asked for, and what an answer adds to a label."""

import json

import numpy as np
import pytest

from lightning_al import Campaign
from lightning_al.campaign.regions import merged, pixels_told, region_blob, region_of, says_more
from lightning_al.tasks.annotations import Mask
from lightning_al.tasks.mask_png import mask_blob, mask_from_png

NOT_TOLD = 255


def bits(*pixels, size=6):
    return np.isin(np.arange(size), pixels).reshape(2, -1)


def ask(campaign, number, parts, *, last=()):
    regions = [region_blob(part) for part in parts.values()]
    pixels = [int(part.sum()) for part in parts.values()]
    campaign.record(
        "asked",
        lambda: {
            "round": number,
            "indices": list(parts),
            "keys": [f"k{i}" for i in parts],
            "scores": [],
            "seconds": {},
            "regions": regions,
            "pixels": pixels,
            "last": list(last),
        },
    )


def answer(campaign, **labels):
    units = [int(name[1:]) for name in labels]
    fields = {"indices": units, "keys": [f"k{i}" for i in units], "labels": list(labels.values()), "annotator": "x"}
    campaign.record("answered", lambda: {**fields, "costs": [float(pixels_told(label)) for label in labels.values()]})


def begin(folder, size=4):
    return Campaign(folder, Campaign.create(folder, size=size, options={}, root=""))


def label(*values):
    return mask_blob(np.array(values, dtype=np.uint8).reshape(2, -1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 3), (40, 33)])
def test_pixels_are_kept_in_one_bit_each(shape):
    pixels = np.random.default_rng(0).random(shape) < 0.5
    blob = region_blob(pixels)
    assert blob.data[24] == 1  # bits of a pixel
    assert (region_of(blob) == pixels).all()
    assert region_of(blob).dtype == bool


def test_a_sample_is_asked_for_again_and_its_questions_add_up(tmp_path):
    campaign = begin(tmp_path)
    ask(campaign, 0, {1: bits(0, 1), 2: bits(5)})
    assert campaign.pool.askable.tolist() == [0, 3]
    answer(campaign, k1=label(0, 2, *[NOT_TOLD] * 4))
    assert (campaign.pool.labelled.tolist(), campaign.pool.pending.tolist()) == ([1], [2])
    ask(campaign, 1, {1: bits(3)}, last=[1])
    for each in (campaign, Campaign.load(tmp_path)):
        assert (each.pool.labelled.tolist(), each.pool.pending.tolist()) == ([1], [2, 1])
        assert each.pool.askable.tolist() == [0, 3]
        assert (each.regions.open(1) == bits(3)).all()
        assert (each.regions.all(1) == bits(0, 1, 3)).all()
        assert (each.regions.all(2) == bits(5)).all()
        assert (each.regions.all(0), each.regions.open(0)) == (None, None)
        assert each.pool.spent == 2
        assert [r.picked for r in each.rounds] == [[1, 2], [1]]
    answer(campaign, k1=label(0, 2, NOT_TOLD, 1, NOT_TOLD, NOT_TOLD))
    assert campaign.pool.askable.tolist() == [0, 3]  # that was the last of it
    assert campaign.pool.spent == 3
    assert campaign.regions.open(1) is None


def test_what_is_given_back_may_be_asked_for_again(tmp_path):
    campaign = begin(tmp_path)
    ask(campaign, 0, {1: bits(0)})
    answer(campaign, k1=label(0, *[NOT_TOLD] * 5))
    ask(campaign, 1, {1: bits(3), 0: bits(4)}, last=[1, 0])
    campaign.record("released", lambda: {"indices": [1, 0]})
    for each in (campaign, Campaign.load(tmp_path)):
        assert each.pool.askable.tolist() == [0, 1, 2, 3]
        assert (each.regions.all(1) == bits(0)).all()
        assert each.regions.all(0) is None


def test_what_is_all_void_leaves_a_sample_unlabelled(tmp_path):
    campaign = begin(tmp_path)
    ask(campaign, 0, {1: bits(0), 2: bits(0, 1, 2, 3, 4, 5)}, last=[2])
    campaign.record("void", lambda: {"indices": [1, 2]})
    assert campaign.pool.counts() == (3, 0, 0, 1)
    assert campaign.pool.askable.tolist() == [0, 1, 3]
    assert (campaign.regions.all(1) == bits(0)).all()
    assert campaign.known == [2, 1]  # so that it is looked for where samples move


def test_a_skip_ends_the_questions_for_a_sample(tmp_path):
    campaign = begin(tmp_path)
    ask(campaign, 0, {1: bits(0), 2: bits(1)})
    answer(campaign, k1=label(0, *[NOT_TOLD] * 5))
    ask(campaign, 1, {1: bits(3)})
    campaign.record("skipped", lambda: {"indices": [1, 2], "annotator": "x"})
    assert (campaign.pool.labelled.tolist(), campaign.pool.skipped.tolist()) == ([1], [2])
    assert campaign.pool.askable.tolist() == [0, 3]
    assert campaign.pool.pending.tolist() == []


def test_samples_that_go_and_come_back_keep_their_questions(tmp_path):
    campaign = begin(tmp_path, size=5)
    ask(campaign, 0, {1: bits(0), 2: bits(1), 3: bits(2), 4: bits(3)})
    answer(campaign, k1=label(0, *[NOT_TOLD] * 5))
    campaign.record("void", lambda: {"indices": [3]})
    gone = {"indices": [1, 2, 3, 4], "now": [-1, -2, -3, 0], "keys": ["k1", "k2", "k3", "k4"]}
    campaign.record("moved", lambda: {"size": 1, "root": "", "known": [1], **gone})
    assert campaign.pool.counts() == (0, 1, 0, 0)
    assert (campaign.regions.open(0) == bits(3)).all()
    assert campaign.pool.spent == 1
    back = {"indices": [-1, -2, -3], "now": [3, 2, 1], "keys": ["k1", "k2", "k3"]}
    campaign.record("moved", lambda: {"size": 4, "root": "", **back})
    for each in (campaign, Campaign.load(tmp_path)):
        assert (each.pool.labelled.tolist(), each.pool.pending.tolist()) == ([3], [0, 2])
        assert each.pool.askable.tolist() == [1, 3]
        assert [each.regions.all(i).tolist() for i in range(4)] == [bits(p).tolist() for p in (3, 2, 1, 0)]
        assert (each.regions.open(2) == bits(1)).all()


def test_an_answer_adds_what_was_asked_for_and_no_more():
    before = label(0, NOT_TOLD, NOT_TOLD, NOT_TOLD, NOT_TOLD, 2)
    told = label(1, 2, NOT_TOLD, 0, 1, NOT_TOLD)
    both, count = merged(told, before, bits(0, 1, 2, 5))
    assert mask_from_png(both.data).tolist() == [[1, 2, NOT_TOLD], [NOT_TOLD, NOT_TOLD, 2]]
    assert count == pixels_told(both) == 3
    first, count = merged(told, None, bits(2, 3))
    assert mask_from_png(first.data).tolist() == [[NOT_TOLD] * 3, [0, NOT_TOLD, NOT_TOLD]]
    assert count == 1
    with pytest.raises(ValueError, match=r"a mask of 2 × 3 pixels, and 3 × 2 \(height × width\) were asked for"):
        merged(told, None, np.ones((3, 2), dtype=bool))


def test_more_than_255_classes():
    told = mask_blob(np.array([[300, 7]], dtype=np.uint16))
    both, count = merged(told, None, np.array([[True, False]]))
    assert mask_from_png(both.data).tolist() == [[300, 65535]]
    assert count == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"regions": None}, "`regions` must be blobs, got None"),
        ({"regions": ["x"]}, "`regions` must be blobs"),
        ({"regions": []}, "as many of each"),
        ({"pixels": [0]}, "`pixels` must be integers of at least 1"),
        ({"pixels": None}, "`pixels` must be integers of at least 1, got None"),
        ({"last": [3]}, r"`last` must be some of the indices, got \[3\]"),
        ({"last": None}, "`last` must be some of the indices"),
    ],
)
def test_questions_that_were_edited_are_refused(tmp_path, fields, words):
    ask(begin(tmp_path), 0, {1: bits(0)})
    [path] = (tmp_path / "ledger").glob("000001-*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(ValueError, match=f"Event 000001 .*{words}"):
        Campaign.load(tmp_path)


def test_a_missing_file_of_a_question_is_named(tmp_path):
    ask(begin(tmp_path), 0, {1: bits(0)})
    [path] = (tmp_path / "labels").glob("*.png")
    path.unlink()
    with pytest.raises(ValueError, match=f"The file {path} is missing"):
        Campaign.load(tmp_path).regions.all(1)


def test_an_answer_to_an_earlier_question_speaks_of_what_was_asked_then(tmp_path):
    campaign = begin(tmp_path)
    ask(campaign, 0, {1: bits(0, 1)})
    answer(campaign, k1=label(0, 2, *[NOT_TOLD] * 4))
    ask(campaign, 1, {1: bits(3)})
    regions = campaign.regions
    first, second = regions.parts(1)
    assert regions.open_part(1) == second
    assert [part.pixels.tolist() for part in (first, second)] == [bits(0, 1).tolist(), bits(3).tolist()]
    for name, expected in ((first.name, bits(0, 1)), (second.name, bits(0, 1, 3)), ("", bits(0, 1, 3))):
        assert (regions.spoken_of(1, name) == expected).all()
    answer(campaign, k1=label(0, 2, NOT_TOLD, 1, NOT_TOLD, NOT_TOLD))
    assert regions.open_part(1) is None
    assert (regions.spoken_of(1, first.name) == bits(0, 1, 3)).all()  # a correction
    assert (regions.parts(0), regions.spoken_of(0, ""), regions.open_part(0)) == ([], None, None)


def test_what_a_mask_says_more_than_a_label():
    before = label(0, 2, *[NOT_TOLD] * 4)
    for values, more in (
        ([0, 2, NOT_TOLD, NOT_TOLD, NOT_TOLD, NOT_TOLD], False),
        ([0, NOT_TOLD, 1, 1, NOT_TOLD, NOT_TOLD], False),
        ([1, 2, NOT_TOLD, NOT_TOLD, NOT_TOLD, NOT_TOLD], True),
        ([0, 2, NOT_TOLD, NOT_TOLD, 1, NOT_TOLD], True),
    ):
        assert says_more(Mask(np.reshape(values, (2, 3))), before, bits(0, 1, 4)) is more
    assert says_more(Mask([[0, 255, 255], [255, 255, 255]]), None, bits(4))
    assert says_more(Mask([[0, 255]]), before, bits(4))  # of another size: refused later
