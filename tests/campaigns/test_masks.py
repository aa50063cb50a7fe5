"""Whole campaigns whose labels are masks: told in any form, kept in files, trained on as they were told."""

import functools

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_al import SKIP, ActiveLearningLoop, AwaitTell, Campaign, SegmentationTask
from lightning_al.campaign import Standing, tell_campaign
from lightning_al.cli.status import status_of, text_of
from lightning_al.oracle import DatasetOracle, LabelFiles, read_labels, write_labels
from lightning_al.oracle.people.files.entries import Entry
from lightning_al.storage.blobs import Blob
from lightning_al.tasks.annotations import Mask
from lightning_al.tasks.mask_png import mask_from_png
from tests.helpers.maps import CLASSES, MapData, MapNet, Maps, Tells, mask, told
from tests.helpers.processes import fork
from tests.helpers.projects import make_trainer


class Whole(MapData):
    """Samples without augmentation, their masks hidden if they are to be told."""

    def __init__(self, train=None, hidden=True):
        super().__init__(Maps(hidden=hidden) if train is None else train)

    def pool_dataset(self):
        return self.train


def loop_in(folder, model=None, data=None, **options):
    settings = {"initial": 4, "query_size": 3, "rounds": 1, "evaluate": None, "dirpath": folder / "c", **options}
    return ActiveLearningLoop(model or MapNet(), data or Whole(), task=SegmentationTask(CLASSES), **settings)


def trainer_in(folder, **options):
    return make_trainer(folder, **{"max_epochs": 1, **options})


def told_masks(campaign):
    return {index: mask_from_png(label.data).tolist() for index, label in campaign.labels.items()}


def test_a_simulated_campaign(tmp_path):
    data = Whole(hidden=False)
    loop_in(tmp_path, data=data).run(trainer_in(tmp_path))
    campaign = Campaign.load(tmp_path / "c")
    assert told_masks(campaign) == {i: mask(i).tolist() for i in campaign.labels}
    assert len(campaign.labels) == 7
    assert {path.name for path in (tmp_path / "c" / "labels").iterdir()} == {
        blob.name for blob in campaign.labels.values()
    }
    assert all(path.stat().st_size < 1500 for path in (tmp_path / "c" / "ledger").iterdir())
    model = MapNet()
    loop_in(tmp_path, model=model, data=data, rounds=2).run(trainer_in(tmp_path), resume=True)
    assert (model.seen, model.wrong) == (10, 0)


FORMS = [
    lambda values, _: values,
    lambda values, _: values.numpy().astype(np.uint8),
    lambda values, _: Image.fromarray(values.numpy().astype(np.uint8)),
    lambda values, _: Mask(values),
    lambda values, folder: Image.fromarray(values.numpy().astype(np.uint8)).save(folder / "x.png") or folder / "x.png",
]


def test_told_in_python(tmp_path):
    loop = loop_in(tmp_path, oracle=AwaitTell())
    asked = loop.ask(trainer_in(tmp_path))
    loop.tell(asked[:1], [SKIP])
    for index, form in zip(asked[1:], FORMS, strict=False):
        loop.tell([index], [form(told(index), tmp_path)])
    again = loop_in(tmp_path, oracle=AwaitTell())  # another process
    more = sorted(set(range(10)) - set(asked))[:2]
    again.tell(more, [form(told(index), tmp_path) for index, form in zip(more, FORMS[3:], strict=True)])
    model = MapNet(shift=1)
    later = loop_in(tmp_path, model=model, oracle=AwaitTell())
    pending = later.ask(trainer_in(tmp_path), more=True)
    assert (model.seen, model.wrong) == (5, 0)
    assert told_masks(later.campaign) == {i: told(i).tolist() for i in [*asked[1:], *more]}
    # corrections replace, and what is forgotten is never asked for
    later.tell(asked[1:2], [mask(asked[1])])
    later.campaign.forget([later.campaign.keys[asked[2]]])
    found = told_masks(Campaign.load(tmp_path / "c"))
    assert found == {i: told(i).tolist() for i in [asked[3], *more]} | {asked[1]: mask(asked[1]).tolist()}
    later.release(pending)
    status = status_of(tmp_path / "c")
    assert (status["labelled"], status["pending"]) == (4, 0)
    assert "by tell" in text_of(status)


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("label", "what"),
    [
        (mask(0)[:-1], "The mask is 5 x 5 pixels and the image 5 x 6"),
        (mask(0).T.contiguous(), "The mask is 6 x 5 pixels and the image 5 x 6"),
        (mask(0) + 1, "3 in a mask is no class"),
        (mask(0) - 1, "-1 in a mask is no class"),
        (mask(0).float(), "an integer for each pixel"),
        (torch.full((6, 5), 255), "No pixel of the mask has a class.*`SKIP`"),
        (3, "an integer for each pixel"),
        (None, "None is no label"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_taken(tmp_path, label, what):
    loop = loop_in(tmp_path, oracle=AwaitTell())
    asked = loop.ask(trainer_in(tmp_path))
    before = sorted((tmp_path / "c" / "ledger").iterdir())
    for each in (loop, loop_in(tmp_path, oracle=AwaitTell())):
        with pytest.raises(TypeError, match=what):
            each.tell(asked[:2], [told(asked[0]), label])
    assert sorted((tmp_path / "c" / "ledger").iterdir()) == before
    assert not (tmp_path / "c" / "labels").exists()


def test_a_mask_of_another_size_that_nobody_asked_for(tmp_path):
    loop = loop_in(tmp_path, oracle=AwaitTell())
    asked = loop.ask(trainer_in(tmp_path))
    loop.tell(asked, map(told, asked))
    other = min(set(range(10)) - set(asked))
    loop_in(tmp_path, oracle=AwaitTell()).tell([other], [torch.zeros(9, 9, dtype=torch.long)])
    later = loop_in(tmp_path, oracle=AwaitTell())
    with pytest.raises(ValueError, match=rf"Sample {other} .*mask is 9 x 9 pixels and the image 5 x 6.*tell"):
        later.ask(trainer_in(tmp_path))
    later.tell([other], [told(other)])
    assert len(later.ask(trainer_in(tmp_path))) == 3


def test_told_from_files(tmp_path):
    """As `lightning-al tell` does it, of the campaign's folder alone."""
    loop = loop_in(tmp_path, data=Named(), oracle=AwaitTell())
    asked = loop.ask(trainer_in(tmp_path))
    write_labels(tmp_path / "masks", [Entry(f"{i}.jpg", Mask(told(i))) for i in asked], kind="mask")
    assert tell_campaign(tmp_path / "c", [read_labels(tmp_path / "masks")], annotator="anna").labelled == 4
    assert Standing(tmp_path / "c").samples[asked[0]].size == (5, 6)
    assert told_masks(Campaign.load(tmp_path / "c")) == {i: told(i).tolist() for i in asked}
    again = loop_in(tmp_path, data=Named(), oracle=AwaitTell())
    again.tell(asked[:1], [told(asked[0])])  # the same file, whoever writes it
    assert len(list((tmp_path / "c" / "labels").iterdir())) == 4
    Image.new("L", (2, 1)).save(tmp_path / "masks" / f"{asked[1]}.png")
    with pytest.raises(ValueError, match=rf"{asked[1]}.png: The mask is 2 x 1 pixels and the image 5 x 6"):
        tell_campaign(tmp_path / "c", [read_labels(tmp_path / "masks")])


def test_a_folder_of_files_that_people_fill_in(tmp_path):
    def run(model=None):
        loop = loop_in(tmp_path, model=model, data=Named(), oracle=LabelFiles(tmp_path / "people", format="png"))
        loop.run(trainer_in(tmp_path), resume=True)
        return loop

    loop = run()
    assert loop.status == "waiting"
    fill(tmp_path / "people" / "to_label_000", some=2)
    assert len(run().pool.labelled) == 2
    fill(tmp_path / "people" / "to_label_000")
    model = MapNet(shift=1)
    assert run(model).status == "waiting"
    assert (model.seen, model.wrong) == (4, 0)
    (tmp_path / "people" / "to_label_001" / "nobody.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"nobody.png: a mask is a PNG file"):
        run()


class Listed(Maps):
    def __init__(self):
        super().__init__(hidden=True)
        self.paths = [f"{i}.jpg" for i in range(len(self))]


class Named(Whole):
    def __init__(self):
        super().__init__(Listed())


def fill(folder, some=None):
    """Paint as many images of a question."""
    for path in sorted(folder.iterdir())[:some]:
        with Image.open(path) as image:
            values = np.array(image)
            assert (values == 255).all() or path.stem
            assert values.shape == (6, 5)
        Image.fromarray(told(int(path.stem)).numpy().astype(np.uint8)).save(path)


def test_a_damaged_or_missing_file_is_named_at_opening(tmp_path):
    loop = loop_in(tmp_path, data=Named(), oracle=AwaitTell())
    asked = loop.ask(trainer_in(tmp_path))
    loop.tell(asked, map(told, asked))
    file = loop.campaign.labels[asked[1]].path
    whole = file.read_bytes()
    for harm, what in ((file.unlink, "is missing"), (lambda: file.write_bytes(whole[:-1]), "is damaged")):
        harm()
        with pytest.raises(ValueError, match=rf"{asked[1]} \({asked[1]}.jpg\).*{file.name} {what}"):
            loop_in(tmp_path, data=Named(), oracle=AwaitTell()).ask(trainer_in(tmp_path))
    loop_in(tmp_path, data=Named(), oracle=AwaitTell()).tell(asked[1:2], [told(asked[1])])  # the way out
    assert file.read_bytes() == whole
    assert loop_in(tmp_path, data=Named(), oracle=AwaitTell()).ask(trainer_in(tmp_path))


class Reversed(Maps):
    def __getitem__(self, i):
        if i >= self.size:
            raise IndexError(i)
        return super().__getitem__(self.size - 1 - i)


@pytest.mark.parametrize("level", [None, 1])
def test_samples_that_moved_take_their_masks_along(tmp_path, monkeypatch, level):
    """Also where another version of what writes PNGs makes other bytes of the same mask."""
    loop_in(tmp_path, data=Whole(hidden=False)).run(trainer_in(tmp_path))
    if level is not None:
        monkeypatch.setattr(Image.Image, "save", functools.partialmethod(Image.Image.save, compress_level=level))
    loop = loop_in(tmp_path, data=Whole(Reversed()), rounds=2)
    loop.run(trainer_in(tmp_path), resume=True)
    count = len(Maps())
    assert told_masks(loop.campaign) == {i: mask(count - 1 - i).tolist() for i in loop.campaign.labels}
    with pytest.raises(ValueError, match=r"had label Blob\(.*and has Blob\("):
        other = Whole(Maps(transform=lambda sample: (sample[0], (sample[1] + 1) % CLASSES)))
        loop_in(tmp_path, data=other, rounds=3).run(trainer_in(tmp_path), resume=True)


def test_a_ledger_of_older_masks_goes_on(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTask, "encode_label", lambda self, label: label.tolist())
        loop_in(tmp_path, data=Whole(hidden=False)).run(trainer_in(tmp_path))
    assert not (tmp_path / "c" / "labels").exists()
    model = MapNet()
    loop = loop_in(tmp_path, model=model, data=Whole(hidden=False), rounds=2)
    loop.run(trainer_in(tmp_path), resume=True)
    assert (len(loop.campaign.labels), model.wrong) == (10, 0)
    assert len(list((tmp_path / "c" / "labels").iterdir())) == 3


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2])
def test_every_process_reads_them(tmp_path, processes):
    strategy, devices = fork(processes)
    for folder, options in (("one", {}), ("many", {"strategy": strategy, "devices": devices})):
        loop = loop_in(tmp_path / folder, oracle=Tells(), data=Whole(), evaluate=None)
        loop.run(trainer_in(tmp_path / folder, **options))
    one, many = (Campaign.load(tmp_path / folder / "c") for folder in ("one", "many"))
    assert one.labels == many.labels
    assert [r.picked for r in one.rounds] == [r.picked for r in many.rounds]


def test_the_data_set_s_own_masks_do_not_wait_in_memory_to_be_written():
    oracle = DatasetOracle()
    oracle.bind(Maps(), SegmentationTask(CLASSES))
    oracle.request([3, 5])
    answers = oracle.poll()
    assert all(isinstance(label, Blob) for label in answers.values())
    assert [mask_from_png(answers[i].data).tolist() for i in (3, 5)] == [mask(3).tolist(), mask(5).tolist()]
