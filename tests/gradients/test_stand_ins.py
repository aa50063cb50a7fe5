from unittest import mock

import pytest
import torch
from torch import nn

from lightning_al.gradients.errors import NoRule, UsedElsewhere
from lightning_al.gradients.stand_ins import LooseParameter, OwnedParameter, aligned, known_operation
from tests.helpers.exact import BRIEF, FEW, assert_exact, assert_exact_otherwise
from tests.helpers.models import B, C, randn, seeded

T, D = 3, 4
USES = {
    "class token, expanded": ((1, 1, D), lambda p, h: torch.cat([p.expand(len(h), -1, -1), h], 1)),
    "class token, expand_as": ((1, 1, D), lambda p, h: torch.cat([p.expand_as(h[:, :1]), h], 1)),
    "class token, repeated": ((1, 1, D), lambda p, h: torch.cat([p.repeat(len(h), 2, 1), h], 1)),
    "token without a batch": ((1, D), lambda p, h: torch.cat([p.expand(len(h), 1, D), h], 1)),
    "token, unsqueezed": ((D,), lambda p, h: torch.cat([p.unsqueeze(0).unsqueeze(0).expand(len(h), -1, -1), h], 1)),
    "positions": ((1, T, D), lambda p, h: h + p),
    "positions first": ((T, D), lambda p, h: p + h),
    "positions in place": ((T, D), lambda p, h: h.add_(p)),
    "positions, augmented": ((T, D), lambda p, h: h.__iadd__(p)),
    "more positions than needed": ((1, T + 4, D), lambda p, h: h + p[:, :T]),
    "positions by index": ((T + 2, D), lambda p, h: h + p[torch.tensor([2, 0, 1])]),
    "layer scale": ((D,), lambda p, h: h * p),
    "layer scale, shaped": ((D,), lambda p, h: p.view(1, 1, -1) * h),
    "scalar": ((), lambda p, h: h * p.exp() - p),
    "power and quotient": ((D,), lambda p, h: h / (p.abs() + 1) + 1 / (1 + h.square() * p**2)),
    "two at once": ((2, D), lambda p, h: h * (p[0] + p[1].sigmoid()) + torch.sub(h, p[1], alpha=2)),
    "softmax over a parameter": ((T, 1), lambda p, h: h * p.softmax(0)),
    "normalised": ((D,), lambda p, h: h * nn.functional.layer_norm(p, (D,))),
    "matrix": ((D, D), lambda p, h: h @ p),
    "transposed matrix": ((D, D), lambda p, h: torch.matmul(h, p.T)),
    "low rank": ((D, 2), lambda p, h: h + (h @ p).relu() @ p.mT),
    "stacked": ((D,), lambda p, h: h * torch.stack([p, p.flip(0)]).sum(0)),
    "sum of products": ((D,), lambda p, h: torch.einsum("d,btd->bt", p, h).unsqueeze(2) + h),
    "sum of products, time first": ((D,), lambda p, h: h + torch.einsum("d,tbd->bt", p, h.transpose(0, 1))[..., None]),
    "bilinear": ((D, D), lambda p, h: h + torch.einsum("btd,de,bse->bts", h, p, h).softmax(2) @ h),
    "where": ((D,), lambda p, h: torch.where(h > 0, h, p)),
    "maximum": ((T, D), lambda p, h: torch.maximum(h, p)),
    "beside a constant": ((D,), lambda p, h: h * (p * torch.arange(D).to(p.dtype)) + p[:2].outer(torch.ones(D))[0]),
    "attention to parameters": (
        (2, D),
        lambda p, h: nn.functional.scaled_dot_product_attention(h, p.expand(len(h), 2, D), p.expand(len(h), 2, D)),
    ),
    "convolution": ((D, T, 2), lambda p, h: nn.functional.conv1d(h, p, padding=1)[..., :D].transpose(1, 2)[:, :T]),
    "normalisation": ((D,), lambda p, h: nn.functional.layer_norm(h, (D,), p, p)),
    "table": ((5, D), lambda p, h: h + nn.functional.embedding(h[..., 0].abs().long().clamp(max=4), p)),
    "linear": ((D, D), lambda p, h: nn.functional.linear(h, p)),
    "linear, twice": ((D, D), lambda p, h: nn.functional.linear(nn.functional.linear(h, p).tanh(), p)),
    "linear and more": ((D, D), lambda p, h: nn.functional.linear(h, p) + p[0]),
    "linear, then by hand": ((D, D), lambda p, h: nn.functional.linear(h, p) @ p.t()),
    "linear with a bias of its own": ((D, D), lambda p, h: nn.functional.linear(h, p, bias=p.sum(0))),
    "linear of a token": ((D, D), lambda p, h: h + nn.functional.linear(p[:1], p)),
}


class Container(nn.Module):
    """Uses a parameter itself, between layers that have rules."""

    def __init__(self, shape, use):
        super().__init__()
        self.own = nn.Parameter(torch.randn(shape))
        self.first, self.norm, self.head = nn.Linear(D, D), nn.LayerNorm(D), nn.Linear(D, C)
        self.use = use

    def forward(self, x):
        return self.head(self.norm(self.use(self.own, self.first(x))).tanh().mean(1))


@pytest.mark.few(3)
@pytest.mark.parametrize("name", USES)
def test_what_modules_do_with_their_own_parameters(name):
    assert_exact(seeded(lambda: Container(*USES[name])), randn(B, T, D), BRIEF)


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["class token, expanded", "positions", "layer scale", "scalar"])
def test_every_score_equals_the_loop(name):
    assert_exact(seeded(lambda: Container(*USES[name])), randn(B, T, D))


def test_rows_of_several_to_a_sample():
    """Swin's: windows in the batch dimension, a table of position biases looked up and reshaped."""

    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(5, 2))
            self.first, self.head = nn.Linear(D, 2 * T * T), nn.Linear(2 * T * T, C)
            self.register_buffer("index", torch.arange(T * T) % 5)

        def forward(self, x):
            scores = self.first(x.flatten(0, 1)).view(-1, 2, T, T)
            bias = self.table[self.index].view(T, T, 2).permute(2, 0, 1).contiguous()
            mixed = (scores + bias.unsqueeze(0)).softmax(-1).flatten(1)
            return self.head(mixed).unflatten(0, (len(x), -1)).mean(1)

    assert_exact(seeded(Windows), randn(B, 4, D), FEW)


REFUSED = {
    "a number": lambda p, h: h * float(p.detach().sum()),
    "its data": lambda p, h: h + p.data,
    "in place": lambda p, h: h.addcmul_(torch.ones_like(h), p),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_goes_another_way(name):
    net = seeded(lambda: Container((D,), REFUSED[name]))
    assert_exact_otherwise(net, randn(B, T, D), "No layer-wise gradients")


class Peeking(nn.Module):
    """Uses a layer's weights outside of that layer's call."""

    def __init__(self, use):
        super().__init__()
        self.first, self.head = nn.Linear(D, D), nn.Linear(D, C)
        self.use = use

    def forward(self, x):
        return self.head(self.use(self.first, x).tanh())


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "use",
    [
        lambda layer, x: nn.functional.linear(x, layer.weight, layer.bias),
        lambda layer, x: layer(x) + 1e-6 * layer.weight.sum(),
        lambda layer, x: layer(x) @ layer.weight,
        lambda layer, x: layer(x) + layer.bias,
        lambda layer, x: nn.functional.linear(layer(x).tanh(), layer.weight),
        lambda layer, x: nn.functional.linear(x, layer.weight) + 1e-6 * layer.bias.sum(),
    ],
)
def test_a_layers_weights_used_elsewhere_are_not_missed(use):
    """Even where the difference is far below what a comparison in float32 would see."""
    assert_exact(seeded(lambda: Peeking(use)), randn(B, D), FEW)


class Tied(nn.Module):
    """As language models do: the table that looks words up also says which word comes next."""

    def __init__(self, **options):
        super().__init__()
        self.table, self.layer = nn.Embedding(C, D, **options), nn.Linear(D, D)
        self.bias = nn.Parameter(torch.randn(C))

    def forward(self, x):
        return nn.functional.linear(self.layer(self.table(x)).tanh().mean(1), self.table.weight, self.bias)


@pytest.mark.parametrize("options", [{}, {"padding_idx": 1}])
def test_a_table_that_is_the_head_too(options):
    assert_exact(seeded(lambda: Tied(**options)), torch.randint(C, (B, T)), FEW)


@pytest.mark.parametrize("frozen", ["own", "first.weight"])
def test_what_is_frozen_has_no_part(frozen):
    net = seeded(lambda: Container((D, D), lambda p, h: nn.functional.linear(h, p)))
    net.get_parameter(frozen).requires_grad_(False)
    assert_exact(net, randn(B, T, D), FEW)


@pytest.mark.slow
def test_windowed_attention_that_calls_functions_with_its_layers_weights():
    swin = pytest.importorskip("torchvision.models.swin_transformer")

    def build():
        sizes = {"patch_size": [2, 2], "embed_dim": 4, "depths": [2], "num_heads": [2], "window_size": [2, 2]}
        return swin.SwinTransformer(**sizes, num_classes=C)

    assert_exact(seeded(build), randn(B, 3, 8, 8), FEW)


def test_questions_of_shape_and_kind_are_answered():
    net = seeded(lambda: Peeking(lambda layer, x: layer(x.to(layer.weight.dtype)) * layer.weight.shape[0]))
    assert_exact(net, randn(B, D), FEW)


def test_stand_ins():
    copies = torch.randn(2, 3, 4)
    functions = mock.Mock(of_parameters=known_operation)
    for made in (LooseParameter(copies, functions), OwnedParameter(copies[0], "own")):
        assert made.shape == (3, 4)
        assert (made.ndim, made.numel(), len(made), made.dtype) == (2, 12, 3, torch.float32)
        assert "(3, 4)" in repr(made)
        with torch._C.DisableTorchFunctionSubclass(), pytest.raises(NoRule, match="outside of its layer's call"):
            torch.sum(made)  # as a scripted function would
    with pytest.raises(UsedElsewhere, match="`sum` of own outside of a layer's call") as raised:
        OwnedParameter(copies[0], "own").sum()
    assert raised.value.names == {"own"}
    loose = LooseParameter(copies, functions)
    assert torch.equal(loose.sum().copies, copies.sum((1, 2)))
    with pytest.raises(NoRule, match=r"shape \(3, 4\) beside a tensor of shape \(5, 3, 4\)"):
        aligned(loose, torch.zeros(5, 3, 4))
    assert torch.equal(aligned(loose, torch.zeros(4, 3, 4)), copies[[0, 0, 1, 1]])
    assert not functions.beside_rows.mock_calls
    assert not functions.linear.mock_calls
