from functools import partial
from pathlib import Path

import pytest
import torch

from lightning_al.checks import SeveralFindings
from lightning_al.tasks.keys import name_of
from lightning_al.zoo import SmallSSD, VOCDetectionDataModule
from tests.helpers.boxed_pictures import CLASSES, fill_voc

YEARS = {"VOC2007/trainval": [1, 2, 3], "VOC2012/trainval": [5, 6], "VOC2007/test": [7, 8]}


def opened(root, **options):
    data = VOCDetectionDataModule(str(root), classes=CLASSES, **options)
    data.setup("fit")
    return data


def boxes_of(target):
    return [(*map(int, box), int(label)) for box, label in zip(target["boxes"].tolist(), target["labels"], strict=True)]


def test_two_years_are_one_pool(tmp_path):
    boxes = fill_voc(tmp_path, YEARS)
    data = opened(tmp_path)
    pool = data.pool_dataset()
    assert [name_of(pool, index) for index in range(len(pool))] == [
        *(f"VOC2007/JPEGImages/{n:06d}.png" for n in (1, 2, 3)),
        *(f"VOC2012/JPEGImages/{n:06d}.png" for n in (5, 6)),
    ]
    for index, name in enumerate(pool.paths):
        image, target = pool[index]
        assert (image.shape, image.dtype) == ((3, 24, 32), torch.float32)
        assert boxes_of(target) == boxes[Path(name).stem]
        for left, top, right, bottom, label in boxes_of(target):  # where the pixels are bright, to the last one
            bright = image[label] > 0.9
            assert bright[top:bottom, left:right].all()
            assert not bright[top:bottom, right : right + 1].any()
            assert not bright[bottom : bottom + 1, left:right].any()
    assert data.classes == ["background", "cat", "dog"]
    images, targets = next(iter(data.test_dataloader()))
    assert images.shape == (2, 3, 24, 32)
    assert [len(target["labels"]) for target in targets] == [3, 0]


@pytest.mark.parametrize("first_pixel", [0, 1])
def test_a_folder_of_ones_own(first_pixel, tmp_path):
    boxes = fill_voc(tmp_path, {"trainval": [1, 2], "test": [3]}, first_pixel=first_pixel, suffix=".jpg")
    data = opened(tmp_path, train=["trainval"], test=["test"], first_pixel=first_pixel)
    assert [boxes_of(target) for _, target in data.pool_dataset()] == [boxes["000001"], boxes["000002"]]


def test_difficult_boxes_neither_train_nor_count(tmp_path):
    boxes = fill_voc(tmp_path, {"trainval": [2, 3], "test": [2, 3]}, difficult=[3])
    data = opened(tmp_path, train=["trainval"], test=["test"])
    assert [boxes_of(target) for _, target in data.pool_dataset()] == [boxes["000002"], boxes["000003"][1:]]
    tested = [target for _, target in data.sets["test"]]
    assert [boxes_of(target) for target in tested] == [boxes["000002"], boxes["000003"]]
    assert [target["iscrowd"].tolist() for target in tested] == [[0, 0], [1, 0, 0]]


class TestWrong:
    def fill(self, tmp_path):
        fill_voc(tmp_path, {"trainval": [1, 2, 3], "test": [3]})
        return {"train": ["trainval"], "test": ["test"]}

    def change(self, tmp_path, stem, old, new):
        path = tmp_path / "Annotations" / f"{stem}.xml"
        path.write_text(path.read_text().replace(old, new, 1))

    def test_a_list_is_missing(self, tmp_path):
        parts = self.fill(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"no list .*train\.txt. There are \['test', 'trainval'\]"):
            opened(tmp_path, **parts | {"train": ["train"]})
        with pytest.raises(FileNotFoundError, match="Is `root` another"):
            opened(tmp_path / "elsewhere", **parts)

    @pytest.mark.parametrize("file", ["Annotations/000002.xml", "JPEGImages/000002.png"])
    def test_a_file_is_missing(self, file, tmp_path):
        parts = self.fill(tmp_path)
        (tmp_path / file).unlink()
        with pytest.raises(FileNotFoundError, match=r"no .*000002\.(xml|jpg), and '000002' is listed"):
            opened(tmp_path, **parts)

    def test_all_that_is_wrong_is_said_at_once(self, tmp_path):
        parts = self.fill(tmp_path)
        for stem in ("000001", "000002"):
            for name in CLASSES:
                self.change(tmp_path, stem, f"<name>{name}", "<name>cow")
        with pytest.raises(SeveralFindings, match=r"000001.xml: a box is of the class 'cow', and there"):
            opened(tmp_path, **parts)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("<xmax>", "<xmax>0</xmax><xmax>", "a width and a height|look like"),
            ("</annotation>", "", "no element found"),
            ("<object>", "<size><width>4</width><height>24</height></size><object>", "out of its image of 4 x 24"),
            ("<xmin>", "<left>1</left><xmin>x", "could not convert"),
        ],
    )
    def test_a_file_is_damaged(self, old, new, message, tmp_path):
        parts = self.fill(tmp_path)
        self.change(tmp_path, "000001", old, new)
        with pytest.raises(ValueError, match=rf"000001.xml: .*({message})"):
            opened(tmp_path, **parts)

    def test_a_size_of_0_says_nothing(self, tmp_path):
        parts = self.fill(tmp_path)
        self.change(tmp_path, "000001", "<object>", "<size><width>0</width><height>0</height></size><object>")
        assert len(opened(tmp_path, **parts).pool_dataset()[0][1]["boxes"]) == 1

    def test_options(self, tmp_path):
        with pytest.raises(ValueError, match="`first_pixel` must be at least 0 and at most 1"):
            VOCDetectionDataModule(first_pixel=2)
        with pytest.raises(TypeError, match="`in_memory` must be True or False"):
            VOCDetectionDataModule(in_memory=1)


def test_nothing_need_be_tested_on(tmp_path):
    fill_voc(tmp_path, {"trainval": [1, 2]})
    data = opened(tmp_path, train=["trainval"], test=[])
    assert (len(data.sets["train"]), len(data.sets["test"])) == (2, 0)
    with pytest.raises(FileNotFoundError, match=r"There is no list .*test.txt.*`test=\[...\]`, which may be empty"):
        opened(tmp_path, train=["trainval"], test=["test"])


@pytest.mark.parametrize(("size", "error"), [(160, TypeError), ((1, 2, 3), TypeError), ((16, 0), ValueError)])
def test_a_size_is_a_height_and_a_width(size, error):
    for make in (VOCDetectionDataModule, partial(SmallSSD, 4)):
        with pytest.raises(error, match="`size"):
            make(size=size)
