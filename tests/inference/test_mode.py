"""The state in which models are scored, and that nothing of it is left behind, also after an error."""

import copy

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients.perturbed_losses import PerturbedWeights
from lightning_al.gradients.recorded_calls import RecordedCall
from lightning_al.gradients.tape import Tape
from lightning_al.inference.mode import scoring_mode
from tests.helpers import reference
from tests.helpers.models import B, case, take
from tests.helpers.scores import SCORES
from tests.helpers.ways import WAYS, only


def lived_in(name):
    """A model in use: mixed flags, gradients, frozen weights, hooks."""
    net, x, forward, _ = case(name)
    seen = []
    for i, m in enumerate(net.modules()):
        m.training = i % 2 == 0
        m.register_forward_hook(lambda *a: seen.append(1) and None)
    for i, w in enumerate(net.parameters()):
        w.grad = torch.full_like(w, float(i)) if i % 2 else None
        w.register_hook(lambda g: seen.append("parameter hook") or g * 1000)
        if i == 0:
            w.requires_grad_(False)
    return net, x, forward, seen


def inference(x):
    with torch.inference_mode():
        return take(x, slice(None))


CONTEXTS = {
    "plain": (torch.enable_grad, lambda x: x),
    "no_grad": (torch.no_grad, lambda x: x),
    "inference_mode": (torch.inference_mode, inference),
    "autocast": (lambda: torch.autocast("cpu", dtype=torch.bfloat16), lambda x: x),
}


@pytest.mark.few(20)
@pytest.mark.parametrize(("way", "context"), [*((w, "plain") for w in WAYS), *(("rules", c) for c in CONTEXTS)][1:])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", ["batch norm", "encoder layer", "counting", "pytree inputs", "lstm", "in place"])
def test_nothing_is_left_behind(name, score, context, way, monkeypatch):
    net, x, forward, seen = lived_in(name)
    enter, prepare = CONTEXTS[context]
    mode = only(way, monkeypatch)
    want = SCORES[score](net, x, forward=forward, max_bytes=mode)
    with enter():
        given = prepare(x)
        kept = take(given, slice(None))
        before = reference.snapshot(net)
        got = SCORES[score](net, given, forward=forward, max_bytes=mode)
        assert reference.snapshot(net) == before
        torch.testing.assert_close(take(given, slice(None)), kept, rtol=0, atol=0)
    assert torch.equal(got, want)
    assert "parameter hook" not in seen


class NoLuck(Exception):
    pass


@pytest.mark.few(30)
@pytest.mark.parametrize("error", [NoLuck, KeyboardInterrupt])
@pytest.mark.parametrize("after", [0, 2, 3, 5, 6])
@pytest.mark.parametrize("name", ["batch norm", "encoder layer"])
@pytest.mark.parametrize("score", SCORES)
def test_nothing_is_left_behind_by_an_error_in_the_model(score, name, after, error):
    """Whichever pass it comes in: the first look, the check against the loop, the two passes, the loop itself."""
    net, x, *_ = lived_in(name)
    before = reference.snapshot(net)
    calls = []

    def forward(m, v):
        z = m(v)
        calls.append(1)
        if len(calls) > (0 if score == "outputs" else after):
            raise error("no luck")
        return z

    with torch.no_grad(), pytest.raises(error, match="no luck"):
        SCORES[score](net, x, forward=forward)
    assert reference.snapshot(net) == before
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.few(6)
@pytest.mark.parametrize("error", [NoLuck, KeyboardInterrupt])
@pytest.mark.parametrize(
    "where",
    [
        (Tape, "record"),
        (Tape, "backward"),
        (Tape, "replay"),
        (RecordedCall, "__init__"),
        (PerturbedWeights, "receive"),
        (PerturbedWeights, "output"),
    ],
    ids=lambda where: f"{where[0].__name__}.{where[1]}" if isinstance(where, tuple) else None,
)
def test_nothing_is_left_behind_by_an_error_inside_the_engine(where, error, monkeypatch):
    net, x, *_ = lived_in("encoder layer")
    want = F_al.saal(net, x)
    before = reference.snapshot(net)

    def fails(*args, **kwargs):
        raise error("no luck")

    monkeypatch.setattr(*where, fails)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt, match="no luck"):
            F_al.saal(net, x)
    else:
        torch.testing.assert_close(F_al.saal(net, x), want, rtol=1e-9, atol=1e-9)  # by the loop
    assert reference.snapshot(net) == before
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("score", SCORES)
def test_a_model_that_draws_leaves_the_random_state(score):
    """Dropout that ignores ``eval()``; vmap refuses it, plain autograd does not."""
    net, x, *_ = case("layer norm")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    a = SCORES[score](net, x, forward=lambda m, v: nn.functional.dropout(m(v), 0.5, training=True))
    assert torch.equal(torch.get_rng_state(), before)
    b = SCORES[score](net, x, forward=lambda m, v: nn.functional.dropout(m(v), 0.5, training=True))
    assert torch.equal(a, b)
    torch.rand(1)
    c = SCORES[score](net, x, forward=lambda m, v: nn.functional.dropout(m(v), 0.5, training=True))
    assert not torch.equal(a, c)  # it did draw


@pytest.mark.few(6)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", ["batch norm", "encoder layer"])
def test_train_mode_is_scored_in_eval_mode(name, score):
    """BatchNorm on running statistics, dropout off, whatever mode the model came in."""
    net, x, *_ = case(name)
    want = SCORES[score](net.eval(), x)
    assert torch.equal(SCORES[score](net.train(), x), want)
    assert net.training
    shifted = copy.deepcopy(net)
    if name == "batch norm":
        shifted.norm.running_mean.add_(1.0)
        assert (SCORES[score](shifted, x) - want).abs().max() > 1e-4  # the statistics are used


def test_the_model_still_trains_afterwards():
    net, x, *_ = case("batch norm")
    twin = copy.deepcopy(net)
    F_al.saal(net, x)
    F_al.gradient_norm(net, x, loss="expected_norm")
    for m in (net, twin):
        torch.manual_seed(0)
        reference.loss(m(x), torch.zeros(B, dtype=torch.long)).mean().backward()
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_scoring_mode_gives_and_takes_back():
    net, *_ = lived_in("batch norm")
    flags = [m.training for m in net.modules()]
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        with scoring_mode(net):
            assert not any(m.training for m in net.modules())
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
            assert not torch.is_autocast_enabled("cpu")
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
    assert [m.training for m in net.modules()] == flags
