"""What random augmentation moves, and where labels that are told would be wrong."""

import random

import numpy as np
import pytest
import torch

from lightning_al import ClassificationTask
from lightning_al.data.augmentation import Augment, check_told_labels, draws, moving, same
from tests.helpers.maps import Maps, MapTask, flipped


class Samples:
    """Input and target, made anew at each draw by a function of index and chance."""

    def __init__(self, make):
        self.make = make

    def __getitem__(self, index):
        return self.make(index, random.random() < 0.5)


class FirstTwo(ClassificationTask):
    def targets(self, sample):
        return sample[1]

    def encode_label(self, label):
        return label


ROWS = range(16)
MAP = torch.arange(6).reshape(2, 3)
BOXES = [[0, 0, 2, 2], [1, 1, 3, 3]]


def test_draws_differ_come_again_and_leave_generators_alone():
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    data = Samples(lambda index, _: (random.random(), np.random.rand(), float(torch.rand(()))))
    first, second = list(draws(data, 0, lambda s: s, 5)), list(draws(data, 0, lambda s: s, 5))
    assert first == second
    assert len(set(first)) == 5
    after = random.random(), np.random.rand(), float(torch.rand(()))
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    assert after == (random.random(), np.random.rand(), float(torch.rand(())))


@pytest.mark.parametrize("rows", [[0], [5, 2], list(range(40))])
@pytest.mark.parametrize("kind", [torch.tensor, np.array, lambda v: v, lambda v: {"a": (torch.tensor(v),)}, "picture"])
def test_what_moves(kind, rows):
    if kind == "picture":
        image = pytest.importorskip("PIL.Image")
        kind = lambda v: image.fromarray(np.array([v], np.uint8))  # noqa: E731
    data = Samples(lambda index, chance: (kind([1, 2] if chance else [2, 1]), kind([index, 0])))
    assert moving(data, rows, lambda sample: sample[0]) == rows[0]
    assert moving(data, rows, lambda sample: sample[1]) is None


def test_the_same():
    nan = float("nan")
    assert same({"a": [nan, torch.tensor([nan, 1])]}, {"a": [nan, torch.tensor([nan, 1])]})
    assert same(object(), object())  # nothing is known of them
    for one, other in [
        (1, 2), (1, 1.0), (torch.ones(2), torch.ones(3)), (torch.ones(2), torch.ones(2).double()), ([1], [1, 1]),
        (np.ones(2), np.zeros(2)), ({"a": 1}, {"b": 1}), (nan, 1.0), ("a", "b"), (None, 0),
    ]:  # fmt: skip
        assert not same(one, other)


def told(make, *labels, task=None):
    check_told_labels(Samples(make), list(ROWS), task or FirstTwo(), owner="Mine", told=labels)


@pytest.mark.parametrize(
    "make",
    [
        lambda i, chance: (MAP.flip(0) if chance else MAP, i % 3),  # a class
        lambda i, chance: (MAP + 1.0 * chance, MAP),  # colours
        lambda i, chance: (MAP, torch.zeros(2, 3)),  # nothing moves, masks are hidden
        lambda i, chance: (MAP, BOXES),
        lambda i, chance: (MAP + chance, {"boxes": torch.tensor(BOXES), "labels": torch.ones(2)}),
        lambda i, chance: (MAP.flip(0) if chance else MAP, torch.tensor([torch.nan, 1.0])),  # missing values
        lambda i, chance: (MAP.flip(0) if chance else MAP, -1),  # hidden classes
        lambda i, chance: (MAP.flip(0) if chance else MAP, torch.tensor([0, 0, 0])),  # hidden multi-hot ones
        lambda i, chance: (MAP.flip(0) if chance else MAP,),
    ],
)
def test_labels_that_stay(make):
    told(make)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda i, chance: (MAP.flip(0), MAP.flip(0)) if chance else (MAP, MAP), "input and target together"),
        (lambda i, chance: (MAP, [[0, 0, 2, 2 + chance]]), "input and target together"),
        (lambda i, chance: (MAP, {"boxes": torch.tensor(BOXES) + chance}), "input and target together"),
        (lambda i, chance: (MAP, 90 * chance), "input and target together"),  # an angle
        (lambda i, chance: (MAP.flip(0) if chance else MAP, torch.zeros(2, 3)), "augments inputs"),
        (lambda i, chance: (MAP.flip(0) if chance else MAP, {"boxes": torch.zeros(0, 4)}), "augments inputs"),
        (lambda i, chance: (MAP.flip(0) if chance else MAP, [[0, 0, 0, 0]]), "augments inputs"),
    ],
)
def test_labels_that_move(make, what):
    with pytest.raises(ValueError, match=rf"{what}.*Give Mine a method `augment\(sample\)`") as error:
        told(make)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("label", [MAP, MAP.numpy(), BOXES, {"boxes": BOXES, "labels": [1, 2]}, (MAP, 3)])
def test_what_was_told_says_that_labels_move(label):
    """The data have no targets."""

    def make(i, chance):
        return (MAP.flip(0) if chance else MAP,)

    told(make)
    with pytest.raises(ValueError, match="augments inputs"):
        told(make, label)
    told(lambda i, chance: (MAP,), label)
    told(make, 3)


def test_a_mask_of_pil(tmp_path):
    image = pytest.importorskip("PIL.Image")
    plain, hidden = (image.fromarray(v.astype(np.uint8)) for v in (MAP.numpy(), 0 * MAP.numpy()))
    told(lambda i, chance: (MAP + chance, plain))
    for make in (
        lambda i, chance: (MAP + chance, hidden),
        lambda i, chance: (MAP, plain.transpose(image.Transpose.FLIP_LEFT_RIGHT) if chance else plain),
    ):
        with pytest.raises(ValueError, match=r"`augment\(sample\)`"):
            told(make)


def test_a_task_that_knows_batches_alone():
    class OfBatches(MapTask):
        def inputs(self, batch):
            return batch["images"]

    with pytest.raises(ValueError, match="augments inputs"):
        check_told_labels(Maps(flipped, hidden=True), list(ROWS), OfBatches(), owner="Mine")


def test_only_methods_and_functions_augment():
    class Mine:
        def augment(self, sample):
            return sample

    class Option:
        augment = True

    class Layer:
        augment = torch.nn.Dropout()

    assert Augment.of(Mine())((1, 2)) == (1, 2)
    assert Augment.of(Option()) is Augment.of(Layer()) is Augment.of(object()) is None
