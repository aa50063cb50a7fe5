import pytest
import torch
from torchvision.transforms import v2

from lightning_al.tasks.keys import name_of
from lightning_al.zoo import CamVidDataModule
from lightning_al.zoo.segmentation.camvid import CLASSES, DAY, DUSK
from tests.helpers.street_scenes import fill_camvid


def opened(root, **options):
    data = CamVidDataModule(str(root), **options)
    data.setup("fit")
    return data


def names(dataset):
    return [name_of(dataset, index) for index in range(len(dataset))]


def test_what_is_read(tmp_path):
    all_masks = fill_camvid(tmp_path)
    data = opened(tmp_path)
    pool = data.pool_dataset()
    assert names(pool) == sorted(names(pool))
    assert len(pool) == 7
    assert data.classes == list(CLASSES)
    for index, name in enumerate(names(pool)):
        expected = torch.from_numpy(all_masks[name.removesuffix(".png")])
        assert torch.equal(pool[index][1], torch.where(expected == 11, 255, expected))
    images, targets = next(iter(data.test_dataloader()))
    assert images.shape == (6, 3, 12, 16)
    assert targets.shape == (6, 12, 16)
    assert len(data.val_dataloader().dataset) == 2
    assert len(next(iter(data.train_dataloader()))[0]) == 7


def test_domains(tmp_path):
    fill_camvid(tmp_path)
    day, dusk = opened(tmp_path, sequences=list(DAY)), opened(tmp_path, sequences=list(DUSK))
    assert {name[:6] for name in names(dusk.pool_dataset())} == {"0001TP"}
    for part in ("train", "val", "test"):
        one, other, both = (set(names(data.sets[part])) for data in (day, dusk, opened(tmp_path)))
        assert not one & other
        assert one | other == both
    assert len(dusk.sets["val"]) == 0


def test_size_and_augmentation(tmp_path):
    fill_camvid(tmp_path)
    data = opened(tmp_path, size=(6, 8), augmentation=[v2.RandomHorizontalFlip(1.0)])
    image, mask = data.pool_dataset()[0]
    assert image.shape == (3, 6, 8)
    turned_image, turned_mask = data.augment((image, mask))
    assert torch.allclose(turned_image, image.flip(-1), atol=1e-6)
    assert torch.equal(turned_mask, mask.flip(-1))


def test_what_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold `train`, `trainannot` and so on"):
        opened(tmp_path / "nothing")
    fill_camvid(tmp_path)
    with pytest.raises(ValueError, match=r"begins with 'night': they are 0001TP, 0016E5"):
        opened(tmp_path, sequences=["night"])
    (tmp_path / "trainannot" / "0016E5_00000.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"0016E5_00000\.png has no mask: .*trainannot/0016E5_00000\.png"):
        opened(tmp_path)
    with pytest.raises(ValueError, match=r"`batch_size` must be at least 1, got 0"):
        CamVidDataModule(batch_size=0)
