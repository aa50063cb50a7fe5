"""Masks as people tell them, and as the ledger has them."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from lightning_al import Campaign, SegmentationTask
from lightning_al.oracle.answers import sort_answers
from lightning_al.storage.blobs import Blob, keep
from lightning_al.tasks.annotations import Mask
from lightning_al.tasks.base import annotation_kind_of
from lightning_al.tasks.mask_png import mask_from_png, mask_to_png
from tests.helpers.pair_task import PairTask
from tests.helpers.told import asked, tell

VALUES = np.array([[0, 2, 1], [255, 1, 0]])
TASK = SegmentationTask(3)


def stored(label, task=TASK):
    return mask_from_png(task.encode_label(label).data).tolist()


def indexed(values):
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette([7] * 768)
    return image


def as_tv_mask(values):
    from torchvision.tv_tensors import Mask as TvMask

    return TvMask(torch.as_tensor(values)[None])


FORMS = {
    "array": lambda values, _: values,
    "bytes": lambda values, _: values.astype(np.uint8),
    "rows": lambda values, _: values.tolist(),
    "tensor": lambda values, _: torch.as_tensor(values),
    "on one channel": lambda values, _: torch.as_tensor(values, dtype=torch.uint8)[None],
    "torchvision's": lambda values, _: as_tv_mask(values),
    "annotation": lambda values, _: Mask(values),
    "grey image": lambda values, _: Image.fromarray(values.astype(np.uint8)),
    "indexed image": lambda values, _: indexed(values),
    "path": lambda values, folder: indexed(values).save(folder / "x.png") or folder / "x.png",
    "path as text": lambda values, folder: indexed(values).save(folder / "x.png") or str(folder / "x.png"),
    "16 bits": lambda values, folder: _sixteen(values, folder),
    "blob": lambda values, _: Blob(mask_to_png(values), ".png"),
}


def _sixteen(values, folder):
    Image.fromarray(np.where(values == 255, 65535, values).astype(np.uint16)).save(folder / "y.png")
    return folder / "y.png"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_label(tmp_path, form):
    pytest.importorskip("torchvision") if form == "torchvision's" else None
    label = TASK.encode_label(FORMS[form](VALUES, tmp_path))
    assert label == TASK.encode_label(VALUES)
    assert TASK.decode_label(label).tolist() == VALUES.tolist()
    assert TASK.decode_label(label).dtype == torch.int64
    assert TASK.to_annotation(FORMS[form](VALUES, tmp_path), None) == Mask(VALUES)
    answers = sort_answers({4: FORMS[form](VALUES, tmp_path)}, TASK, ["a", "b", "c"])
    assert (answers.labels, answers.refused) == ({4: label}, {})


@settings(max_examples=30)
@given(arrays.arrays(np.int64, arrays.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(-1, 4)))
def test_as_pixel_by_pixel(values):
    task = SegmentationTask(5, ignore_index=-1)
    label = task.encode_label(values)
    of_pixels = [[255 if value == -1 else value for value in row] for row in values.tolist()]
    assert mask_from_png(label.data).tolist() == of_pixels
    assert task.decode_label(label).tolist() == values.tolist()
    assert task.encode_label(task.decode_label(label)) == label
    task.check_label(label)
    assert task.encode_label(task.from_annotation(task.to_annotation(label, None), None)) == label


def test_no_class_is_what_the_data_have_for_it():
    label = TASK.encode_label(VALUES)
    assert SegmentationTask(3, ignore_index=-100).decode_label(label).tolist() == [[0, 2, 1], [-100, 1, 0]]
    # a class that is not taught
    taught = SegmentationTask(3, ignore_index=0)
    assert stored(VALUES[:1], taught) == [[255, 2, 1]]
    assert taught.decode_label(taught.encode_label(VALUES[:1])).tolist() == [[0, 2, 1]]
    # told in files 255 is no class, in plain numbers the data's own value alone
    other = SegmentationTask(3, ignore_index=-1)
    assert stored(Image.fromarray(VALUES.astype(np.uint8)), other) == VALUES.tolist()
    with pytest.raises(ValueError, match="255 in a mask is no class: there are 0 to 2"):
        other.encode_label(VALUES)


def test_more_classes_than_8_bits_have():
    task = SegmentationTask(300, ignore_index=-1)
    values = np.array([[0, 255, 299, -1]])
    label = task.encode_label(values)
    assert mask_from_png(label.data).dtype == np.uint16
    assert task.decode_label(label).tolist() == values.tolist()
    assert task.to_annotation(label, None) == Mask([[0, 255, 299, 65535]], not_said=65535)
    assert stored(Mask([[0, 255, 299, 65535]], not_said=65535), task) == [[0, 255, 299, 65535]]


@pytest.mark.parametrize(
    ("label", "error", "what"),
    [
        ([[0, 3]], ValueError, "3 in a mask is no class: there are 0 to 2"),
        ([[0, -1]], ValueError, "-1 in a mask is no class"),
        (np.zeros((2, 2)), TypeError, "an integer for each pixel.*ndarray"),
        (torch.zeros(2, 3, 3, dtype=torch.long), TypeError, "an integer for each pixel"),
        ([[0, 1], [0]], TypeError, "an integer for each pixel"),
        (1, TypeError, "an integer for each pixel"),
        ([], TypeError, "an integer for each pixel"),
        (Image.new("RGB", (3, 2)), ValueError, "got colours"),
        (Mask([[7]]), ValueError, "7 in a mask is no class"),
        ("a.png", ValueError, "no file 'a.png'"),
        (Blob(b"x", ".png"), ValueError, "is a PNG file"),
    ],
)
def test_labels_that_are_none(label, error, what):
    with pytest.raises(error, match=what):
        TASK.encode_label(label)
    answers = sort_answers({4: label, 5: VALUES}, TASK, ["a", "b", "c"])
    assert list(answers.labels) == [5]
    with pytest.raises(TypeError, match=what):
        answers.check()


def test_a_file_that_is_no_mask_is_named(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x.png: .*got colours \(RGB\)"):
        TASK.encode_label(tmp_path / "x.png")


def test_without_an_ignore_index_every_pixel_has_a_class():
    task = SegmentationTask(3, ignore_index=None)
    assert task.decode_label(task.encode_label([[0, 2]])).tolist() == [[0, 2]]
    with pytest.raises(ValueError, match=r"nothing of 1 of its pixels.*`ignore_index`"):
        task.encode_label(Mask([[0, 255]]))


def test_other_annotations_are_refused():
    for said in ("a", ["a"], 1.0):
        with pytest.raises(TypeError, match="takes a mask"):
            TASK.from_annotation(said, ["a", "b", "c"])


def test_the_ledger_s_labels_are_checked_without_encoding_them(tmp_path, monkeypatch):
    label = TASK.encode_label(VALUES)
    keep(tmp_path, [label])
    kept = Blob.kept(tmp_path, label.name)
    monkeypatch.setattr("lightning_al.tasks.masks.mask_blob", None)
    TASK.check_label(kept)
    with pytest.raises(ValueError, match="2 in a mask is no class"):
        SegmentationTask(2).check_label(kept)
    kept.path.unlink()
    with pytest.raises(ValueError, match=rf"{label.name} is missing"):
        TASK.check_label(kept)


def test_masks_of_older_ledgers_are_rows():
    rows = json.loads(json.dumps(VALUES.tolist()))
    TASK.check_label(rows)
    assert TASK.decode_label(rows).tolist() == VALUES.tolist()
    with pytest.raises(ValueError, match="9 in a mask"):
        TASK.check_label([[9]])


def test_people_say_masks():
    assert annotation_kind_of(TASK) == "mask"

    class Own(SegmentationTask):
        def encode_label(self, label):
            return super().encode_label(label)

    assert annotation_kind_of(Own(3)) is None


def test_a_task_of_one_s_own_that_says_masks(tmp_path):
    """With the base's labels; what is told in files is a PNG."""

    class Own(PairTask):
        annotation_kind = "mask"

    campaign = asked(tmp_path / "c", ["x.jpg"], {"kind": "mask", "classes": None, "count": 3})
    (tmp_path / "masks").mkdir()
    indexed(VALUES).save(tmp_path / "masks" / "x.png")
    assert tell(campaign, tmp_path / "masks").labelled == 1
    label = Campaign.load(tmp_path / "c").labels[0]
    image, target = Own().with_label((torch.zeros(1, 2, 3), None), Own().decode_label(label))
    assert torch.equal(target, torch.tensor(VALUES))
    Own().check_label(label)
    assert Own().decode_label(Own().encode_label(torch.tensor(VALUES))) == VALUES.tolist()


@pytest.mark.parametrize(
    ("label", "way"),
    [
        (torch.rand(4, 6), r"`\.long\(\)`\.$"),
        (torch.zeros(3, 4, 6), r"`\.argmax\(0\)`"),
        (np.zeros((4, 6, 3), dtype=np.uint8), r"of colours look each"),
        (3, r"got 3 \(int\)\.$"),
    ],
)
def test_what_is_no_mask_says_how_it_becomes_one(label, way):
    with pytest.raises(TypeError, match=rf"an integer for each pixel, \(H, W\).*{way}"):
        SegmentationTask(3).encode_label(label)


@pytest.mark.parametrize(("dtype", "ignored"), [(torch.int64, 255), (torch.uint8, 255), (torch.int64, -100)])
def test_an_image_without_a_mask_gets_none_of_another_size(dtype, ignored):
    task, image = SegmentationTask(3, ignore_index=ignored), torch.zeros(3, 6, 7)
    for example in (torch.ones(9, 9, dtype=dtype), torch.ones(1, 9, 9, dtype=dtype)):
        made = task.completed(image, (torch.zeros(3, 9, 9), example))[1]
        assert (made.dtype, made.shape[-2:], made.ndim, made.unique().tolist()) == (
            dtype,
            (6, 7),
            example.ndim,
            [ignored],
        )
        same = task.completed(torch.zeros(3, 9, 9), (torch.zeros(3, 9, 9), example))[1]
        assert torch.equal(same, example)
