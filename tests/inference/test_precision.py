from contextlib import nullcontext

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.inference.mode import scoring_mode
from lightning_al.inference.outputs import plain_outputs
from lightning_al.inference.precision import at_least_float32, full_precision
from tests.helpers.models import B, C, case, randn, seeded

SCORES = {
    "saal": F_al.saal,
    "saal asam": lambda m, x, **o: F_al.saal(m, x, perturbation="asam", group_size=2, **o),
    **{
        loss: lambda m, x, loss=loss, **o: F_al.gradient_norm(m, x, loss=loss, **o)
        for loss in ("entropy", "expected_loss", "expected_norm", "pseudo_label")
    },
    "entropy of outputs": lambda m, x, **o: F_al.entropy(plain_outputs(m, x)),
}
HALF = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", HALF)
def test_half_is_raised(dtype):
    t = randn(3).to(dtype)
    assert at_least_float32(t).dtype == torch.float32
    assert torch.equal(at_least_float32(t), t.float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.int8, torch.bool])
def test_everything_else_is_left_alone(dtype):
    t = torch.ones(3, dtype=dtype)
    assert at_least_float32(t) is t


@pytest.mark.few(7)
@pytest.mark.parametrize("options", [{}, {"max_bytes": 1}])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", ["batch norm", "attention"])
def test_scores_under_autocast_are_those_without(name, score, options):
    net, x, *_ = case(name)
    net, x = net.float(), x.float()
    plain = SCORES[score](net, x, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net.eval()(x).dtype == torch.bfloat16  # autocast is at work
        assert torch.equal(SCORES[score](net, x, **options), plain)
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.few(8)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_inputs_into_a_float32_model(dtype, score):
    """What a data set in half precision gives under autocast."""
    net, x, *_ = case("batch norm")
    net, x = net.float(), x.to(dtype)
    assert torch.equal(SCORES[score](net, x), SCORES[score](net, x.float()))


@pytest.mark.few(7)
@pytest.mark.parametrize("options", [{}, {"max_bytes": 1}])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", ["batch norm", "frozen part", "tied weights"])
def test_half_precision_weights_are_raised(name, score, options):
    net, x, *_ = case(name)
    net = net.bfloat16()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    if x.is_floating_point():
        x = x.bfloat16()
    got = SCORES[score](net, x, **options)
    assert got.dtype == torch.float32
    assert all(v.dtype == state[k].dtype and torch.equal(v, state[k]) for k, v in net.state_dict().items())
    if x.is_floating_point():
        torch.testing.assert_close(SCORES[score](net, x.float(), **options), got, rtol=0, atol=0)
        x = x.float()
    with torch.inference_mode():  # as Lightning predicts
        assert torch.equal(SCORES[score](net, x.clone(), **options), got)
    torch.testing.assert_close(SCORES[score](net.float(), x, **options), got, rtol=0, atol=0)


def test_half_precision_weights_move():
    """In bfloat16 itself, θ + ε would round back to θ."""
    net = seeded(lambda: nn.Linear(4, C)).bfloat16()
    x = randn(B, 4).bfloat16()
    assert (F_al.saal(net, x, rho=1e-4, score="difference") > 0).all()


def _switches():
    """What cuDNN is told of float32: the new switches, and the old one where it can be read."""
    cudnn = torch.backends.cudnn
    try:
        old = cudnn.allow_tf32
    except RuntimeError:
        old = "cannot be read"
    return cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, old


@pytest.fixture
def cudnn():
    cudnn = torch.backends.cudnn
    assert _switches() == ("tf32", "tf32", True)  # as torch has it
    yield cudnn
    cudnn.allow_tf32 = True


@pytest.mark.parametrize(
    ("choose", "old_inside"),
    [
        (lambda cudnn: None, False),
        (lambda cudnn: setattr(cudnn, "allow_tf32", False), False),
        (lambda cudnn: setattr(cudnn.conv, "fp32_precision", "ieee"), "cannot be read"),
        (lambda cudnn: setattr(cudnn.rnn, "fp32_precision", "none"), "cannot be read"),
    ],
)
def test_convolutions_are_in_float32_and_the_switches_come_back(cudnn, choose, old_inside):
    choose(cudnn)
    before, seen = _switches(), []

    class Looking(nn.Linear):
        def forward(self, x):
            seen.append(_switches())
            return super().forward(x)

    with full_precision("cuda"):
        F_al.saal(Looking(2, 3), torch.ones(1, 2))
        assert _switches() == ("ieee", "ieee", old_inside)
    assert set(seen) == {("ieee", "ieee", old_inside)}
    assert _switches() == before


def test_a_model_may_use_cudnns_flags(cudnn):
    class Flagged(nn.Linear):
        def forward(self, x):
            with torch.backends.cudnn.flags(enabled=False):
                return super().forward(x)

    with full_precision("cuda"):
        assert plain_outputs(Flagged(2, 3), torch.ones(1, 2)).shape == (1, 3)
    assert _switches() == ("tf32", "tf32", True)


def test_what_models_are_looked_at_in_goes_by_their_device(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "lightning_al.inference.mode.full_precision", lambda *kinds: asked.append(kinds) or nullcontext()
    )
    with scoring_mode(nn.Linear(2, 3)), scoring_mode(nn.Linear(2, 3, device="meta")):
        assert asked == [("cpu",), ("meta",)]
