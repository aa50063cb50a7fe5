"""The zoo's networks, small: every score against the loop, by the engine alone."""

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.zoo import VGG16, ResNet18, ResNet50, SmallCNN, TextClassifier, ViT
from tests.helpers import reference
from tests.helpers.exact import BRIEF, FEW, SCORES, assert_exact, layers_as_written, messages
from tests.helpers.marks import slow
from tests.helpers.models import B, randn, seeded

WORDS = torch.tensor([[4, 5, 6, 7, 0], [1, 2, 0, 0, 0], [3, 4, 5, 6, 7], [9, 9, 9, 0, 0], [0, 0, 0, 0, 0]])


def moved(build):
    """Away from zero-initialised tokens and from BatchNorm's 0 and 1."""

    def made():
        net = build()
        for p in net.parameters():
            p.data += 0.1 * torch.randn(p.shape)
        for name, b in net.named_buffers():
            if b.is_floating_point():
                nn.init.uniform_(b, 0.5, 2.0)
        return net

    return seeded(made)


MODELS = {
    "ResNet-18": lambda: (moved(lambda: ResNet18(num_classes=3, width=4)), randn(B, 3, 8, 8)),
    "ResNet-18, 3-D": lambda: (
        moved(lambda: ResNet18(num_classes=3, in_channels=1, width=2, dimensions=3)),
        randn(B, 1, 8, 8, 8),
    ),
    "ResNet-18, 1-D": lambda: (moved(lambda: ResNet18(num_classes=3, width=2, dimensions=1)), randn(B, 3, 16)),
    "ResNet-18, 7x7": lambda: (moved(lambda: ResNet18(num_classes=3, width=4, stem="7x7")), randn(B, 3, 32, 32)),
    "ResNet-50": lambda: (moved(lambda: ResNet50(num_classes=3, width=2)), randn(B, 3, 8, 8)),
    "VGG-16": lambda: (
        moved(lambda: VGG16(num_classes=3, width=2, hidden=4, initial="kaiming")),
        randn(B, 3, 32, 32),
    ),
    "ViT": lambda: (
        moved(lambda: ViT(num_classes=3, image_size=8, patch_size=4, dim=8, depth=2, heads=2, dropout=0.1)),
        randn(B, 3, 8, 8),
    ),
    "text": lambda: (
        moved(lambda: TextClassifier(num_classes=3, vocabulary=10, max_length=8, dim=8, depth=2, heads=2)),
        WORDS,
    ),
    "small CNN": lambda: (moved(lambda: SmallCNN(num_classes=3, width=4)), randn(B, 1, 8, 8)),
}


VARIANTS = ("ResNet-18, 3-D", "ResNet-18, 1-D")
LARGE = ("ResNet-18, 7x7", "ResNet-50", "VGG-16")


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("name", "score"),
    [
        (name, score) if name not in LARGE and score in (BRIEF if name in VARIANTS else FEW) else slow(name, score)
        for name in MODELS
        for score in SCORES
    ],
)
def test_every_score_equals_the_loop(name, score):
    assert_exact(*MODELS[name](), (score,))


@pytest.mark.few(1)
@pytest.mark.parametrize("name", [slow("ResNet-18"), "ViT", "text"])
def test_a_score_does_not_depend_on_batch_or_split(name):
    net, x = MODELS[name]()
    order = torch.tensor([3, 0, 4, 2, 1])
    for score in ("sam", "asam", "entropy"):
        call, _, options = SCORES[score]
        together = call(net, x, **options)
        alone = torch.cat([call(net, x[i : i + 1], **options) for i in range(B)])
        for other in (call(net, x[order], **options)[order.argsort()], call(net, x, max_bytes=1, **options), alone):
            torch.testing.assert_close(other, together, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [slow("ResNet-18"), "ViT"])
def test_torchs_own_model_of_the_kind(name):
    models = pytest.importorskip("torchvision").models

    def build():
        if name == "ViT":
            return models.VisionTransformer(8, 4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3)
        return models.resnet18(num_classes=3)

    x = randn(B, 3, 8, 8) if name == "ViT" else randn(3, 3, 32, 32)
    net = moved(build)
    if name == "ResNet-18":  # away from predictions so confident that all gradients are 0
        with torch.no_grad():
            net.fc.weight /= net(x).abs().max()
    assert_exact(net, x, ("sam", "tensor_sum") if name == "ViT" else ("tensor_sum",), single=name == "ViT")


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        *((torch.bfloat16, name) for name in ("ResNet-18", "ViT", "text")),
        (torch.float16, "ViT"),
        *(slow(torch.float16, name) for name in ("ResNet-18", "text")),
    ],
)
def test_half_precision_weights_are_scored_in_float32(name, dtype):
    net, x = MODELS[name]()
    net = net.to(dtype)
    x = x.to(dtype).float() if x.is_floating_point() else x
    wide = MODELS[name]()[0].to(dtype).double()
    for score in ("sam", "asam", "tensor_sum"):
        call, loop, options = SCORES[score]
        with messages() as engine, torch.autocast("cpu", dtype=torch.bfloat16):
            got = call(net, x, **options)
        assert not engine.fell_back
        assert got.dtype == torch.float32
        with layers_as_written():
            want = loop(wide, x.double() if x.is_floating_point() else x, **options)
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["ResNet-18", "text"])
def test_inference_tensors(name):
    net, x = MODELS[name]()
    want = {score: SCORES[score][0](net, x, **SCORES[score][2]) for score in ("sam", "tensor_sum")}
    with torch.inference_mode():
        given = x.clone()
        for score, expected in want.items():
            with messages() as engine:
                got = SCORES[score][0](net, given, **SCORES[score][2])
            assert not engine.fell_back
            assert torch.equal(got, expected)


@pytest.mark.few(1)
@pytest.mark.parametrize("lead", [slow(20), slow(45), 80])
@pytest.mark.parametrize("name", ["small CNN", "ViT", "text"])
def test_very_confident_samples(name, lead):
    """Gradients of about 1e-20 and 1e-35, whose squares float32 has no room for."""
    net, x = MODELS[name]()
    head = net.fc if name == "small CNN" else net.head
    with torch.no_grad():
        head.bias[1] += lead
    narrow, given = MODELS[name]()[0].float(), x.float() if x.is_floating_point() else x
    narrow.load_state_dict(net.state_dict())
    net.load_state_dict(narrow.state_dict())
    for loss in ("entropy", "pseudo_label", "expected_norm"):
        with messages() as engine:
            got = F_al.gradient_norm(narrow, given, loss=loss)
        assert not engine.fell_back
        with layers_as_written():
            if loss == "expected_norm":
                want = F_al.gradient_norm(net, given.double() if given.is_floating_point() else x, loss=loss)
            else:
                want = _exact_norms(net, given.double() if given.is_floating_point() else x, loss)
        torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=0)
        assert (got > 0).all()
    direction = {"p": 3.0, "rho": 1.0}  # no epsilon to hide behind
    got = F_al.saal(narrow, given, **direction)
    want = F_al.saal(net, given.double() if given.is_floating_point() else x, **direction)
    torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=1e-30)


def _exact_norms(net, x, loss):
    """The loop in float64, with losses that keep what is small."""

    def pseudo(z):
        rest = z.clone().scatter_(1, z.argmax(1, keepdim=True), -torch.inf)
        return nn.functional.softplus(rest.logsumexp(1) - z.max(1).values)

    def entropy(z):
        from lightning_al.functional import entropy

        return entropy(z)

    return reference.gradient_norm(net, x, pseudo if loss == "pseudo_label" else entropy)
