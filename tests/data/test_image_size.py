"""How large the image of a sample is, and images of several sizes."""

import contextlib

import lightning.pytorch as pl
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lightning_al import ActiveLearningLoop, ClassificationTask, Loaders, SegmentationTask
from lightning_al.acquisition import RIPU, Entropy
from lightning_al.data.image_size import check_one_size, image_in, image_size
from lightning_al.data.samples_alone import SamplesAlone
from tests.helpers.projects import make_trainer
from tests.helpers.regions import CLASSES, VOID, Pixels, make_images, region_task


class OfSizes(Dataset):
    """Images of 8 x 9 and 6 x 7 pixels in turn."""

    sizes = ((8, 9), (8, 9), (6, 7))

    def __len__(self):
        return 9

    def __getitem__(self, i):
        images, masks = make_images(1, seed=i, shape=self.sizes[i % 3])
        return images[0], masks[0]


def test_the_size_is_that_of_the_image_among_several_inputs():
    task = SegmentationTask(2, inputs=["weight", "x", "valid"], target="y")
    sample = {"weight": torch.ones(()), "x": torch.zeros(1, 4, 6), "y": torch.zeros(4, 6)}  # `collate_fn` makes `valid`
    assert image_size([sample], 0, task) == (6, 4)
    assert image_in([sample], 0, task) is sample["x"]
    assert image_size([{"y": 0, "weight": torch.ones(())}], 0, task) is None


def test_rows_of_numbers_before_an_image_are_not_taken_for_it():
    task = SegmentationTask(2, inputs=["boxes", "x"], target="y")
    sample = {"boxes": torch.zeros(5, 4), "x": torch.zeros(3, 6, 8), "y": torch.zeros(6, 8)}
    assert image_in([sample], 0, task) is sample["x"]
    assert image_size([sample], 0, task) == (8, 6)
    blank = task.blank_target(torch.zeros(9, 9, dtype=torch.long), task.inputs(sample))
    assert blank.shape == (6, 8)
    grey = {**sample, "x": torch.zeros(6, 8)}  # and no boxes: what is left is the image
    assert image_size([grey], 0, SegmentationTask(2, inputs="x", target="y")) == (8, 6)


def padded(samples):
    shapes = [image.shape[1:] for image, _ in samples]
    margins = [(0, max(w for _, w in shapes) - w, 0, max(h for h, _ in shapes) - h) for h, w in shapes]
    images, masks = zip(*samples, strict=True)
    return (
        torch.stack([F.pad(image, margin) for image, margin in zip(images, margins, strict=True)]),
        torch.stack([F.pad(mask, margin, value=VOID) for mask, margin in zip(masks, margins, strict=True)]),
    )


def run(folder, *, acquisition=None, batch_size=4, collate=padded, **options):
    data = OfSizes()
    loader = DataLoader(data, batch_size=batch_size, collate_fn=collate)
    options = {"task": region_task(), "initial": 2, "query_size": 2, "rounds": 2, "dirpath": folder / "c"} | options
    loop = ActiveLearningLoop(Pixels(), Loaders(loader, loader, pool=data), **options)
    loop.run(make_trainer(folder, acquisition=acquisition or RIPU(), max_epochs=1))
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


@pytest.mark.slow
def test_batches_of_one_image_need_no_collate_function(tmp_path):
    of_whole = {"task": SegmentationTask(CLASSES), "acquisition": Entropy()}
    for name, options in (("regions", {}), ("whole", of_whole)):
        alone = run(tmp_path / name, batch_size=1, collate=None, **options)
        as_padded = run(tmp_path / name / "padded", batch_size=1, **options)
        assert [result.picked for result in alone.history] == [result.picked for result in as_padded.history]
        assert [len(result.picked) > 0 for result in alone.history] == [True, True, False]


def test_larger_batches_say_once_what_to_do(tmp_path):
    for options in ({"batch_size": 4}, {"batch_size": 1, "pool_batch_size": 4}):
        with pytest.raises(ValueError, match=r"^Samples have several sizes, .* pad them .*or take `batch_size=1`\.$"):
            run(tmp_path, collate=None, **options)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_samples_without_a_campaign_are_alike(batch_size):
    alone = SamplesAlone(DataLoader(OfSizes(), batch_size=batch_size), task=region_task())
    alone.begin(pl.Trainer(logger=False, barebones=True))
    refused = pytest.raises(ValueError, match="several sizes") if batch_size > 1 else contextlib.nullcontext()
    with refused:
        alone.check_batches(torch.arange(9))
