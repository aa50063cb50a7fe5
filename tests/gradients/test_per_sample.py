"""Which way scores come, what is refused, and that no way shows in them."""

import math

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import plans, score_groups
from tests.helpers import reference
from tests.helpers.exact import messages
from tests.helpers.models import NAMES, B, C, case, randn, seeded
from tests.helpers.ways import SCORES, WAYS, counted, only


@pytest.mark.few(6)
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


def score_in_groups(**options):
    score_groups(nn.Linear(1, 1), lambda *a: None, torch.zeros(2, 1), **options)


@pytest.mark.parametrize("value", [0, -3])
def test_refuses_sizes_below_one(value):
    with pytest.raises(ValueError, match=f"`group_size` must be at least 1, got {value}"):
        score_in_groups(group_size=value)
    with pytest.raises(ValueError, match=rf"`max_bytes` must be at least 1 \(inf allowed\), got {value}"):
        F_al.gradient_norm(nn.Linear(4, C), torch.zeros(2, 4), max_bytes=value)


@pytest.mark.parametrize("value", ["1GB", True])
def test_refuses_sizes_that_are_no_numbers_in_one_error(value):
    with pytest.raises(TypeError) as caught:
        score_in_groups(group_size=value, max_bytes=value)
    first, of_groups, of_bytes = str(caught.value).splitlines()
    assert f"`group_size` must be an integer of at least 1, got {value!r}" in of_groups
    assert f"`max_bytes` must be a number, at least 1 (inf allowed), or None, got {value!r}" in of_bytes
    with pytest.raises(TypeError, match=r"`group_size` must be an integer of at least 1, got 1\.5"):
        score_in_groups(group_size=1.5)


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


def sizes_of(net, x, score=F_al.saal, **options):
    """How many samples the engine took at once."""
    sizes = []

    def run(m, v):
        sizes.append(len(v))
        return m(v)

    score(net, x, forward=run, **options)  # looks at the model first
    sizes.clear()
    score(net, x, forward=run, **options)
    return sizes


@pytest.mark.few(1)
@pytest.mark.parametrize("score", SCORES)
def test_the_byte_budget_bounds_a_batch_of_the_engine(score):
    net, *_ = case("convolution")
    x = randn(40, 2, 6, 6)
    some = sizes_of(net, x, SCORES[score], max_bytes=80_000)
    fewer = sizes_of(net, x, SCORES[score], max_bytes=40_000)
    assert max(fewer) < max(some) < 40
    assert sizes_of(net, x, SCORES[score], max_bytes=8e4) == some  # which no number of samples follows from
    assert max(sizes_of(net, x, SCORES[score], max_bytes=float("inf"))) == 40
    assert max(sizes_of(net, x, SCORES[score])) == 40


def test_groups_are_never_torn_by_the_budget():
    net, *_ = case("convolution")
    x = randn(13, 2, 6, 6)
    sizes = sizes_of(net, x, group_size=4, max_bytes=1)
    assert sizes == [4, 4, 4, 4, 4, 4, 1, 1]
    for max_bytes in (1, 60_000, 10**6, None):
        got = F_al.saal(net, x, group_size=4, max_bytes=max_bytes)
        torch.testing.assert_close(got, reference.saal(net, x, group_size=4), rtol=1e-9, atol=1e-9)


@pytest.mark.few(5)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("score", SCORES)
def test_ways_and_splits_do_not_show(score, way, monkeypatch):
    net, *_ = case("convolution")
    x = randn(9, 2, 6, 6)
    want = SCORES[score](net, x)
    mode = only(way, monkeypatch)
    for max_bytes in {1, 20_000, mode}:
        torch.testing.assert_close(SCORES[score](net, x, max_bytes=max_bytes), want, rtol=1e-9, atol=1e-9)


def limited(most, error=torch.OutOfMemoryError):
    """A forward that has the memory for so many samples."""
    sizes = []

    def forward(m, x):
        sizes.append(len(x))
        if len(x) > most:
            raise error("CUDA out of memory")
        return m(x)

    return sizes, forward


@pytest.mark.few(4)
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
@pytest.mark.parametrize("score", SCORES)
def test_out_of_memory_halves_the_batch_and_goes_on(score, error):
    net, *_ = case("layer norm")
    x = randn(40, 4)
    sizes, forward = limited(12, error)
    with messages() as engine:
        got = SCORES[score](net, x, forward=forward)
    torch.testing.assert_close(got, SCORES[score](net, x), rtol=1e-9, atol=1e-9)
    assert engine.said == [
        "Out of memory with 40 samples at once; going on with 20.",
        "Out of memory with 20 samples at once; going on with 10.",
    ]
    assert sizes.count(10) == 4 * (2 if score == "saal" else 1)
    assert 40 in sizes


def test_groups_stay_whole_when_memory_runs_out():
    net, *_ = case("layer norm")
    x = randn(22, 4)
    sizes, forward = limited(7)
    got = F_al.saal(net, x, group_size=3, forward=forward)
    torch.testing.assert_close(got, reference.saal(net, x, group_size=3), rtol=1e-9, atol=1e-9)


def test_memory_for_one_sample_only():
    """Not even enough to look at two."""
    net, *_ = case("layer norm")
    x = randn(B, 4)
    sizes, forward = limited(1)
    torch.testing.assert_close(F_al.saal(net, x, forward=forward), reference.saal(net, x), rtol=1e-9, atol=1e-9)


def test_memory_for_no_sample_is_not_hidden():
    _, forward = limited(0)
    with pytest.raises(torch.OutOfMemoryError):
        F_al.saal(nn.Linear(4, C), torch.zeros(4, 4), forward=forward)


def test_a_first_batch_is_proved_by_samples_that_have_a_gradient(monkeypatch):
    """A large model's: the second sample, which would be the one, has none."""
    monkeypatch.setattr(plans, "_LARGE", 0)
    net, x = seeded(lambda: nn.Linear(4, C)), randn(4, 4)
    x[1] = 0.0

    def given(model, x):
        return model(x) * (x[:, :1] != 0)

    with messages() as engine:
        got = F_al.gradient_norm(net, x, forward=given, loss=lambda z: z.sum(1))
    assert not engine.fell_back
    want = reference.gradient_norm(net, x, forward=given, loss=lambda z: z.sum(1))
    assert [bool(score) for score in want] == [True, False, True, True]
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
