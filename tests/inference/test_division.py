"""Inputs with one entry for each sample, beside those whose tensors have the samples first."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from lightning_al import functional as F_al
from lightning_al.inference.division import as_samples, targets_as_samples
from lightning_al.inference.entries import OnePerSample, batch_size_of, samples_at, slice_of, whole


class PerImage(nn.Module):
    """Takes a list of images of any sizes, as detectors do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4), nn.Linear(4, 3)]
        self.net = nn.Sequential(*layers).double()

    def forward(self, images):
        return torch.cat([self.net(image[None]) for image in images])


class Batched(PerImage):
    """The same layers on a tensor of images."""

    def forward(self, images):
        return self.net(images)


class TwoTowers(nn.Module):
    """Takes two tensors with the batch first."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(8, 3).double()
        self.calls = 0

    def forward(self, pair):
        self.calls += 1
        one, other = pair
        return self.net(torch.cat([one, other], 1))


class Lists(PerImage):
    """Gives a list of outputs, of one image each, as detectors do."""

    def forward(self, images):
        return [{"scores": image.mean((1, 2))[None], "boxes": image[None, :, :2, :2]} for image in images]


class Rows(nn.Module):
    """Gives so many rows, or fewer where a part of the inputs has fewer."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, inputs):
        return torch.zeros(self.size, 2)


def images(sizes, channels=3):
    g = torch.Generator().manual_seed(1)
    return [torch.randn(channels, *size, generator=g, dtype=torch.float64) for size in sizes]


DIFFERENT = images([(5, 6), (7, 5), (6, 6), (5, 5)])
ALIKE = images([(5, 5)] * 4)
THREE = images([(5, 5)] * 3)  # also three columns of three rows


@pytest.mark.parametrize("inputs", [DIFFERENT, ALIKE, THREE, tuple(THREE), DIFFERENT[:1], ALIKE[:2]])
def test_a_list_of_images_is_one_entry_a_sample(inputs):
    divided = as_samples(PerImage(), inputs)
    if len(inputs) > 1:
        assert isinstance(divided, OnePerSample)
    assert batch_size_of(divided) == (len(inputs) if len(inputs) > 1 else batch_size_of(divided))
    back = whole(divided)
    assert type(back) is type(inputs)
    assert all(a is b for a, b in zip(back, inputs, strict=True))


@pytest.mark.parametrize(("count", "channels"), [(3, 3), (2, 3), (4, 1), (2, 1), (1, 3)])
def test_a_list_of_images_whose_outputs_are_lists_too(count, channels):
    reading = as_samples(Lists(), images([(9, 9)] * count, channels))
    assert isinstance(reading, OnePerSample)
    assert batch_size_of(reading) == count


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", [list, tuple])
def test_columns_stay_columns(size, kind):
    model, pair = TwoTowers(), kind(torch.randn(2, size, 4, dtype=torch.float64).unbind())
    divided = as_samples(model, pair)
    assert not isinstance(divided, OnePerSample)
    assert batch_size_of(divided) == size
    calls = model.calls
    as_samples(model, pair)
    assert model.calls == calls  # known by now


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ({"ids": torch.zeros(4, 2), "texts": ["a", "b", "c", "d"]}, 4),
        ({"images": [torch.zeros(3, 5, 5)] * 2, "ids": torch.zeros(2, 7)}, 2),
        ([{"image": torch.zeros(3, 5, 5)}, {"image": torch.zeros(3, 6, 5)}], 2),
        (["a text", "another", "a third"], 3),
        ((DIFFERENT, [torch.zeros(2), torch.zeros(3), torch.zeros(2), torch.zeros(2)]), 4),
        ({"ids": torch.zeros(2, 2), "size": (224, 224)}, 2),
    ],
)
def test_parts_of_inputs(inputs, size):
    divided = as_samples(Rows(size), inputs)
    assert batch_size_of(divided) == size
    for i in range(size):
        one, other = slice_of(divided, i, i + 1), samples_at(divided, torch.tensor([i]))
        assert batch_size_of(one) == batch_size_of(other) == 1
    if isinstance(inputs, dict) and "size" in inputs:
        assert whole(slice_of(divided, 0, 1))["size"] == (224, 224)
    elif isinstance(inputs, dict) and "texts" in inputs:
        assert whole(slice_of(divided, 2, 3))["texts"] == ["c"]
    elif isinstance(inputs, dict):
        assert [len(v) for v in whole(slice_of(divided, 0, 1)).values()] == [1, 1]


def test_targets_of_a_known_number_of_samples():
    boxes = [{"boxes": torch.zeros(2, 4), "labels": torch.zeros(2)}] * 2
    assert isinstance(targets_as_samples(boxes, 2), OnePerSample)
    columns = {"boxes": torch.zeros(2, 4), "labels": torch.zeros(2)}
    assert targets_as_samples(columns, 2).keys() == columns.keys()
    with pytest.raises(ValueError, match="or a list of them have one entry for each sample; seen: "):
        targets_as_samples(boxes, 3)


SCORES = {
    "saal": lambda model, x: F_al.saal(model, x, rho=0.1),
    "saal in twos": lambda model, x: F_al.saal(model, x, rho=0.1, group_size=2),
    "difference": lambda model, x: F_al.saal(model, x, rho=0.1, score="difference", perturbation="asam"),
    "entropy": lambda model, x: F_al.gradient_norm(model, x),
    "expected": lambda model, x: F_al.gradient_norm(model, x, loss="expected_norm", norm="tensor_sum"),
    "mc": lambda model, x: F_al.mc_dropout(model, x, passes=4, seed=3),
    "mc added": lambda model, x: F_al.mc_dropout(model, x, passes=4, seed=3, add_dropout=0.5),
    "bound": lambda model, x: F_al.sharpness_bound(model, x, steps=5).total,
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_of_images_of_one_size_are_those_of_a_tensor(name):
    model = PerImage()
    torch.testing.assert_close(
        SCORES[name](model, ALIKE), SCORES[name](Batched(), torch.stack(ALIKE)), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", SCORES)
def test_scores_of_images_of_different_sizes_are_those_of_each_by_itself(name):
    model, scores = PerImage(), SCORES[name]
    size = 2 if name == "saal in twos" else 1
    got = scores(model, DIFFERENT)
    if size == 1:
        want = torch.cat([scores(Batched(), image[None]) for image in DIFFERENT])
    else:
        want = torch.cat([scores(model, DIFFERENT[:2]), scores(model, DIFFERENT[2:])])
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_saal_of_a_group_by_hand():
    model, rho = PerImage().eval(), 0.1
    weights = dict(model.named_parameters())
    labels = model(DIFFERENT).argmax(1)
    want = []
    for start in (0, 2):
        pair, y = DIFFERENT[start : start + 2], labels[start : start + 2]
        grads = torch.autograd.grad(nn.functional.cross_entropy(model(pair), y), list(weights.values()))
        norm = torch.sqrt(sum((g**2).sum() for g in grads))
        moved = {n: w + rho * g / norm for (n, w), g in zip(weights.items(), grads, strict=True)}
        want.append(nn.functional.cross_entropy(functional_call(model, moved, (pair,)), y, reduction="none").detach())
    torch.testing.assert_close(F_al.saal(model, DIFFERENT, rho=rho, group_size=2), torch.cat(want))


@pytest.mark.parametrize(
    ("targets", "seen"),
    [
        (torch.tensor([0, 1, 2]), "3"),
        (torch.tensor(1), "-1"),
        ({"a": torch.zeros(2), "b": torch.zeros(3)}, "2, 3"),
    ],
)
def test_targets_of_another_number_of_samples_are_named_themselves(targets, seen):
    with pytest.raises(
        ValueError, match=rf"^Every tensor in `targets` must .* first dimension, 2, .* seen: \[{seen}\]"
    ):
        F_al.saal(nn.Linear(4, 3), torch.zeros(2, 4), targets=targets)


def test_saal_with_targets_of_each_sample():
    model = PerImage()
    boxes = [{"labels": torch.full((n,), n)} for n in (1, 2, 2, 1)]

    def losses(outputs, targets):
        classes = torch.stack([t["labels"][0] for t in targets])
        return nn.functional.cross_entropy(outputs, classes, reduction="none")

    got = F_al.saal(model, DIFFERENT, targets=boxes, loss_fn=losses)
    want = F_al.saal(model, DIFFERENT, targets=torch.tensor([1, 2, 2, 1]))
    torch.testing.assert_close(got, want)


def test_dropout_masks_of_the_first_pass_are_the_same_for_all_samples():
    one = ALIKE[0]
    log_p = F_al.mc_dropout(PerImage(), [one, one, DIFFERENT[0]], passes=6)
    assert torch.equal(log_p[0], log_p[1])
    assert len(log_p[0].unique(dim=0)) > 1


def test_something_random_beside_dropout_is_refused_for_lists_too():
    class Noisy(PerImage):
        def forward(self, images):
            outputs = super().forward(images)
            return outputs + torch.randn_like(outputs)

    with pytest.raises(ValueError, match="something besides dropout draws at random there"):
        F_al.mc_dropout(Noisy(), DIFFERENT)


class Reader(nn.Module):
    """Looks words up itself."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(26, 4).double()
        self.net = nn.Linear(4, 3).double()

    def forward(self, texts):
        rows = [self.table(torch.tensor([ord(c) - 97 for c in text])).mean(0) for text in texts]
        return self.net(torch.stack(rows))


class Both(Reader):
    """The same, of tensors and texts side by side."""

    def forward(self, batch):
        return super().forward(batch["texts"]) * batch["weights"].unsqueeze(1)


@pytest.mark.parametrize("inputs", [["abc", "z", "zz", "b"], ("abc", "z", "zz", "b")])
def test_texts_are_scored_each_by_itself(inputs):
    want = torch.cat([F_al.saal(Reader(), [text]) for text in inputs])
    torch.testing.assert_close(F_al.saal(Reader(), inputs), want)
    assert len(want.unique()) == 3


def test_texts_beside_tensors_go_with_their_sample():
    texts, weights = ["abc", "z", "zz", "b"], torch.tensor([1.0, 2.0, 0.5, 3.0]).double()
    want = [F_al.saal(Both(), {"texts": [t], "weights": w[None]}) for t, w in zip(texts, weights, strict=True)]
    torch.testing.assert_close(F_al.saal(Both(), {"texts": texts, "weights": weights}), torch.cat(want))
