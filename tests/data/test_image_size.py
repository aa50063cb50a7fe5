"""How large the image of a sample is, and images of several sizes."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lightning_al import ActiveLearningLoop, ClassificationTask, Loaders
from lightning_al.acquisition import RIPU
from lightning_al.data.image_size import check_one_size
from tests.helpers.projects import make_trainer
from tests.helpers.regions import VOID, Pixels, make_images, region_task


class OfSizes(Dataset):
    """Images of 8 x 9 and 6 x 7 pixels in turn."""

    sizes = ((8, 9), (8, 9), (6, 7))

    def __len__(self):
        return 9

    def __getitem__(self, i):
        images, masks = make_images(1, seed=i, shape=self.sizes[i % 3])
        return images[0], masks[0]


def padded(samples):
    shapes = [image.shape[1:] for image, _ in samples]
    margins = [(0, max(w for _, w in shapes) - w, 0, max(h for h, _ in shapes) - h) for h, w in shapes]
    images, masks = zip(*samples, strict=True)
    return (
        torch.stack([F.pad(image, margin) for image, margin in zip(images, margins, strict=True)]),
        torch.stack([F.pad(mask, margin, value=VOID) for mask, margin in zip(masks, margins, strict=True)]),
    )


def run(folder, **options):
    data = OfSizes()
    loader = DataLoader(data, batch_size=4, collate_fn=padded)
    loop = ActiveLearningLoop(
        Pixels(), Loaders(loader, loader, pool=data), task=region_task(), initial=2, query_size=2, rounds=2,
        dirpath=folder / "c", **options,
    )  # fmt: skip
    loop.run(make_trainer(folder, acquisition=RIPU(), max_epochs=1))
    return loop


def test_regions_have_no_place_in_padded_batches(tmp_path):
    with pytest.raises(ValueError, match=r"several sizes, such as 8 × 9 and 6 × 7 .*`pool_batch_size=1`"):
        run(tmp_path)
    assert not (tmp_path / "c").exists()
    loop = run(tmp_path, pool_batch_size=1)
    asked = {n: loop.campaign.regions.all(n) for n in range(9) if loop.campaign.regions.is_asked(n)}
    assert len(asked) == 7
    assert all(pixels.shape == OfSizes.sizes[n % 3] for n, pixels in asked.items())


def test_labels_that_are_no_masks_have_no_size():
    check_one_size(OfSizes(), ClassificationTask(), batch_size=4)
    check_one_size(OfSizes(), region_task(), batch_size=1)
