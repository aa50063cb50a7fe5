import numpy as np
import pytest
import torch

from lightning_al.tasks.keys import name_of
from lightning_al.zoo import CityscapesDataModule
from lightning_al.zoo.segmentation.cityscapes import CLASSES, class_names
from tests.helpers.street_scenes import fill_cityscapes

TRAIN_IDS = {
    **{7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14},
    **{28: 15, 31: 16, 32: 17, 33: 18},
}
SHARED_WITH_SYNTHIA = {
    **{7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 23: 9, 24: 10, 25: 11, 26: 12, 28: 13},
    **{32: 14, 33: 15},
}
WITHOUT_WALLS = {7: 0, 8: 1, 11: 2, 19: 3, 20: 4, 21: 5, 23: 6, 24: 7, 25: 8, 26: 9, 28: 10, 32: 11, 33: 12}


@pytest.mark.parametrize("numbers", [TRAIN_IDS, SHARED_WITH_SYNTHIA, WITHOUT_WALLS], ids=len)
def test_what_is_read(tmp_path, numbers):
    all_masks = fill_cityscapes(tmp_path)
    data = CityscapesDataModule(str(tmp_path), num_classes=len(numbers))
    data.setup("fit")
    pool = data.pool_dataset()
    names = [name_of(pool, index) for index in range(len(pool))]
    assert names == sorted(names)
    assert len(data.classes) == len(numbers)
    assert names[0].startswith("aachen/aachen_")
    for index, name in enumerate(names):
        scene = name.split("/")[1].removesuffix("_leftImg8bit.png")
        expected = [[numbers.get(n, 255) for n in row] for row in all_masks[scene].tolist()]
        assert pool[index][1].tolist() == expected
    images, targets = next(iter(data.test_dataloader()))
    assert images.shape == (1, 3, 16, 32)
    assert len(data.test_dataloader().dataset) == 2


def test_classes():
    assert len(CLASSES) == 19
    assert set(class_names(19)) - set(class_names(16)) == {"terrain", "truck", "train"}
    assert set(class_names(16)) - set(class_names(13)) == {"wall", "fence", "pole"}
    with pytest.raises(TypeError, match=r"`num_classes` must be 19, 16 .* or 13, got 5"):
        CityscapesDataModule(num_classes=5)


def test_no_data(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold `leftImg8bit` and `gtFine`"):
        CityscapesDataModule(str(tmp_path)).setup("fit")


def test_masks_of_torchvision(tmp_path):
    """The masks are those that torchvision gives for the same images."""
    from torchvision.datasets import Cityscapes

    fill_cityscapes(tmp_path)
    data = CityscapesDataModule(str(tmp_path))
    data.setup("fit")
    theirs = Cityscapes(tmp_path, split="train", target_type="semantic")
    by_path = {path: theirs[index][1] for index, path in enumerate(map(str, theirs.images))}
    pool = data.pool_dataset()
    for index, path in enumerate(pool.paths):
        numbers = torch.from_numpy(np.array(by_path[path]))
        known = pool[index][1] != 255
        assert torch.equal(known, torch.isin(numbers, torch.tensor(list(TRAIN_IDS))))
