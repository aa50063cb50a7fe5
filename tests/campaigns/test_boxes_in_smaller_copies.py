"""Boxes that people draw in files, of which the dataset gives smaller copies: labels are in the pixels of these."""

import json
from xml.etree import ElementTree

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign, DetectionTask, LabelFiles
from lightning_al.acquisition import Random
from lightning_al.campaign.questions import write_question
from lightning_al.campaign.standing import Standing
from lightning_al.campaign.told import Problems, tell_campaign
from lightning_al.data.image_size import drawn_size
from lightning_al.oracle import read_labels
from lightning_al.tasks.annotations import Boxes
from tests.helpers.detecting import Detecting, in_lists
from tests.helpers.marks import slow
from tests.oracle.people.label_studio.asking import Asking
from tests.oracle.people.label_studio.conftest import fake, url  # noqa: F401

FILE = (128, 96)  # width and height
NAMES = ["background", "red", "green", "blue"]


class Copies(Dataset):
    """Files with a bright rectangle in each, and copies of them of another size; nothing is known of them."""

    classes = NAMES

    def __init__(self, folder, size=(64, 48), count=4):
        self.root, self.size = str(folder), size
        self.paths = [str(folder / f"{index}.png") for index in range(count)]
        self.drawn = [(8 + 4 * index, 12, 72, 40 + 4 * index) for index in range(count)]  # even: whole in the copy
        for path, (left, top, right, bottom) in zip(self.paths, self.drawn, strict=True):
            pixels = np.zeros((FILE[1], FILE[0], 3), dtype=np.uint8)
            pixels[top:bottom, left:right] = 255
            Image.fromarray(pixels).save(path)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with Image.open(self.paths[index]) as image:
            pixels = np.array(image.resize(self.size, Image.Resampling.NEAREST))
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, None

    def around_bright(self, index):
        """The corners around what is bright in the copy."""
        rows, columns = torch.where(self[index][0][0] > 0.5)
        return [float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1]


class Data(pl.LightningDataModule):
    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def train_dataloader(self):
        return DataLoader(self.dataset, 2, collate_fn=in_lists)


class Frozen(Detecting):
    def __init__(self):
        super().__init__("ssd", lr=0.0)


def trainer():
    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(max_epochs=1, callbacks=[Random()], enable_model_summary=False, limit_val_batches=0, **quiet)


def opened(dataset, folder, oracle=None, resume=False):
    options = {"initial": 2, "query_size": 1, "rounds": 1, "dirpath": folder / "campaign", "evaluate": None}
    oracle = AwaitTell() if oracle is None else oracle
    loop = ActiveLearningLoop(Frozen(), Data(dataset), task=DetectionTask(), oracle=oracle, **options)
    loop.run(trainer(), resume=resume)
    return loop


def fill_coco(path, dataset):
    told = json.loads(path.read_text())
    assert all((image["width"], image["height"]) == FILE for image in told["images"])
    for n, image in enumerate(told["images"]):
        left, top, right, bottom = dataset.drawn[int(image["file_name"][0])]
        box = [left, top, right - left, bottom - top]
        category = NAMES.index("green")
        told["annotations"].append({"id": n, "image_id": image["id"], "category_id": category, "bbox": box})
    path.write_text(json.dumps(told))


def fill_voc(folder, dataset):
    for file in folder.glob("*.xml"):
        tree = ElementTree.parse(file)
        size = tree.getroot().find("size")
        assert (int(size.findtext("width")), int(size.findtext("height"))) == FILE
        thing = ElementTree.SubElement(tree.getroot(), "object")
        ElementTree.SubElement(thing, "name").text = "green"
        sides = ElementTree.SubElement(thing, "bndbox")
        for side, corner in zip(("xmin", "ymin", "xmax", "ymax"), dataset.drawn[int(file.stem)], strict=True):
            ElementTree.SubElement(sides, side).text = str(corner)
        tree.write(file)


def check_labels(folder, dataset):
    labels = Campaign.load(folder / "campaign").labels
    assert len(labels) >= 2
    for index, label in labels.items():
        assert label == {"boxes": [dataset.around_bright(index)], "labels": [NAMES.index("green")]}


@pytest.mark.parametrize("kind", [slow("coco"), slow("voc")])
def test_what_is_drawn_in_files_is_where_it_is_in_the_copy(kind, tmp_path):
    dataset = Copies(tmp_path)
    opened(dataset, tmp_path, LabelFiles(tmp_path / "files", format=kind))
    question = tmp_path / "files" / "to_label_000"
    if kind == "coco":
        fill_coco(question.with_suffix(".json"), dataset)
    else:
        fill_voc(question, dataset)
    opened(dataset, tmp_path, LabelFiles(tmp_path / "files", format=kind), resume=True)
    check_labels(tmp_path, dataset)


@pytest.mark.parametrize("name", ["asked.json", slow("asked")])
def test_what_is_told_without_the_project_at_hand(name, tmp_path):
    dataset, task = Copies(tmp_path), DetectionTask()
    pending = opened(dataset, tmp_path).campaign.pool.pending.tolist()
    standing, path = Standing(tmp_path / "campaign"), tmp_path / name
    write_question(path, standing, pending, size_of=lambda index: drawn_size(dataset, index, task))
    (fill_coco if path.suffix else fill_voc)(path, dataset)
    assert tell_campaign(tmp_path / "campaign", [read_labels(path)]).labelled == 2
    assert tell_campaign(tmp_path / "campaign", [read_labels(path)]).unchanged == 2
    check_labels(tmp_path, dataset)


def test_what_is_told_in_python(tmp_path):
    dataset = Copies(tmp_path)
    loop = opened(dataset, tmp_path)
    first, second = loop.campaign.pool.pending.tolist()
    loop.tell([first], [Boxes([dataset.drawn[first]], ["green"], size=FILE)])
    with pytest.raises(TypeError, match=r"reaches out of the image of 64 x 48 pixels.*as the dataset gives it"):
        loop.tell([second], [{"boxes": [[8.0, 12.0, 72.0, 40.0]], "labels": [2]}])  # in pixels of the file
    loop.tell([second], [{"boxes": [dataset.around_bright(second)], "labels": [2]}])
    check_labels(tmp_path, dataset)


@pytest.mark.slow
def test_boxes_out_of_the_image_are_refused_wherever_they_are_told(tmp_path):
    dataset = Copies(tmp_path)
    unit = opened(dataset, tmp_path).campaign.pool.pending.tolist()[0]
    path = tmp_path / "labels.jsonl"
    line = {"key": f"{unit}.png", "label": {"boxes": [[1, 1, 90, 40]], "labels": ["green"]}}
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(Problems, match="reaches out of the image of 64 x 48 pixels"):
        tell_campaign(tmp_path / "campaign", [read_labels(path)])
    line["label"]["size"] = FILE
    path.write_text(json.dumps(line) + "\n")
    assert tell_campaign(tmp_path / "campaign", [read_labels(path)]).labelled == 1
    assert Campaign.load(tmp_path / "campaign").labels[unit]["boxes"] == [[0.5, 0.5, 45.0, 20.0]]


def test_a_copy_of_other_proportions_is_refused_before_anybody_draws(tmp_path):
    dataset = Copies(tmp_path, size=(64, 64))
    with pytest.raises(ValueError, match=r"128 x 96 pixels, and the dataset gives one of 64 x 64 .*stretched"):
        opened(dataset, tmp_path, LabelFiles(tmp_path / "files", format="coco"))
    assert not (tmp_path / "campaign").exists()
    assert not (tmp_path / "files").exists()


@pytest.mark.slow
def test_images_of_another_size_than_when_they_were_asked_for_are_refused(tmp_path):
    dataset = Copies(tmp_path)
    loop = opened(dataset, tmp_path)
    waiting = loop.campaign.pool.pending.tolist()
    dataset.size = (32, 24)
    with pytest.raises(ValueError, match=r"an image of 64 x 48 pixels .* is one of 32 x 24 now.*`loop\.release\(\["):
        opened(dataset, tmp_path, resume=True)
    dataset.size = (64, 48)
    loop.tell(waiting, [{"boxes": [dataset.around_bright(index)], "labels": [2]} for index in waiting])
    dataset.size = (32, 24)
    with pytest.raises(ValueError, match=r"is one of 32 x 24 now.*give images as before\.$"):
        opened(dataset, tmp_path, resume=True)


def test_label_studio_shows_the_models_boxes_in_the_file_and_takes_its_own(tmp_path, fake, url, monkeypatch):  # noqa: F811
    dataset = Copies(tmp_path)
    copy_of = dict.fromkeys(range(2), dataset.size)
    asking = Asking(tmp_path, url, monkeypatch, task=DetectionTask(), dataset=dataset)
    said = {0: ({"boxes": [dataset.around_bright(0)], "labels": [2]}, 0.5)}
    asking.ask([0, 1], round=0, predictions=said, sizes=copy_of)
    (project,) = fake.projects.values()
    assert [name for name in NAMES if f'value="{name}"' in project["label_config"]] == NAMES[
        1:
    ]  # none draws background
    [result] = fake.by_key("p0")["predictions"][0]["result"]
    width, height = FILE
    left, top, right, bottom = dataset.drawn[0]
    place = {"x": left / width, "y": top / height, "width": (right - left) / width, "height": (bottom - top) / height}
    assert {name: result["value"][name] / 100 for name in place} == pytest.approx(place)
    assert (result["original_width"], result["original_height"]) == FILE
    fake.annotate("p0", [result])
    answer = asking.ask([0, 1], round=0, sizes=copy_of)[0]
    assert np.allclose(answer["boxes"], [dataset.around_bright(0)], atol=1e-9)
    with pytest.raises(ValueError, match="stretched"):
        Asking(tmp_path, url, monkeypatch, task=DetectionTask(), dataset=Copies(tmp_path, size=(64, 64)))
    stretched = Asking(tmp_path, url, monkeypatch, task=DetectionTask(), dataset=Copies(tmp_path, (64, 64)), show=0)
    assert stretched.oracle.show == 0  # the copy itself is drawn in
