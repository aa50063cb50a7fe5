"""Parts of images that people paint, beside the small server of the tests."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_al import Campaign
from lightning_al.acquisition import Entropy
from lightning_al.oracle import LabelStudio
from lightning_al.oracle.people.label_studio.memory import FILE
from lightning_al.oracle.people.label_studio.results import from_results, to_results
from lightning_al.tasks.annotations import Mask
from tests.helpers.fake_label_studio import TOKEN
from tests.helpers.projects import make_trainer
from tests.helpers.regions import VOID, NamedImages, labels_in, make_images, region_loop
from tests.oracle.people.label_studio.test_masks import control_in

pytest.importorskip("requests")

NAMES = ["road", "tree", "sky"]
MASKS = make_images()[1].numpy()


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)


def run(folder, url, **options):
    oracle = LabelStudio("Streets", url=url, **options)
    loop = region_loop(folder, data=NamedImages(), oracle=oracle, initial=[4, 1], evaluate=None)
    loop.run(make_trainer(folder, acquisition=Entropy(), max_epochs=1), resume=True)
    return loop


def key_of(n, region=None):
    return f"image_{n}.jpg" if region is None else f"image_{n}.jpg part {region.name}"


def paint(fake, n, region=None, mask=None, edit=False):
    """Paint all of an image, whatever is asked for of it."""
    results = to_results(Mask(MASKS[n] if mask is None else mask), control_in(fake), classes=NAMES)
    (fake.edit if edit else fake.annotate)(key_of(n, region), results)


def parts_of(loop):
    return {n: loop.campaign.regions.open_part(n) for n in loop.pool.pending.tolist()}


def begin(folder, fake, url, **options):
    """Label the initial images; return the loop with the first question for parts, and those with a class in them."""
    run(folder, url, **options)
    for n in (4, 1):
        paint(fake, n)
    loop = run(folder, url, **options)
    parts = parts_of(loop)
    valid = {n: part for n, part in parts.items() if (MASKS[n][part.pixels] != VOID).any()}
    return loop, parts, valid


def expected(n, *parts):
    return np.where(np.logical_or.reduce([part.pixels for part in parts]), MASKS[n], VOID)


def test_a_task_shows_and_predicts_the_part_and_no_more_of_an_answer_is_taken(fake, url, tmp_path):
    loop, parts, valid = begin(tmp_path, fake, url)
    model = loop.model.eval()
    assert {task["data"]["key"] for task in fake.tasks.values()} == {
        key_of(4), key_of(1), *(key_of(n, part) for n, part in parts.items())
    }  # fmt: skip
    for n, part in parts.items():
        task = fake.by_key(key_of(n, part))
        uri = task["data"]["image"].removeprefix("data:image/png;base64,")
        pixels = np.array(Image.open(io.BytesIO(base64.b64decode(uri))))
        line = (pixels == (255, 225, 0)).all(-1)
        assert line.any()
        assert not line[part.pixels].any()
        assert pixels[~part.pixels & ~line].max() <= 90  # dark
        [prediction] = task["predictions"]
        said = from_results(prediction["result"], control_in(fake), classes=NAMES)
        with torch.no_grad():
            wanted = model(loop.datamodule.pool_set[n][0][None]).argmax(1)[0].numpy()
        assert (said.values == np.where(part.pixels, wanted, VOID)).all()
    for n, part in valid.items():
        paint(fake, n, part)
    for n in parts.keys() - valid.keys():
        fake.skip(key_of(n, parts[n]))
    loop = run(tmp_path, url)
    for n, part in valid.items():
        assert (labels_in(loop.campaign)[n] == expected(n, part)).all()
    assert set(loop.pool.skipped.tolist()) == parts.keys() - valid.keys()
    second = parts_of(loop)
    again = second.keys() & valid.keys()
    assert again  # has another task, and what was painted beside is no answer to it
    for n, part in second.items():
        paint(fake, n, part)
    assert run(tmp_path, url).status in ("finished", "waiting")
    labels = labels_in(Campaign.load(tmp_path / "c"))
    for n in again:
        assert (labels[n] == expected(n, valid[n], second[n])).all()


def test_corrections_wait_for_the_open_question_and_skips_end_it(fake, url, tmp_path):
    _, parts, _ = begin(tmp_path, fake, url)
    for n, part in parts.items():
        paint(fake, n, part, np.where(MASKS[n] == VOID, 0, MASKS[n]))
    loop = run(tmp_path, url)
    second = parts_of(loop)
    one, other, third, *_ = [n for n in second if (MASKS[n][second[n].pixels] != VOID).any()]
    before = labels_in(loop.campaign)
    for n in (one, other):
        paint(fake, n, parts[n], np.full_like(MASKS[n], 2), edit=True)  # and of what is asked for now, too
    for _ in range(20):  # seconds, by the server's clock
        fake.tick()
    paint(fake, third, second[third])
    loop = run(tmp_path, url)
    assert loop.pool.pending.tolist() == [n for n in second if n != third]
    assert (labels_in(loop.campaign)[one] == before[one]).all()
    paint(fake, one, second[one], np.full_like(MASKS[one], 1))
    fake.skip(key_of(other, second[other]))
    run(tmp_path, url)
    loop = run(tmp_path, url)
    assert {one, other}.isdisjoint(loop.pool.pending.tolist())
    labels = labels_in(loop.campaign)
    nothing = np.full_like(MASKS[one], VOID)
    first = np.where(parts[one].pixels, 2, nothing)
    assert (labels[one] == np.where(second[one].pixels, 1, first)).all()
    assert (labels[other] == np.where(parts[other].pixels, 2, nothing)).all()


def test_nothing_is_sent_twice(fake, url, tmp_path):
    """Neither when the answer to a request was lost, nor when all that is known of the project is."""
    dropped = []

    def drop(method, path):
        if path.endswith("/import") and len(fake.tasks) > 2 and not dropped:
            dropped.append(path)
            raise ConnectionAbortedError

    fake.after = drop
    _, parts, valid = begin(tmp_path, fake, url)
    assert dropped
    count = len(fake.tasks)
    assert count == 2 + len(parts)
    n, part = next(iter(valid.items()))
    paint(fake, n, part)
    (tmp_path / "c" / FILE).unlink()
    loop = run(tmp_path, url)
    assert len(fake.tasks) == count
    assert n not in loop.pool.pending.tolist()
    assert (labels_in(loop.campaign)[n] == expected(n, part)).all()


def test_what_says_nothing_of_the_part_is_named_and_waits(fake, url, tmp_path):
    _, parts, valid = begin(tmp_path, fake, url)
    n, part = next(iter(valid.items()))
    paint(fake, n, part, np.where(part.pixels, VOID, MASKS[n]))
    with pytest.warns(UserWarning, match=rf"{key_of(n, part)}: anna@lab.org: Nothing is painted of what is asked for"):
        loop = run(tmp_path, url)
    assert loop.pool.pending.tolist() == list(parts)


def test_a_task_that_is_submitted_blank_says_that_nothing_of_the_part_has_a_class(fake, url, tmp_path):
    """The image stays without a label, and other parts of it are asked for."""
    _, parts, valid = begin(tmp_path, fake, url)
    empty, *others = valid
    fake.annotate(key_of(empty, parts[empty]), [])
    for n in others:
        paint(fake, n, parts[n])
    for n in parts.keys() - valid.keys():
        fake.annotate(key_of(n, parts[n]), [])
    loop = run(tmp_path, url)
    campaign = loop.campaign
    assert set(campaign.labels) == {4, 1, *others}
    assert campaign.pool.skipped.tolist() == []
    second = parts_of(loop)
    assert empty in second
    assert not (second[empty].pixels & parts[empty].pixels).any()
    n = others[0]  # which has a label by now
    fake.annotate(key_of(n, second[n]), [])
    run(tmp_path, url)
    campaign = Campaign.load(tmp_path / "c")
    assert not campaign.pool.is_pending(n)
    assert (labels_in(campaign)[n] == expected(n, parts[n])).all()


def test_what_nobody_painted_of_a_part_may_be_a_class(fake, url, tmp_path):
    _, _, valid = begin(tmp_path, fake, url, unpainted="sky")
    n, part = next(iter(valid.items()))
    paint(fake, n, part, np.where(MASKS[n] == 2, VOID, MASKS[n]))
    loop = run(tmp_path, url, unpainted="sky")
    wanted = np.where(MASKS[n] == VOID, 2, MASKS[n])
    assert (labels_in(loop.campaign)[n] == np.where(part.pixels, wanted, VOID)).all()


def test_a_majority_is_of_the_part(fake, url, tmp_path):
    _, parts, _ = begin(tmp_path, fake, url)
    n, part = next(iter(parts.items()))
    next(iter(fake.projects.values()))["maximum_annotations"] = 2
    for who in (1, 2):  # who disagree beside it, and on its first pixel
        values = np.full_like(MASKS[n], 0)
        values[~part.pixels] = who
        values[tuple(np.argwhere(part.pixels)[0])] = who
        results = to_results(Mask(values), control_in(fake), classes=NAMES)
        fake.annotate(key_of(n, part), results, by=who)
    loop = run(tmp_path, url, agreement="majority", annotators=2)
    wanted = np.where(part.pixels, 0, VOID)
    wanted[tuple(np.argwhere(part.pixels)[0])] = VOID
    assert (labels_in(loop.campaign)[n] == wanted).all()


def test_people_who_disagree_on_each_pixel_say_not_that_there_is_nothing(fake, url, tmp_path):
    _, parts, _ = begin(tmp_path, fake, url)
    n, part = next(iter(parts.items()))
    next(iter(fake.projects.values()))["maximum_annotations"] = 2
    for who in (1, 2):
        results = to_results(Mask(np.full_like(MASKS[n], who)), control_in(fake), classes=NAMES)
        fake.annotate(key_of(n, part), results, by=who)
    with pytest.warns(UserWarning, match="There is no pixel of which more people say one class than another"):
        loop = run(tmp_path, url, agreement="majority", annotators=2)
    assert loop.pool.is_pending(n)
