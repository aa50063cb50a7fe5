"""What people read of samples."""

import pytest
from torch.utils.data import ConcatDataset, StackDataset, Subset

from lightning_al.data.parts import CompletedSamples, Parts
from lightning_al.tasks import ClassificationTask
from lightning_al.tasks.texts import text_of


class Tokens:
    def __init__(self, *texts):
        self.texts = texts

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        return [len(word) for word in self.texts[index].split()], 0

    def sample_text(self, index):
        return self.texts[index]


class Files(Tokens):
    sample_text = None
    paths = ("a.png",)

    def __getitem__(self, index):
        raise OSError("not read")


class Silent(Tokens):
    def __getitem__(self, index):
        return [1], 0


ONE, TWO = Tokens("a", "b c"), Tokens("d", "e f", "g")


@pytest.mark.parametrize(
    ("dataset", "index", "expected"),
    [
        (ONE, 1, "b c"),
        (Subset(TWO, [2, 0]), 1, "d"),
        (ConcatDataset([ONE, TWO]), 2, "d"),
        (ConcatDataset([ONE, TWO]), 1, "b c"),
        (Parts([ONE, TWO]), 0, "a"),
        (Parts([ONE, TWO]), 4, "g"),
        (StackDataset([0, 1], ONE), 1, "b c"),
        (StackDataset(x=[0, 1], y=ONE), 0, "a"),
        (CompletedSamples(Subset(ONE, [1]), ([1], 0), ClassificationTask()), 0, "b c"),
        (CompletedSamples(["raw"], ("other", 0), ClassificationTask()), 0, "raw"),
        ([("raw", 0)], 0, "raw"),
        ([{"tokens": [1], "text": "raw"}], 0, "raw"),
        (["raw"], 0, "raw"),
        ([(0.5, 0)], 0, None),
        ([0.5], 0, None),
        (Files("a"), 0, None),
        (Silent(None), 0, None),
    ],
)
def test_the_text_of_a_sample(dataset, index, expected):
    assert text_of(dataset, index) == expected


def test_what_is_no_text_is_refused():
    with pytest.raises(TypeError, match=r"`Tokens.sample_text` must return a string .* got int"):
        text_of(Tokens(3), 0)


@pytest.mark.parametrize(
    ("entry", "is_text"),
    [
        ("fi_0170.npy", False),
        ("clips/field/fi_0170.npy", False),
        ("a.JPEG", False),
        ("Good.", True),
        ("Is it 1.5", True),
        ("3.50", True),
        ("it ended in a.png", True),
        ("word", True),
    ],
)
def test_the_name_of_a_file_is_no_text(entry, is_text):
    assert text_of([(0.5, entry, 1)], 0) == (entry if is_text else None)
    assert text_of([{"wave": 0.5, "file": entry, "said": "to read"}], 0) == (entry if is_text else "to read")


def test_a_text_that_the_model_sees_goes_first_and_a_name_is_none():
    sample = {"id": "s1", "title": "a title", "text": "to read", "label": 0}
    task = ClassificationTask(inputs="text", target="label")
    assert text_of([sample], 0) == "s1"
    assert text_of([sample], 0, key="s1") == "a title"
    assert text_of([sample], 0, task, "s1") == "to read"
    assert (
        text_of([{"id": "s1", "x": 0.5, "label": 0}], 0, ClassificationTask(inputs="x", target="label"), "s1") is None
    )
