"""Parts of images as a folder of masks, with pictures of what is asked for."""

import shutil

import numpy as np
import pytest
from PIL import Image

from lightning_al import Campaign, LabelFiles
from lightning_al.acquisition import Entropy
from lightning_al.campaign import tell_campaign
from lightning_al.campaign.questions import check_replaceable, check_shows_parts, write_question
from lightning_al.campaign.standing import Standing
from lightning_al.oracle import AwaitTell, read_labels
from lightning_al.oracle.people.files.entries import Entry
from lightning_al.oracle.people.files.formats import write_labels
from lightning_al.tasks.mask_png import mask_from_png, mask_to_png
from tests.helpers.projects import make_trainer
from tests.helpers.regions import VOID, NamedImages, labels_in, make_images, region_loop

MASKS = make_images()[1].numpy().astype(np.uint8)
MASKS[MASKS == VOID] = 2  # in a part of void alone there is nothing that a file could say


def number_of(path):
    return int(path.stem.removeprefix("image_"))


def masks_in(folder):
    return [path for path in sorted(folder.glob("*.png")) if not path.name.endswith(".asked.png")]


def paint(folder, say=lambda n, path: MASKS[n]):
    for path in masks_in(folder):
        path.write_bytes(mask_to_png(say(number_of(path), path)))


def run(folder, **options):
    oracle = LabelFiles(folder / "labels", format="png", **options)
    loop = region_loop(folder, data=NamedImages(), oracle=oracle, initial=[4, 1], evaluate=None)
    loop.run(make_trainer(folder, acquisition=Entropy(), max_epochs=1), resume=True)
    return loop


def asked_in(folder):
    """The pictures of what is asked for, by dataset index."""
    return {number_of(path): np.array(Image.open(path.with_suffix(".asked.png"))) for path in masks_in(folder)}


def test_run_waits_for_masks_of_what_is_asked(tmp_path):
    labels = tmp_path / "labels"
    assert run(tmp_path).status == "waiting"
    first = labels / "to_label_000"
    assert not list(first.glob("*.asked.png"))  # whole images
    paint(first)
    loop = run(tmp_path)
    regions = {n: loop.campaign.regions.open(n) for n in loop.pool.pending.tolist()}
    second = labels / "to_label_001"
    assert sorted(map(number_of, masks_in(second))) == sorted(regions)
    assert all((mask_from_png(path.read_bytes()) == VOID).all() for path in masks_in(second))
    for n, pixels in asked_in(second).items():
        line = (pixels == (255, 225, 0)).all(-1)
        assert line.any()
        assert not (line & regions[n]).any()
    paint(second)  # all of each image, more than is asked for
    loop = run(tmp_path)
    assert loop.status == "waiting"
    for n, region in regions.items():
        assert (labels_in(loop.campaign)[n] == np.where(region, MASKS[n], VOID)).all()
    again = [n for n in loop.pool.pending.tolist() if n in regions]
    assert again  # what was painted beside was no answer to the next question
    third = labels / "to_label_002"
    assert set(again) <= set(map(number_of, masks_in(third)))
    asked = {n: loop.campaign.regions.all(n) for n in loop.pool.pending.tolist()}
    run(tmp_path)
    assert not (labels / "to_label_003").exists()
    shutil.copytree(third, labels / "anna")
    paint(labels / "anna")
    assert run(tmp_path).status == "finished"
    campaign = Campaign.load(tmp_path / "c")
    for n, pixels in asked.items():
        told = np.where(pixels, MASKS[n], VOID)
        assert (labels_in(campaign)[n] == told).all()
    answered = [event for event in Campaign.read_events(tmp_path / "c") if event["kind"] == "answered"]
    assert [event["annotator"] for event in answered] == ["files", "files", "anna"]


def test_masks_that_say_nothing_of_it_wait_and_wrong_sizes_are_named(tmp_path):
    run(tmp_path)
    paint(tmp_path / "labels" / "to_label_000")
    loop = run(tmp_path)
    pending = loop.pool.pending.tolist()
    regions = {n: loop.campaign.regions.open(n) for n in pending}
    second = tmp_path / "labels" / "to_label_001"
    paint(second, lambda n, path: np.where(regions[n], VOID, MASKS[n]).astype(np.uint8))
    assert run(tmp_path).pool.pending.tolist() == pending
    paint(second, lambda n, path: MASKS[n][:, 1:])
    with pytest.raises(ValueError, match=r"The mask is 11 x 9 pixels and the image 12 x 9"):
        run(tmp_path)


def test_a_part_of_which_nothing_has_a_class_is_said_by_a_folder_of_ones_own(tmp_path):
    run(tmp_path)
    first, second = (tmp_path / "labels" / name for name in ("to_label_000", "to_label_001"))
    paint(first)
    loop = run(tmp_path)
    pending, before = loop.pool.pending.tolist(), labels_in(loop.campaign)
    assert run(tmp_path, empty=True).pool.pending.tolist() == pending  # the question itself, as it was written
    shutil.copytree(second, tmp_path / "labels" / "anna")
    run(tmp_path, empty=True)
    events = Campaign.read_events(tmp_path / "c")
    said = [event for event in events if event.get("annotator") == "anna"]
    assert sorted(i for event in said for i in event["indices"]) == sorted(pending)
    after = labels_in(Campaign.load(tmp_path / "c"))
    assert after.keys() == before.keys()
    assert all((after[n] == mask).all() for n, mask in before.items())


def export(folder, loop, picked):
    data, task = loop.datamodule, loop.task
    write_question(
        folder, Standing(loop.dirpath), picked, size_of=lambda i: (12, 9),
        image_of=lambda i: task.inputs(data.pool_set[i]),
    )  # fmt: skip


def test_a_folder_is_filled_in_and_told_and_an_older_one_answers_nothing_new(tmp_path):
    loop = region_loop(tmp_path, data=NamedImages(), oracle=AwaitTell(), rounds=None, initial=[4, 1])
    trainer = make_trainer(tmp_path, max_epochs=1)
    export(tmp_path / "q0", loop, loop.ask(trainer))
    paint(tmp_path / "q0")
    assert tell_campaign(tmp_path / "c", [read_labels(tmp_path / "q0")]).labelled == 2
    first = region_loop(tmp_path, data=NamedImages(), oracle=AwaitTell(), rounds=None, initial=[4, 1])
    asked = first.ask(trainer)
    export(tmp_path / "q1", first, asked)
    assert len(list((tmp_path / "q1").glob("*.asked.png"))) == len(asked)
    assert tell_campaign(tmp_path / "c", [read_labels(tmp_path / "q1")]).blank == len(asked)
    paint(tmp_path / "q1")
    with pytest.raises(FileExistsError, match="labels that were not told yet"):
        check_replaceable(tmp_path / "q1", Standing(tmp_path / "c"))
    tell_campaign(tmp_path / "c", [read_labels(tmp_path / "q1")])
    check_replaceable(tmp_path / "q1", Standing(tmp_path / "c"))
    second = region_loop(tmp_path, data=NamedImages(), oracle=AwaitTell(), rounds=None, initial=[4, 1])
    asked = second.ask(trainer)
    before = labels_in(second.campaign)
    check_replaceable(tmp_path / "q1", Standing(tmp_path / "c"))  # of its question all was told
    told = tell_campaign(tmp_path / "c", [read_labels(tmp_path / "q1")])
    campaign = Campaign.load(tmp_path / "c")
    assert (told.labelled, campaign.pool.pending.tolist()) == (0, asked)
    assert all((labels_in(campaign)[n] == mask).all() for n, mask in before.items())
    export(tmp_path / "q2", second, asked)
    paint(tmp_path / "q2")
    with pytest.raises(FileExistsError, match="labels that were not told yet"):
        check_replaceable(tmp_path / "q2", Standing(tmp_path / "c"))
    tell_campaign(tmp_path / "c", [read_labels(tmp_path / "q2")])
    campaign = Campaign.load(tmp_path / "c")
    for n, mask in labels_in(campaign).items():
        if n not in (1, 4):
            assert (mask == np.where(campaign.regions.all(n), MASKS[n], VOID)).all()


@pytest.mark.parametrize(("path", "format"), [("q.csv", None), ("q.json", None), ("q", "voc")])
def test_other_files_have_no_room_for_parts(tmp_path, path, format):
    with pytest.raises(ValueError, match=r"has no room for which parts of images are asked for: name a folder"):
        check_shows_parts(tmp_path / path, format)
    check_shows_parts(tmp_path / "folder")


def test_an_image_that_is_called_as_anothers_picture(tmp_path):
    entries = [Entry("a.jpg", size=(2, 1), picture=lambda: b""), Entry("a.asked.jpg", size=(2, 1))]
    with pytest.raises(ValueError, match=r"a\.asked\.png would be both a mask and the picture of what 'a\.jpg'"):
        write_labels(tmp_path / "q", entries, "png")


def in_second_round(folder):
    """Return images that have a label and are asked for again, with the parts."""
    options = {"data": NamedImages(), "oracle": AwaitTell(), "rounds": None, "initial": [4, 1]}
    trainer = make_trainer(folder, max_epochs=1)
    for _ in range(2):
        loop = region_loop(folder, **options)
        asked = loop.ask(trainer)
        loop.tell(asked, [MASKS[n] for n in asked])
    loop = region_loop(folder, **options)
    return {n: loop.campaign.regions.open(n) for n in loop.ask(trainer) if n in loop.campaign.labels}


@pytest.mark.few(1)
@pytest.mark.parametrize("agreement", ["first", "latest", "majority"])
def test_another_person_answers_the_next_question(tmp_path, agreement):
    regions = in_second_round(tmp_path)
    (tmp_path / "ben").mkdir()
    for n in regions:
        (tmp_path / "ben" / f"image_{n}.png").write_bytes(mask_to_png(MASKS[n]))
    reading = read_labels(tmp_path / "ben")
    told = tell_campaign(tmp_path / "c", [reading], annotator="ben", agreement=agreement)
    assert (told.labelled, told.disagreements) == (len(regions), [])
    campaign = Campaign.load(tmp_path / "c")
    for n in regions:
        assert (labels_in(campaign)[n] == np.where(campaign.regions.all(n), MASKS[n], VOID)).all()


def test_a_skip_in_a_table_ends_the_questions_for_an_image(tmp_path):
    regions = in_second_round(tmp_path)
    before = labels_in(Campaign.load(tmp_path / "c"))
    n = next(iter(regions))
    table = tmp_path / "skips.csv"
    table.write_text(f"key,label\nimage_{n}.jpg,skip\n")
    assert tell_campaign(tmp_path / "c", [read_labels(table)]).skipped == 1
    campaign = Campaign.load(tmp_path / "c")
    assert n not in campaign.pool.pending.tolist()
    assert n not in campaign.pool.askable.tolist()
    assert (labels_in(campaign)[n] == before[n]).all()
    again = tell_campaign(tmp_path / "c", [read_labels(table)])
    assert (again.skipped, again.unchanged, again.problems) == (0, 1, [])


def test_blank_masks_may_say_that_nothing_of_a_part_has_a_class(tmp_path):
    """Of an image with a label, which it keeps, and of one without; told twice, they say nothing of the next part."""
    loop = region_loop(tmp_path, data=NamedImages(), oracle=AwaitTell(), rounds=None, initial=[4, 1])
    trainer = make_trainer(tmp_path, max_epochs=1)
    loop.tell(loop.ask(trainer), [MASKS[4], MASKS[1]])
    blank, *others = first = loop.ask(trainer)
    export(tmp_path / "q1", loop, first)
    paint(tmp_path / "q1", lambda n, path: np.where(n == blank, VOID, MASKS[n]).astype(np.uint8))
    assert tell_campaign(tmp_path / "c", [read_labels(tmp_path / "q1")], annotator="anna").blank == 1
    assert Campaign.load(tmp_path / "c").pool.pending.tolist() == [blank]
    told = tell_campaign(tmp_path / "c", [read_labels(tmp_path / "q1", empty=True)], annotator="anna")
    assert (told.void, told.unchanged, str(told)) == (
        1,
        len(others),
        f"0 labelled, {len(others)} unchanged, 1 without a class",
    )
    campaign = Campaign.load(tmp_path / "c")
    assert (campaign.pool.pending.tolist(), campaign.pool.skipped.tolist()) == ([], [])
    assert blank not in campaign.labels
    assert Campaign.read_events(tmp_path / "c")[-1]["annotator"] == "anna"
    loop = region_loop(tmp_path, data=NamedImages(), oracle=AwaitTell(), rounds=None, initial=[4, 1])
    second = loop.ask(trainer)
    assert blank in second
    again = tell_campaign(tmp_path / "c", [read_labels(tmp_path / "q1", empty=True)])
    assert (again.void, Campaign.load(tmp_path / "c").pool.pending.tolist()) == (0, second)
    export(tmp_path / "q2", loop, second)
    before = labels_in(Campaign.load(tmp_path / "c"))
    assert tell_campaign(tmp_path / "c", [read_labels(tmp_path / "q2", empty=True)]).void == len(second)
    standing, campaign = Standing(tmp_path / "c"), Campaign.load(tmp_path / "c")
    assert sorted(standing.units("labelled")) == sorted(campaign.labels) == sorted(before)
    assert all((labels_in(campaign)[n] == mask).all() for n, mask in before.items())
    assert campaign.pool.pending.tolist() == []
    assert set(others) <= set(campaign.pool.askable.tolist())


def test_a_blank_mask_that_is_told_says_it_too(tmp_path):
    regions = in_second_round(tmp_path)
    loop = region_loop(tmp_path, data=NamedImages(), oracle=AwaitTell(), rounds=None, initial=[4, 1])
    before = labels_in(Campaign.load(tmp_path / "c"))
    loop.tell(list(regions), [np.full_like(MASKS[n], VOID) for n in regions])
    campaign = Campaign.load(tmp_path / "c")
    assert set(regions).isdisjoint(campaign.pool.pending.tolist())
    assert all((labels_in(campaign)[n] == before[n]).all() for n in regions)
    assert set(regions) <= set(campaign.pool.askable.tolist())
