import pytest
import torch

from lightning_al.zoo.images import ImageDataModule, ImageDataset, Splits, crop_and_flip


def images(n=6, channels=3, size=8):
    return torch.randint(1, 256, (n, channels, size, size), dtype=torch.uint8)


def test_normalises_per_channel_and_returns_an_int_label():
    raw = images()
    data = ImageDataset(raw, torch.arange(6), mean=[1.0, 2.0, 3.0], std=[10.0, 20.0, 30.0])
    image, label = data[4]
    mean, std = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1), torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, (raw[4] - mean) / std)
    assert type(label) is int
    assert label == 4
    assert len(data) == 6


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"images": torch.zeros(2, 1, 4, 4)}, TypeError, "float32"),
        ({"images": torch.zeros(2, 4, 4, dtype=torch.uint8)}, ValueError, r"\(2, 4, 4\)"),
        ({"targets": torch.zeros(3)}, ValueError, "'targets': 3"),
        ({"samples": [("a", 0)]}, ValueError, "'samples': 1"),
        ({"mean": [0.0, 0.0]}, ValueError, "2 means"),
    ],
)
def test_refuses(kwargs, error, match):
    raw = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    good = {"images": raw, "targets": torch.zeros(2), "mean": [0.0], "std": [1.0]}
    with pytest.raises(error, match=match):
        ImageDataset(**{**good, **kwargs})


def test_crop_and_flip_gives_every_shift_of_the_padded_image_and_its_mirror():
    torch.manual_seed(0)
    image = images(1, 1, 4)[0]
    padded = torch.nn.functional.pad(image, (1,) * 4)
    views = [padded[:, top : top + 4, left : left + 4] for top in range(3) for left in range(3)]
    views += [view.flip(-1) for view in views]
    seen = set()
    for _ in range(300):
        crop = crop_and_flip(image, padding=1)
        seen.add(next(number for number, view in enumerate(views) if torch.equal(crop, view)))
    assert seen == set(range(18))


def test_without_augmentation_is_in_the_same_order_and_shares_memory():
    data = ImageDataset(
        images(2), torch.tensor([1, 0]), [0.0] * 3, [1.0] * 3, augment=torch.zeros_like, samples=[("b", 1), ("a", 0)]
    )
    plain = data.without_augmentation()
    assert data[0][0].sum() == 0
    torch.testing.assert_close(plain[0][0], data.images[0].float())
    assert plain.images.data_ptr() == data.images.data_ptr()
    assert plain.samples == data.samples
    assert plain.targets.tolist() == [1, 0]


class Counting(ImageDataModule):
    reads = 0

    def read(self):
        self.reads += 1
        data = ImageDataset(images(), torch.arange(6), [0.0] * 3, [1.0] * 3, augment=crop_and_flip)
        return Splits(train=data, test=data.without_augmentation())


def test_setup_reads_once_and_the_loaders_work_without_it():
    data = Counting(batch_size=4, eval_batch_size=6)
    assert len(data.pool_dataset()) == 6
    data.setup("fit")
    data.setup("test")
    assert data.reads == 1
    assert [len(y) for _, y in data.train_dataloader()] == [4, 2]
    assert next(iter(data.test_dataloader()))[1].tolist() == list(range(6))


def test_augments_the_training_set_only():
    data = Counting()
    assert data.train_dataloader().dataset.augment is crop_and_flip
    assert data.test_dataloader().dataset.augment is None
    assert data.pool_dataset().augment is None


def test_reading_is_left_to_the_subclass():
    with pytest.raises(NotImplementedError, match=r"ImageDataModule must define read\(\)"):
        ImageDataModule().setup()
