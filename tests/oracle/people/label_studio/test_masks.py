"""Masks that people paint, beside the small server of the tests."""

import numpy as np
import pytest
import torch

from lightning_al import ActiveLearningLoop, Campaign, SegmentationTask
from lightning_al.oracle import LabelStudio
from lightning_al.oracle.people.label_studio.control import find_control
from lightning_al.oracle.people.label_studio.results import from_results, to_results
from lightning_al.tasks.annotations import Mask
from lightning_al.tasks.mask_png import mask_from_png
from tests.helpers.fake_label_studio import TOKEN
from tests.helpers.maps import CLASSES, MapData, MapNet, Maps, told
from tests.helpers.projects import make_trainer

pytest.importorskip("requests")

NAMES = ["road", "tree", "sky"]


class Streets(Maps):
    classes = NAMES

    def __init__(self):
        super().__init__(hidden=True)

    def sample_key(self, index):
        return f"street {index}"


class Data(MapData):
    def __init__(self):
        super().__init__(Streets())

    def pool_dataset(self):
        return self.train


class Learns(MapNet):
    """Leaves pixels out of which nothing was said."""

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1], ignore_index=255)


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)


def run(folder, url, **options):
    loop = ActiveLearningLoop(
        Learns(), Data(), task=SegmentationTask(CLASSES), initial=3, query_size=2, rounds=1, evaluate=None,
        dirpath=folder / "c", oracle=LabelStudio("Streets", url=url, show=0, **options),
    )  # fmt: skip
    loop.run(make_trainer(folder, max_epochs=1), resume=True)
    return loop


def number_of(task):
    return int(task["data"]["key"].removeprefix("street "))


def control_in(fake):
    return find_control(next(iter(fake.projects.values()))["label_config"], "mask")


def painted(index):
    """What people paint: not all of it."""
    values = told(index).clone()
    values[0, 0] = 255
    return values


def people_paint(fake):
    for task in list(fake.tasks.values()):
        if not task["annotations"]:
            mask = Mask(painted(number_of(task)))
            fake.annotate(task["data"]["key"], to_results(mask, control_in(fake), classes=NAMES))


def test_what_is_painted_is_trained_on_and_what_the_model_says_is_shown(fake, url, tmp_path):
    assert run(tmp_path, url).status == "waiting"
    people_paint(fake)
    loop = run(tmp_path, url)
    assert loop.status == "waiting"
    campaign = Campaign.load(tmp_path / "c")
    assert {i: mask_from_png(label.data).tolist() for i, label in campaign.labels.items()} == {
        i: painted(i).tolist() for i in campaign.labels
    }
    shown = {number_of(task): task["predictions"] for task in fake.tasks.values()}
    assert sorted(shown) == sorted([*campaign.labels, *campaign.pool.pending.tolist()])
    model = loop.model.eval()
    for index in campaign.pool.pending.tolist():
        [prediction] = shown[index]
        said = from_results(prediction["result"], control_in(fake), classes=NAMES)
        image, _ = Streets()[index]
        logits = model(image[None])
        assert np.array_equal(said.values, logits.argmax(1)[0])
        sure = logits.softmax(1).amax(1).mean().item()
        assert prediction["score"] == pytest.approx(sure, abs=1e-6)
    people_paint(fake)
    assert run(tmp_path, url).status == "finished"
    assert len(Campaign.load(tmp_path / "c").labels) == 5


def test_a_correction_and_a_mask_that_cannot_be_taken(fake, url, tmp_path):
    run(tmp_path, url)
    people_paint(fake)
    loop = run(tmp_path, url)
    first = next(iter(loop.campaign.labels))
    fake.edit(f"street {first}", to_results(Mask(told(first)), control_in(fake), classes=NAMES))
    other = loop.campaign.pool.pending.tolist()[0]
    fake.annotate(f"street {other}", to_results(Mask([[0, 1]]), control_in(fake), classes=NAMES))
    with pytest.warns(UserWarning, match=rf"street {other}: anna@lab.org: The mask is of an image of \(2, 1\) pixels"):
        again = run(tmp_path, url)
    labels = again.campaign.labels
    assert mask_from_png(labels[first].data).tolist() == told(first).tolist()
    assert other not in labels


def test_what_nobody_painted_may_be_a_class(fake, url, tmp_path):
    run(tmp_path, url, unpainted="sky")
    people_paint(fake)
    loop = run(tmp_path, url, unpainted="sky")
    for index, label in loop.campaign.labels.items():
        expected = painted(index)
        expected[expected == 255] = 2
        assert mask_from_png(label.data).tolist() == expected.tolist()
