"""Which way scores come, what is refused, and that no way shows in them."""

import math

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import score_groups
from tests.helpers.exact import messages
from tests.helpers.models import NAMES, B, C, case, randn, seeded
from tests.helpers.ways import SCORES, WAYS, counted, only


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", NAMES)
def test_rules_come_first_then_torch_func_then_one_by_one(name, score, monkeypatch):
    net, x, forward, traceable = case(name)
    with messages() as engine:
        want = SCORES[score](net, x, forward=forward)
    by_rules = traceable or name in ("counting", "lstm")
    assert any("No layer-wise gradients" in m for m in engine.said) is not by_rules
    assert any("scoring one group at a time" in m for m in engine.said) is not by_rules
    only("torch.func", monkeypatch)
    net, x, forward, _ = case(name)
    with messages() as engine:
        got = SCORES[score](net, x, forward=forward)
    assert any("switched off" in m for m in engine.said)
    assert any("scoring one group at a time" in m for m in engine.said) is not traceable
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_how_often_the_model_runs(monkeypatch):
    net, x, *_ = case("batch norm")
    for score, passes in (("saal", 2), ("entropy", 1), ("expected_norm", 1)):
        calls, run = counted()
        SCORES[score](net, x, forward=run)
        first = len(calls)
        SCORES[score](net, x, forward=run)
        classes = score == "expected_norm"  # counts them
        assert len(calls) - first == passes + classes  # all samples at once
        assert first <= 22  # looks at a few samples, once, in either order
        calls.clear()
        SCORES[score](net, x, forward=run, max_bytes=1)
        assert len(calls) == passes * B + classes  # one at a time, by the rules as well


def test_a_fault_of_the_models_own_comes_through():
    def forward(m, x):
        raise KeyError("pixel_values")

    with pytest.raises(KeyError, match="pixel_values"):
        F_al.saal(nn.Linear(4, C), torch.zeros(4, 4), forward=forward)


@pytest.mark.parametrize(
    "model", [nn.Linear(4, C).requires_grad_(False), nn.Identity()], ids=["all frozen", "no weights"]
)
def test_refuses_a_model_without_trainable_parameters(model):
    for score in (F_al.saal, F_al.gradient_norm):
        with pytest.raises(ValueError, match=r"no trainable parameter.*Unfreeze"):
            score(model, torch.zeros(2, 4))


def test_refuses_a_model_whose_lazy_layers_have_no_shape():
    for score in (F_al.saal, F_al.gradient_norm):
        with pytest.raises(ValueError, match=r"lazy layers.*Run one batch"):
            score(nn.Sequential(nn.LazyLinear(4), nn.Linear(4, C)), torch.zeros(2, 4))


@pytest.mark.parametrize("value", [0, -3, 1.5, "1GB"])
def test_refuses_sizes_below_one(value):
    with pytest.raises(ValueError, match=f"`group_size` must be at least 1, got {value!r}"):
        score_groups(nn.Linear(1, 1), lambda *a: None, torch.zeros(2, 1), group_size=value)
    with pytest.raises(ValueError, match="`max_bytes` must be at least 1, got "):
        F_al.gradient_norm(nn.Linear(4, C), torch.zeros(2, 4), max_bytes=0 if value == 1.5 else value)


@pytest.mark.parametrize("way", WAYS)
def test_refuses_a_score_that_is_not_one_number_per_sample(way, monkeypatch):
    net, x, *_ = case("dense")
    mode = only(way, monkeypatch)
    for score in (
        lambda loss: F_al.saal(net, x, loss_fn=loss, max_bytes=mode),
        lambda loss: F_al.gradient_norm(net, x, loss=lambda z: loss(z, z.argmax(1)), max_bytes=mode),
    ):
        with pytest.raises(ValueError, match=r"one number per sample, \(\d,\) here, got \d+ numbers\. Average"):
            score(lambda z, y: nn.functional.cross_entropy(z, y, reduction="none"))


@pytest.mark.parametrize(
    ("values", "got"), [(0.5, "float"), ([1.0, 2.0], "list"), (torch.tensor([1, 2]), "torch.int64")]
)
def test_refuses_a_loss_that_is_no_floating_tensor(values, got):
    for score in (
        lambda: F_al.saal(nn.Linear(4, C), torch.zeros(2, 4), loss_fn=lambda z, y: values),
        lambda: F_al.gradient_norm(nn.Linear(4, C), torch.zeros(2, 4), loss=lambda z: values),
    ):
        with pytest.raises(TypeError, match=f"The loss must give a floating-point tensor.* got {got}"):
            score()


def test_scores_are_seen_by_no_graph_even_when_the_inputs_want_gradients():
    net = seeded(lambda: nn.Linear(4, C))
    x = randn(B, 4).requires_grad_()
    for score in SCORES.values():
        assert not score(net, x).requires_grad
    assert x.grad is None
    assert math.isfinite(float(F_al.saal(net, x).sum()))
