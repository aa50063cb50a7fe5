import copy
import logging
import math

import pytest
import torch
from functional import reference
from functional.models import NAMES, B, C, case, randn, seeded, take
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import DEFAULT_MAX_BYTES, score_groups, scoring_mode
from lightning_al.gradients.per_sample import MAX_GROUPS, batch_size_of, plain_outputs

SCORES = {
    "saal": F_al.saal,
    "saal, groups": lambda m, x, **o: F_al.saal(m, x, perturbation="asam", group_size=2, **o),
    "entropy": F_al.gradient_norm,
    "expected_norm": lambda m, x, **o: F_al.gradient_norm(m, x, loss="expected_norm", **o),
    "outputs": lambda m, x, forward=None, max_bytes=None: plain_outputs(m, x, forward),
}


def counted(forward):
    calls = []

    def run(model, x):
        calls.append(1)
        return forward(model, x) if forward else model(x)

    return calls, run


# ------------------------------------------------------------------------------------------------- which path is taken


@pytest.mark.parametrize("score", ["saal", "entropy", "expected_norm"])
@pytest.mark.parametrize("name", NAMES)
def test_what_vmap_can_trace_is_vectorized_and_the_rest_falls_back(name, score, caplog):
    net, x, forward, traceable = case(name)
    calls, run = counted(forward)
    with caplog.at_level(logging.INFO, logger="lightning_al"):
        SCORES[score](net, x, forward=run)
    assert ("scoring one group at a time" in caplog.text) is not traceable
    assert len(calls) <= 3 if traceable else len(calls) > B


@pytest.mark.parametrize("score", ["saal", "entropy", "expected_norm"])
def test_one_by_one_where_one_copy_fills_the_budget(score, caplog):
    net, x, *_ = case("batch norm")
    calls, run = counted(None)
    with caplog.at_level(logging.INFO, logger="lightning_al"):
        SCORES[score](net, x, forward=run, max_bytes=1)
    assert len(calls) >= B
    assert caplog.text == ""


def seen_groups(n, group_size=1, copies=1, max_bytes=None, model=None):
    """The group sizes and how many groups each call of the score saw, from the shapes inside."""
    model = model or nn.Linear(1, 2)
    sizes = []

    def forward(m, x):
        sizes.append(len(x))
        return m(x)

    def score(diff, call, params, group):
        return call(params, group)[:, 0]

    x = torch.arange(float(n)).reshape(n, 1)
    got = score_groups(model, score, x, forward=forward, group_size=group_size, copies=copies, max_bytes=max_bytes)
    torch.testing.assert_close(got, model(x)[:, 0].detach())
    return sizes


def test_chunks_and_groups():
    assert MAX_GROUPS == 128
    assert DEFAULT_MAX_BYTES == 256 * 2**20
    assert seen_groups(5) == [1]
    assert seen_groups(129) == [1, 1]
    assert seen_groups(7, group_size=3) == [3, 1]  # the smaller last group on its own
    assert seen_groups(3, group_size=3) == [3]
    assert seen_groups(2, group_size=3) == [2]
    assert seen_groups(260, group_size=64) == [64, 64, 4]  # at most 128 samples at once
    assert seen_groups(400, group_size=200) == [200, 200]
    size = 4 * 4  # four float32 weights
    assert seen_groups(6, max_bytes=size * 2) == [1] * 3
    assert seen_groups(6, max_bytes=size * 2, copies=2) == [1] * 6
    assert seen_groups(6, max_bytes=size * 3) == [1] * 2
    assert seen_groups(0) == []


def test_frozen_weights_do_not_count_for_the_budget():
    model = nn.Linear(1, 2)
    model.bias.requires_grad_(False)
    assert seen_groups(6, max_bytes=2 * 4 * 3, model=model) == [1] * 2


def test_running_out_of_memory_is_not_hidden():
    def forward(m, x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    calls, run = counted(forward)
    with pytest.raises(torch.OutOfMemoryError):
        F_al.saal(nn.Linear(4, C), torch.zeros(4, 4), forward=run)
    assert len(calls) == 1


def test_a_fault_of_the_models_own_comes_through():
    def forward(m, x):
        raise KeyError("pixel_values")

    with pytest.raises(KeyError, match="pixel_values"):
        F_al.saal(nn.Linear(4, C), torch.zeros(4, 4), forward=forward)


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


@pytest.mark.parametrize("mode", [None, 1])
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", ["batch norm", "encoder layer", "counting", "pytree inputs", "lstm", "in place"])
def test_nothing_is_left_behind(name, score, context, mode):
    net, x, forward, seen = lived_in(name)
    enter, prepare = CONTEXTS[context]
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


@pytest.mark.parametrize("score", SCORES)
def test_nothing_is_left_behind_by_an_exception(score):
    net, x, *_ = lived_in("batch norm")
    before = reference.snapshot(net)

    def forward(m, v):
        m(v)
        raise RuntimeError("no luck")

    with torch.no_grad(), pytest.raises(RuntimeError, match="no luck"):
        SCORES[score](net, x, forward=forward)
    assert reference.snapshot(net) == before


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


# -------------------------------------------------------------------------------------------------------------- errors


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


@pytest.mark.parametrize(
    "model", [nn.Linear(4, C).requires_grad_(False), nn.Identity()], ids=["all frozen", "no weights"]
)
def test_refuses_a_model_without_trainable_parameters(model):
    for score in (F_al.saal, F_al.gradient_norm):
        with pytest.raises(ValueError, match=r"no trainable parameter.*Unfreeze"):
            score(model, torch.zeros(2, 4))


@pytest.mark.parametrize("value", [0, -3])
def test_refuses_sizes_below_one(value):
    with pytest.raises(ValueError, match=f"`group_size` must be at least 1, got {value}"):
        score_groups(nn.Linear(1, 1), lambda *a: None, torch.zeros(2, 1), group_size=value)
    with pytest.raises(ValueError, match=f"`max_bytes` must be at least 1, got {value}"):
        F_al.gradient_norm(nn.Linear(4, C), torch.zeros(2, 4), max_bytes=value)


@pytest.mark.parametrize("max_bytes", [None, 1])
def test_refuses_a_score_that_is_not_one_number_per_sample(max_bytes):
    net, x, *_ = case("dense")
    with pytest.raises(ValueError, match=r"one number per sample, \(\d,\) here, got \d+ numbers\. Average"):
        F_al.saal(
            net,
            x,
            loss_fn=lambda z, y: nn.functional.cross_entropy(z, y, reduction="none"),
            max_bytes=max_bytes,
        )


def test_scores_are_seen_by_no_graph_even_when_the_inputs_want_gradients():
    net = seeded(lambda: nn.Linear(4, C))
    x = randn(B, 4).requires_grad_()
    for score in SCORES.values():
        assert not score(net, x).requires_grad
    assert x.grad is None
    assert math.isfinite(float(F_al.saal(net, x).sum()))
