import json

import pytest

from lightning_al.tasks.keys import name_of
from lightning_al.zoo import COCODetectionDataModule
from tests.helpers.boxed_pictures import coco_content, drawn, fill_coco
from tests.zoo.detection.test_voc import boxes_of

PARTS = {"train2017": [1, 2, 4, 3], "val2017": [5, 6]}


def opened(root, **options):
    data = COCODetectionDataModule(str(root), **options)
    data.setup("fit")
    return data


def test_images_and_boxes_belong_together(tmp_path):
    fill_coco(tmp_path, PARTS)
    data = opened(tmp_path)
    pool, test = data.sets["train"], data.sets["test"]
    assert data.classes == ["background", "cat", "dog"]  # in the order of their ids, which have gaps
    assert [name_of(pool, index) for index in range(4)] == ["000001.png", "000002.png", "000004.png", "000003.png"]
    assert [boxes_of(target) for _, target in pool] == [drawn(seed)[1] for seed in (1, 2, 4, 3)]  # 4 has none
    assert [boxes_of(target) for _, target in test] == [drawn(seed)[1] for seed in (5, 6)]
    assert next(iter(data.train_dataloader()))[0].shape == (4, 3, 24, 32)


def test_crowds_neither_train_nor_count_and_flat_boxes_are_left_out(tmp_path):
    fill_coco(tmp_path, PARTS, crowd=[2, 6])
    path = tmp_path / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][2] = 0  # of the first image, which has one
    path.write_text(json.dumps(content))
    data = opened(tmp_path)
    assert [boxes_of(target) for _, target in data.sets["train"]] == [[], drawn(2)[1][1:], [], drawn(3)[1]]
    assert [target["iscrowd"].tolist() for _, target in data.sets["test"]] == [[0], [1, 0]]


def test_classes_are_numbered_as_named(tmp_path):
    fill_coco(tmp_path, PARTS)
    data = opened(tmp_path, classes=["dog", "cat"])
    swapped = [(*box[:4], 3 - box[4]) for box in drawn(3)[1]]
    assert boxes_of(data.sets["train"][3][1]) == swapped
    with pytest.raises(ValueError, match="a box is of the class 'cat', and there are"):
        opened(tmp_path, classes=["dog"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("categories"), "must have lists of images, annotations, categories"),
        (lambda content: content["annotations"][0].pop("bbox"), "is not as COCO's: KeyError of 'bbox'"),
        (lambda content: content["annotations"][0].update(image_id=5), "is not as COCO's: KeyError of 5"),
        (lambda content: content["annotations"][0].update(bbox=[1, 2, 3]), "is not as COCO's: ValueError"),
        (lambda content: content["annotations"][0].update(bbox=[1, 2, 3, float("inf")]), "000001.png: .*no finite"),
        (lambda content: content["images"][0].update(width=4), r"000001.png: .*out of its image of 4 x 24"),
    ],
)
def test_what_is_none_of_cocos(change, message, tmp_path):
    fill_coco(tmp_path, PARTS)
    content = coco_content(PARTS["train2017"])
    change(content)
    path = tmp_path / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        opened(tmp_path)
    path.write_text(path.read_text()[:-5])
    with pytest.raises(ValueError, match=r"is no JSON.*is the file whole"):
        opened(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="Is `root` another"):
        opened(tmp_path)


def test_nothing_need_be_tested_on(tmp_path):
    fill_coco(tmp_path, {"train2017": [1, 2]})
    data = opened(tmp_path, test=None)
    assert (len(data.sets["train"]), len(data.sets["test"])) == (2, 0)
    with pytest.raises(FileNotFoundError, match=r"There is no file .*`test=`, which may be None"):
        opened(tmp_path)
