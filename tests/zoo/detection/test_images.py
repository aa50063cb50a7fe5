"""Images beside their boxes."""

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from lightning_al import DetectionTask
from lightning_al.tasks.detection.boxes import check_boxes
from lightning_al.zoo import BoxedImage, DetectionFiles
from lightning_al.zoo.detection.images import augmented, collate_boxes
from tests.helpers.boxed_pictures import CLASSES, drawn


def files(folder, seeds, **options):
    images = []
    for seed in seeds:
        pixels, boxes = drawn(seed)
        path = folder / f"{seed}.png"
        Image.fromarray(pixels).save(path)
        numbers = torch.tensor(boxes).reshape(-1, 5)
        none = torch.zeros(len(boxes), dtype=torch.bool)
        images.append(BoxedImage(str(path), numbers[:, :4].float(), numbers[:, 4], none))
    return DetectionFiles(images, root=str(folder), classes=["background", *CLASSES], **options)


def around_bright(image, label):
    """The smallest box around the pixels that are bright in one channel, or None."""
    rows, columns = torch.where(image[label] > 0.8)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1] if len(rows) else None


def one_box(folder):
    """A sample of one box, which its pixels show."""
    data = files(folder, [1])
    image, target = data[0]
    (label,) = target["labels"].tolist()
    assert around_bright(image, label) == target["boxes"].int().tolist()[0]
    return image, target, label


def test_boxes_are_resized_with_their_image(tmp_path):
    whole, halved = files(tmp_path, [3]), files(tmp_path, [3], size=(12, 64))
    image, target = halved[0]
    assert image.shape == (3, 12, 64)
    assert torch.equal(target["boxes"], whole[0][1]["boxes"] * torch.tensor([2, 0.5, 2, 0.5]))


def test_what_is_in_memory_is_the_same_and_not_read_again(tmp_path):
    data, kept = files(tmp_path, [3], size=(12, 16)), files(tmp_path, [3], size=(12, 16), in_memory=True)
    first = kept[0]
    assert torch.equal(first[0], data[0][0])
    first[0].zero_()  # who writes into a sample writes into no other
    first[1]["boxes"].zero_()
    (tmp_path / "3.png").unlink()
    assert all(torch.equal(kept[0][1][name], data.images[0].boxes * 0.5) for name in ["boxes"])
    assert kept[0][0].max() > 0.8
    with pytest.raises(OSError, match=r"3\.png cannot be read as an image"):
        data[0]


@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomHorizontalFlip(p=1),
        v2.RandomVerticalFlip(p=1),
        v2.RandomRotation([90, 90], expand=True),
        v2.RandomAffine(0, translate=(0.3, 0.3)),
        v2.RandomZoomOut(p=1.0),
        v2.ColorJitter(contrast=0.01),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_image_and_box_move_together(transform, tmp_path):
    image, target, label = one_box(tmp_path)
    for seed in range(5):
        torch.manual_seed(seed)
        moved, boxes = augmented([transform], (image, target))
        own = around_bright(moved, label)
        assert boxes["boxes"].round().int().tolist() == ([] if own is None else [own])
        assert type(moved) is type(boxes["boxes"]) is torch.Tensor
        assert moved.min() >= 0
        assert moved.max() <= 1


def test_boxes_that_a_crop_leaves_out_go_with_their_labels(tmp_path):
    torch.manual_seed(0)
    image, target = files(tmp_path, [3])[0]
    counts = set()
    for _ in range(12):
        moved, boxes = augmented([v2.RandomIoUCrop(), v2.RandomHorizontalFlip()], (image, target))
        counts.add(len(boxes["labels"]))
        check_boxes(boxes["boxes"], boxes["labels"], size=moved.shape[-2:])
        for box, label in zip(boxes["boxes"].round().int().tolist(), boxes["labels"], strict=True):
            left, top, right, bottom = box
            assert (moved[label, top:bottom, left:right] > 0.8).float().mean() > 0.7
    assert counts == {1, 2, 3}


def test_no_transform_leaves_a_sample_as_it_is(tmp_path):
    sample = files(tmp_path, [2])[0]
    assert augmented([], sample) is sample


def test_batches_are_stacks_or_lists(tmp_path):
    small, large = files(tmp_path, [1, 2], size=(12, 16)), files(tmp_path, [3])
    images, targets = collate_boxes([small[0], small[1]])
    assert images.shape == (2, 3, 12, 16)
    assert [len(target["labels"]) for target in targets] == [1, 2]
    images, _ = collate_boxes([small[0], large[0]])
    assert [tuple(image.shape) for image in images] == [(3, 12, 16), (3, 24, 32)]


def test_a_told_label_is_augmented_with_its_image(tmp_path):
    image, target, _ = one_box(tmp_path)
    task = DetectionTask()
    sample = task.with_label((image, target), task.decode_label({"boxes": [[2, 3, 9, 8]], "labels": [2]}))
    _, moved = augmented([v2.RandomHorizontalFlip(p=1)], sample)
    assert moved["boxes"].tolist() == [[23, 3, 30, 8]]
    assert moved["labels"].tolist() == [2]
