import copy
from collections import deque

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients.perturbed_losses import PerturbedWeights
from lightning_al.gradients.recorded_calls import RecordedCall
from lightning_al.gradients.tape import Tape
from lightning_al.inference.calling import Around, call_with
from lightning_al.inference.mode import scoring_mode
from lightning_al.inference.outputs import batch_size_of, plain_outputs
from tests.helpers import reference
from tests.helpers.exact import messages
from tests.helpers.models import NAMES, B, C, case, randn, take
from tests.helpers.ways import WAYS, only

SCORES = {
    "saal": F_al.saal,
    "saal, groups": lambda m, x, **o: F_al.saal(m, x, perturbation="asam", group_size=2, **o),
    "entropy": F_al.gradient_norm,
    "expected_norm": lambda m, x, **o: F_al.gradient_norm(m, x, loss="expected_norm", **o),
    "outputs": lambda m, x, forward=None, max_bytes=None: plain_outputs(m, x, forward),
}


# ------------------------------------------------------------------------------------------------------- plain_outputs


@pytest.mark.parametrize("name", NAMES)
def test_plain_outputs(name):
    net, x, forward, _ = case(name)
    net.train()
    got = plain_outputs(net, x, forward)
    assert not got.requires_grad
    want = reference.outputs(reference.evaluated(net), take(x, slice(None)), forward).detach()
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_plain_outputs_of_a_model_without_weights():
    x = randn(3, 2)
    assert torch.equal(plain_outputs(nn.Identity(), x), x)


# ------------------------------------------------------------------------------------------------- nothing left behind


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


class Collecting(nn.Module):
    """Caches and collects in attributes, as rotary embeddings and models that show their attention do."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(4, 4), nn.Linear(4, C)
        self.cache, self.last, self.shown, self.named, self.calls = None, None, [], {"by": "name"}, 0
        self.few, self.names = deque(maxlen=2), {"a"}

    def forward(self, x):
        h = self.first(x)
        if self.cache is None:
            self.cache = torch.linspace(0, 1, 4, dtype=h.dtype).cos()
        self.last = [h]
        self.new = 1
        self.shown.append(h)
        self.few.append(h)
        self.names.add(len(x))
        self.named["h"] = h
        self.calls += 1
        return self.head((h * self.cache).tanh())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("score", SCORES)
def test_what_models_remember_is_left_as_it_was(score, way, monkeypatch):
    mode = only(way, monkeypatch)
    net = Collecting()  # in float32, where a cache of the comparison in float64 would not do
    collected = net.shown, net.named, net.few, net.names
    want = [[], {"by": "name"}, deque(), {"a"}]
    for _ in range(2):
        SCORES[score](net, torch.randn(B, 4), max_bytes=mode)
        assert list(collected) == want
        assert (net.cache, net.last, net.calls) == (None, None, 0)
        assert not hasattr(net, "new")
        assert all(now is then for now, then in zip((net.shown, net.named, net.few, net.names), collected, strict=True))


def test_a_cache_of_the_comparison_in_float64_is_not_used_in_float32():
    net = Collecting()
    with messages() as engine:
        F_al.saal(net, torch.randn(B, 4))
    assert not engine.fell_back


class NoLuck(Exception):
    pass


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


def test_buffers_written_in_eval_mode_are_put_back():
    net, x, *_ = case("counting")
    calls, last = net.calls, net.last
    for score in SCORES.values():
        score(net, x)
    assert net.calls is calls
    assert net.last is last
    assert float(calls) == float(last) == 0


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


@pytest.mark.skipif(not torch.distributed.is_available(), reason="no torch.distributed")
def test_a_ddp_wrapper_is_taken_off():
    net, x, *_ = case("layer norm")
    want = {k: s(net, x) for k, s in SCORES.items()}
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(net)
        for name, score in SCORES.items():
            assert torch.equal(score(wrapped, x), want[name])
            assert torch.equal(score(wrapped, x, forward=lambda m, v: m[3](m[:3](v))), want[name])
    finally:
        torch.distributed.destroy_process_group()


class Remembering(nn.Module):
    """Keeps tensors as plain attributes, one of them new."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, C)
        self.last = torch.zeros(1)

    def forward(self, x):
        self.last = self.head(x)
        self.new = self.last.exp()
        return self.last


@pytest.mark.parametrize("way", WAYS)
def test_tensors_that_a_model_keeps_are_put_back(way, monkeypatch):
    net = Remembering()
    last = net.last
    F_al.saal(net, torch.randn(B, 4), max_bytes=only(way, monkeypatch))
    assert net.last is last
    assert not hasattr(net, "new")


@pytest.mark.parametrize("way", WAYS)
def test_a_layer_with_two_names_keeps_its_weights(way, monkeypatch):
    layer = nn.Linear(4, 4)
    net, weight = nn.Sequential(layer, nn.Tanh(), layer), layer.weight
    got = F_al.saal(net.double(), randn(B, 4), max_bytes=only(way, monkeypatch))
    torch.testing.assert_close(got, reference.saal(net, randn(B, 4)), rtol=1e-9, atol=1e-9)
    assert layer.weight is weight


def test_call_with():
    layer, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.weight = layer.weight
    net = nn.Sequential(layer, other, layer)
    weight, bias = layer.weight, layer.bias
    got = call_with(net, {"0.weight": torch.eye(2), "0.bias": torch.ones(2)}, torch.zeros(1, 2))
    torch.testing.assert_close(got, (1 + other.bias + 1)[None])
    assert layer.weight is other.weight is weight
    assert layer.bias is bias
    assert torch.equal(call_with(Around(layer), {"model.bias": torch.ones(2)}, lambda: layer.bias), torch.ones(2))


def test_batch_size_of():
    assert batch_size_of({"a": torch.zeros(4, 2), "b": [torch.zeros(4), None, "text", 3]}) == 4
    assert batch_size_of(torch.zeros(0, 2)) == 0


@pytest.mark.parametrize(
    ("inputs", "seen"),
    [
        ({"a": torch.zeros(4, 2), "b": torch.zeros(3)}, r"\[3, 4\]"),
        ([torch.zeros(4), torch.tensor(1.0)], r"\[-1, 4\] \(-1: a scalar\)"),
        (torch.tensor(1.0), r"\[-1\]"),
        ({"a": 1, "b": None}, "no tensor"),
    ],
)
def test_refuses_inputs_without_a_common_batch(inputs, seen):
    with pytest.raises(ValueError, match=f"same first dimension, the batch; seen: {seen}"):
        batch_size_of(inputs)
    with pytest.raises(ValueError, match=seen):
        F_al.saal(nn.Linear(2, 2), inputs)
