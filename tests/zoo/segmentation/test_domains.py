import pytest
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torchvision.transforms import v2

from lightning_al.tasks.keys import name_of
from lightning_al.zoo import CamVidDataModule, CityscapesDataModule, SYNTHIADataModule, TwoDomainsDataModule
from tests.helpers.street_scenes import fill_camvid, fill_cityscapes, fill_synthia


def day_to_dusk(root, *, source=(), target=(), **options):
    fill_camvid(root)
    return TwoDomainsDataModule(
        CamVidDataModule(str(root), sequences=["0016E5", "Seq05VD"], augmentation=list(source)),
        CamVidDataModule(str(root), sequences=["0001TP"], augmentation=list(target)),
        **options,
    )


def test_what_is_labelled_and_what_may_be_asked_for(tmp_path):
    data = day_to_dusk(tmp_path)
    data.setup("fit")
    known, asked = data.pool_dataset(), data.unlabelled_dataset()
    assert [name_of(known, index)[:6] for index in range(len(known))] == ["0016E5"] * 4
    assert [name_of(asked, index)[:6] for index in range(len(asked))] == ["0001TP"] * 3
    assert {known[index][2] for index in range(4)} == {0}
    assert {asked[index][2] for index in range(3)} == {1}
    assert torch.equal(asked[1][1], data.target.pool_dataset()[1][1])
    images, targets, domains = next(iter(data.train_dataloader()))
    assert (images.shape, targets.shape, domains.tolist()) == ((4, 3, 12, 16), (4, 12, 16), [0] * 4)
    tested = data.test_dataloader().dataset
    assert {name_of(tested, index)[:6] for index in range(len(tested))} == {"0001TP"}


def test_what_the_target_is_validated_on(tmp_path):
    fill_camvid(tmp_path)
    fill_cityscapes(tmp_path / "cityscapes")
    dusk, day = (CamVidDataModule(str(tmp_path), sequences=[name]) for name in ("0001TP", "0016E5"))
    to_day = TwoDomainsDataModule(dusk, day)
    assert is_overridden("val_dataloader", to_day)
    validated = to_day.val_dataloader().dataset
    assert [name_of(validated, index) for index in range(len(validated))] == ["0016E5_00090.png", "0016E5_00091.png"]
    assert TwoDomainsDataModule(day, dusk).val_dataloader() == []  # none of them is of dusk
    cities = CityscapesDataModule(str(tmp_path / "cityscapes"))
    assert not is_overridden("val_dataloader", TwoDomainsDataModule(cities, cities))


def test_each_domain_has_its_own_augmentation(tmp_path):
    data = day_to_dusk(tmp_path, source=[v2.RandomHorizontalFlip(1.0)], target=[v2.RandomVerticalFlip(1.0)])
    data.setup("fit")
    for dataset, turned in ((data.pool_dataset(), -1), (data.unlabelled_dataset(), -2)):
        image, mask, domain = dataset[0]
        moved_image, moved_mask, same = data.augment((image, mask, domain))
        assert torch.equal(moved_mask, mask.flip(turned))
        assert torch.allclose(moved_image, image.flip(turned), atol=1e-6)
        assert same == domain


def test_images_of_the_target_beside_batches(tmp_path):
    data = day_to_dusk(tmp_path, target=[v2.RandomVerticalFlip(1.0)], target_batch_size=2)
    data.setup("fit")
    loaders = data.train_dataloader()
    assert data.pool_loader in loaders
    assert loaders["labelled"].dataset[0][2] == 0
    [images] = list(loaders["target"])
    assert images.shape == (2, 3, 12, 16)
    image = data.target.pool_dataset()[0][0]
    assert torch.allclose(loaders["target"].dataset[0], image.flip(-2), atol=1e-6)


def test_synthia_to_cityscapes(tmp_path):
    """At one size, with a strip cut from the higher images, both fit in one batch."""
    fill_synthia(tmp_path / "synthia")
    fill_cityscapes(tmp_path / "cityscapes")
    data = TwoDomainsDataModule(
        SYNTHIADataModule(str(tmp_path / "synthia"), size=(18, 32), augmentation=[v2.RandomCrop((16, 32))]),
        CityscapesDataModule(str(tmp_path / "cityscapes"), num_classes=16),
    )
    data.setup("fit")
    source, target = data.augment(data.pool_dataset()[0]), data.augment(data.unlabelled_dataset()[0])
    images, masks, domains = torch.utils.data.default_collate([source, target])
    assert images.shape == (2, 3, 16, 32)
    assert masks.shape == (2, 16, 32)
    assert len(data.classes) == 16


def test_what_is_refused(tmp_path):
    fill_synthia(tmp_path / "synthia")
    fill_cityscapes(tmp_path / "cityscapes")
    data = TwoDomainsDataModule(
        SYNTHIADataModule(str(tmp_path / "synthia"), num_classes=13), CityscapesDataModule(str(tmp_path / "cityscapes"))
    )
    with pytest.raises(ValueError, match=r"Give both the same `num_classes`"):
        data.setup("fit")
    with pytest.raises(ValueError, match=r"`target_batch_size` must be at least 0, got -1"):
        TwoDomainsDataModule(data.source, data.target, target_batch_size=-1)
