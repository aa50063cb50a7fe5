"""Samples of several decisions: scores against a plain loop over pixels, or over the boxes of each image."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_al import ClassificationTask, MultiLabelTask
from lightning_al import functional as F_al
from lightning_al.acquisition import (
    BALD,
    SAAL,
    Entropy,
    EntropyGradNorm,
    ExpectedGradNorm,
    LPLGrad,
    Margin,
    MCDropout,
    QueryByCommittee,
)
from lightning_al.inference.calling import tensors_of
from lightning_al.training import LossPredictionMixin
from tests.helpers import disagreement_reference, reference
from tests.helpers.bound import EXACT
from tests.helpers.decisions import (
    CLASSES,
    DECISIONS,
    Project,
    bound,
    campaign,
    entropy,
    gradient,
    images,
    norm,
    number,
    scores,
    sharpest,
)

# -- pixels: as many decisions in each sample ------------------------------------------------------------------------


class PixelClassifier(Project):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(6, CLASSES, 1))
        self.double()

    def forward(self, x):
        return 3 * self.net(x)


class LearnsItsLoss(LossPredictionMixin, PixelClassifier):
    pass


class Largest(ClassificationTask):
    """A class for each pixel; an image is as uncertain as its most uncertain pixel."""

    def reduce(self, values):
        return values.flatten(1).amax(1)

    def check(self, model, batch):
        assert self.logits(model, self.inputs(batch)).shape[1:] == (CLASSES, 4, 5)

    def encode_label(self, label):
        return label.tolist()

    def decode_label(self, value):
        return torch.tensor(value)


class TopShare(Largest):
    """An image is as uncertain as the most uncertain quarter of its pixels."""

    def reduce(self, values):
        return values.flatten(1).topk(4, dim=1).values.mean(1)


def largest(values):
    return max(values, key=number)


def top_share(values):
    return sum(sorted(values, key=number, reverse=True)[:4]) / 4


REDUCED = {Largest: largest, TopShare: top_share}


def pixels(maps):
    """The logits (C,) of each pixel of one image."""
    return [maps[..., i, j] for i in range(4) for j in range(5)]


@pytest.fixture(params=REDUCED)
def dense(request):
    """A task and, in plain Python, how it reduces."""
    return request.param(), REDUCED[request.param]


@pytest.mark.parametrize("cls", DECISIONS)
def test_uncertainty_of_pixels(cls, dense):
    task, reduced = dense
    net, x = PixelClassifier().eval(), images(5)
    expected = [number(reduced([DECISIONS[cls](z) for z in pixels(net(image[None])[0])])) for image in x]
    assert scores(cls(), task, net, [x]).tolist() == pytest.approx(expected, rel=1e-9)
    assert scores(cls(), Mean(), net, [x]).tolist() != pytest.approx(expected, rel=1e-2)


class Mean(Largest):
    reduce = ClassificationTask.reduce


@pytest.mark.parametrize("kind", ["global", "tensor_sum"])
@pytest.mark.parametrize("make", [EntropyGradNorm, LPLGrad, lambda norm: ExpectedGradNorm("expected_loss", norm)])
def test_gradient_norms_of_pixels(make, kind, dense):
    task, reduced = dense
    net, x = (LearnsItsLoss() if make is LPLGrad else PixelClassifier()).eval(), images(4)
    expected = [norm(gradient(net, reduced([entropy(z) for z in pixels(net(i[None])[0])])), kind) for i in x]
    assert scores(make(norm=kind), task, net, [x]).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.few(1)
def test_expected_gradient_norms_of_pixels(dense):
    """Over all labellings of an image's pixels, each with its probability; the losses of each are reduced."""
    task, reduced = dense
    net, x = PixelClassifier().eval(), images(1)[..., :1, :4]
    expected = []
    for image in x:
        score = 0.0
        for labelling in itertools.product(range(CLASSES), repeat=4):
            each = [z.log_softmax(0)[c] for z, c in zip(net(image[None])[0].flatten(1).T, labelling, strict=True)]
            score += math.exp(sum(map(number, each))) * norm(gradient(net, reduced([-log_p for log_p in each])))
        expected.append(score)
    assert scores(ExpectedGradNorm(), task, net, [x]).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"score": "difference"}, {"labels": "true"}])
def test_saal_of_pixels(options, dense):
    task, reduced = dense
    net, x = PixelClassifier().eval(), images(4)
    maps = torch.randint(CLASSES, (4, 4, 5), generator=torch.Generator().manual_seed(1))
    expected = []
    for image, true in zip(x, maps, strict=True):
        labels = true if "labels" in options else net(image[None])[0].argmax(0)

        def loss(model, image=image, labels=labels):
            each = zip(pixels(model(image[None])[0]), labels.flatten(), strict=True)
            return reduced([-z.log_softmax(0)[y] for z, y in each])

        perturbed, plain = sharpest(net, loss, 0.3)
        expected.append(perturbed - plain if "score" in options else perturbed)
    got = scores(SAAL(rho=0.3, **options), task, net, [x, maps])
    assert got.tolist() == pytest.approx(expected, rel=1e-7)


PASSES = {
    "mean_entropy": lambda: MCDropout(passes=4),
    "variation_ratio": lambda: MCDropout(passes=4, score="variation_ratio"),
    "bald": lambda: BALD(passes=4),
}


@pytest.mark.parametrize("name", PASSES)
def test_dropout_of_pixels(name, dense):
    task, reduced = dense
    net, x = PixelClassifier().eval(), images(4)
    of_pixel = getattr(disagreement_reference, name)
    log_p = F_al.mc_dropout(net, x, passes=4, seed=0)
    expected = [reduced([of_pixel(p.exp().tolist()) for p in pixels(image)]) for image in log_p]
    assert scores(PASSES[name](), task, net, [x]).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("score", ["vote_entropy", "kl"])
def test_committees_of_pixels(score, dense):
    task, reduced = dense
    nets, x = [PixelClassifier(seed).eval() for seed in range(3)], images(4)
    acquisition = bound(QueryByCommittee(members=3, score=score), task)
    fitted = iter(nets[1:])
    query = SimpleNamespace(keep=lambda name, make: make(), refit=lambda *_: tensors_of(next(fitted)), round=0)
    acquisition.learn(query)
    expected = []
    for image in x:
        members = torch.stack([net(image[None])[0] for net in nets])
        expected.append(reduced([reference.committee(score, z.tolist()) for z in pixels(members)]))
    assert scores(acquisition, task, nets[0], [x]).tolist() == pytest.approx(expected, rel=1e-9)


def test_a_campaign_over_pixels(tmp_path):
    x = images(20)
    history, models = campaign(
        tmp_path, PixelClassifier(), Largest(), Entropy(), TensorDataset(x, x[:, :CLASSES].argmax(1))
    )
    for result, net in zip(history[:2], models, strict=True):
        expected = [number(largest([entropy(z) for z in pixels(net(x[i][None])[0])])) for i in result.picked]
        assert result.scores == pytest.approx(expected, rel=1e-9)
        assert expected == sorted(expected, reverse=True)


@pytest.mark.parametrize("cls", DECISIONS)
def test_the_least_certain_of_several_labels(cls):
    class LeastCertain(MultiLabelTask):
        def reduce(self, values):
            return values.amax(1)

    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [max(float(DECISIONS[cls](torch.stack([0 * label, label]))) for label in row) for row in z]
    assert scores(cls(), LeastCertain(), nn.Identity(), [z]).tolist() == pytest.approx(expected, rel=1e-9)


# -- boxes: any number of decisions in each sample -------------------------------------------------------------------


class DetectingProject(Project):
    """Gives each cell of a grid class logits, and whether something is there. The label is what there is most of."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Dropout(0.2), nn.Conv2d(6, CLASSES + 1, 1)
        self.net = nn.Sequential(*layers).double()
        nn.init.zeros_(self.net[0].bias)
        nn.init.zeros_(self.net[3].bias)

    def forward(self, x):
        maps = 3 * self.net(x).flatten(2)
        return {"classes": maps[:, 1:].transpose(1, 2), "objectness": maps[:, 0] - 0.5}

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0])["classes"].mean(1), batch[1])


class Boxes(ClassificationTask):
    """The cells where something is are the boxes of an image; without any it is as certain as can be."""

    def check(self, model, batch):
        assert set(self.logits(model, self.inputs(batch))) == {"classes", "objectness"}

    def score(self, model, inputs, score):
        outputs = self.logits(model, inputs)
        boxes = outputs["objectness"] > 0
        of_image = score(outputs["classes"][boxes]).split(boxes.sum(1).tolist())
        certain = score(outputs["classes"].new_tensor([[1e4, *[0] * (CLASSES - 1)]]))
        return torch.cat([self.reduce(values[None]) if len(values) else certain for values in of_image])

    def pseudo_targets(self, logits):
        return logits["classes"].argmax(2), logits["objectness"] > 0

    def loss(self, logits, targets):
        labels, boxes = targets
        losses = F_al.cross_entropy(logits["classes"].transpose(1, 2), labels)
        return torch.where(boxes, losses, 0).sum(1) / boxes.sum(1).clamp(min=1)


def boxes_of(net, image):
    """The logits (C,) of each box of one image."""
    outputs = net(image[None])
    return [z for z, there in zip(outputs["classes"][0], outputs["objectness"][0], strict=True) if there > 0]


def scattered(n):
    """Images with very different numbers of boxes; the third has none."""
    x = images(n)
    x[2] = 0
    return x


def mean_or(values, otherwise):
    return number(sum(values) / len(values)) if values else otherwise


@pytest.mark.parametrize("cls", DECISIONS)
def test_uncertainty_of_boxes(cls):
    detector, x = DetectingProject().eval(), scattered(7)
    boxes = [boxes_of(detector, image) for image in x]
    assert boxes[2] == []
    assert len({len(each) for each in boxes}) > 3
    certain = -1.0 if cls is Margin else 0.0
    expected = [mean_or([DECISIONS[cls](z) for z in each], certain) for each in boxes]
    got = scores(cls(), Boxes(), detector, [x])
    assert got.tolist() == pytest.approx(expected, rel=1e-9)
    alone = torch.cat([scores(cls(), Boxes(), detector, [image[None]]) for image in x])
    torch.testing.assert_close(alone, got, **EXACT)


def test_saal_of_boxes():
    """Which cells are boxes is decided at the weights as they are, and so are their labels."""
    detector, x = DetectingProject().eval(), scattered(7)
    expected = []
    for image in x:
        outputs = detector(image[None])
        labels, there = outputs["classes"][0].argmax(1), outputs["objectness"][0] > 0

        def loss(net, image=image, labels=labels, there=there):
            each = zip(net(image[None])["classes"][0], labels, there, strict=True)
            return sum(-z.log_softmax(0)[y] for z, y, box in each if box) / there.sum()

        expected.append(sharpest(detector, loss, 0.3)[0] if there.any() else 0.0)
    assert expected[2] == 0
    assert scores(SAAL(rho=0.3), Boxes(), detector, [x]).tolist() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("cls", [EntropyGradNorm, ExpectedGradNorm, MCDropout, BALD])
def test_what_needs_logits_of_one_shape_refuses_boxes(cls):
    with pytest.raises(TypeError, match=r"Logits must be a tensor of shape .* got dict"):
        scores(cls(), Boxes(), DetectingProject(), [scattered(4)])


@pytest.mark.few(1)
@pytest.mark.parametrize("make", [Entropy, lambda: SAAL(rho=0.3, selection="top")])
def test_a_campaign_over_boxes(tmp_path, make):
    x = scattered(20)
    labels = x.flatten(2).mean(2).argmax(1)
    history, models = campaign(tmp_path, DetectingProject(), Boxes(), make(), TensorDataset(x, labels))
    for result, net in zip(history[:2], models, strict=True):
        assert result.scores == sorted(result.scores, reverse=True)
        assert len(set(result.scores)) == 4
        if make is Entropy:
            expected = [mean_or([entropy(z) for z in boxes_of(net, x[i])], 0.0) for i in result.picked]
            assert result.scores == pytest.approx(expected, rel=1e-9)
