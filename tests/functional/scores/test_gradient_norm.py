import itertools
import math

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.functional.scores.gradient_norm import LOSSES, NORMS, check_gradient_norm
from tests.helpers import reference
from tests.helpers.labellings import labellings_of
from tests.helpers.marks import slow
from tests.helpers.models import NAMES, B, C, case, randn, seeded, take
from tests.helpers.ways import WAYS, only

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def own_loss(z):
    return z.flatten(1).square().sum(1).sqrt()


EVERY_LOSS = [*LOSSES, own_loss]


@pytest.mark.few(11)
@pytest.mark.parametrize("mode", WAYS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", EVERY_LOSS)
@pytest.mark.parametrize("name", ["batch norm", "dense", "pytree inputs"])
def test_every_option_equals_the_loop(name, loss, norm, mode, monkeypatch):
    net, x, forward, _ = case(name)
    got = F_al.gradient_norm(net, x, loss=loss, norm=norm, forward=forward, max_bytes=only(mode, monkeypatch))
    assert got.shape == (B,)
    assert got.dtype == torch.float64
    assert not got.requires_grad
    torch.testing.assert_close(got, reference.gradient_norm(net, x, loss, norm, forward), **EXACT)


@pytest.mark.few(8)
@pytest.mark.parametrize("mode", WAYS)
@pytest.mark.parametrize("loss", ["entropy", "expected_norm"])
@pytest.mark.parametrize("name", NAMES)
def test_every_model_equals_the_loop(name, loss, mode, monkeypatch):
    net, x, forward, _ = case(name)
    got = F_al.gradient_norm(net, x, loss=loss, norm="tensor_sum", forward=forward, max_bytes=only(mode, monkeypatch))
    torch.testing.assert_close(got, reference.gradient_norm(net, x, loss, "tensor_sum", forward), **EXACT)
    assert got.max() - got.min() > 1e-4


def test_the_options_differ():
    net, x, *_ = case("batch norm")
    scores = {(a, n): F_al.gradient_norm(net, x, loss=a, norm=n) for a in EVERY_LOSS for n in NORMS}
    for norm in NORMS:
        torch.testing.assert_close(scores["entropy", norm], scores["expected_loss", norm], rtol=0, atol=0)
        del scores["expected_loss", norm]
    values = list(scores.values())
    for i, a in enumerate(values):
        assert all((a - b).abs().max() > 1e-3 for b in values[:i])


@pytest.mark.few(1)
@pytest.mark.parametrize("mode", WAYS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_largest_loss_of_a_sample_may_be_differentiated(loss, norm, mode, monkeypatch):
    net, x, *_ = case("dense")
    options = {"norm": norm, "draws": 3, "max_bytes": only(mode, monkeypatch)}
    got = F_al.gradient_norm(net, x, loss=loss, reduce=lambda values: values.flatten(1).amax(1), **options)

    def norm_of(losses, some=slice(None)):
        return F_al.gradient_norm(net, x[some], loss=lambda z: losses(z.log_softmax(1)).flatten(1).amax(1), norm=norm)

    if loss == "expected_norm":
        p = net.eval()(x).softmax(1).flatten(2)
        expected = torch.zeros(B, dtype=torch.float64)
        for i in range(B):
            for labels, weight in labellings_of(p[i].tolist(), 3):
                y = torch.tensor(labels).view(1, 1, *net(x).shape[2:])
                expected[i] += weight * norm_of(lambda log_p, y=y: -log_p.gather(1, y)[:, 0], slice(i, i + 1)).item()
    elif loss == "pseudo_label":
        expected = norm_of(lambda log_p: -log_p.amax(1))
    else:
        expected = norm_of(lambda log_p: -(log_p.exp() * log_p).sum(1))
    torch.testing.assert_close(got, expected, **EXACT)
    assert (got - F_al.gradient_norm(net, x, loss=loss, norm=norm)).abs().max() > 1e-3


class Labels(nn.Module):
    """L independent labels as two classes each, (B, 2, L), on weights of its own."""

    def __init__(self, labels):
        super().__init__()
        self.linear = nn.Linear(4, labels).double()
        nn.init.normal_(self.linear.weight, generator=torch.Generator().manual_seed(labels))

    def forward(self, x):
        z = self.linear(x)
        return torch.stack([torch.zeros_like(z), z], 1)


def expected_length(net, x, labellings):
    """Of the mean binary cross-entropy of one sample, in plain numbers: the gradient to a logit is (p - y) / L."""
    p = net.linear(x).sigmoid().tolist()
    length = math.sqrt(float(x.square().sum()) + 1)
    return sum(w * math.hypot(*((q - a) / len(p) for q, a in zip(p, y))) * length for y, w in labellings(p))


def by_hand(p):
    return [(y, math.prod(q if a else 1 - q for q, a in zip(p, y))) for y in itertools.product((0, 1), repeat=len(p))]


@pytest.mark.parametrize(
    ("mode", "labels"), [*((mode, labels) for mode in WAYS for labels in (1, 3)), slow("rules", 8)]
)
def test_the_expected_norm_of_few_labels_is_the_sum_over_all_combinations(labels, mode, monkeypatch):
    net, x = Labels(labels), randn(B, 4)
    got = F_al.gradient_norm(net, x, loss="expected_norm", max_bytes=only(mode, monkeypatch))
    want = [expected_length(net, row, by_hand) for row in x]
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("draws", [1, pytest.param(64, marks=pytest.mark.slow)])
def test_the_expected_norm_of_many_labels_is_the_mean_over_some_drawn_from_p(draws):
    net, x = Labels(11), randn(B, 4)
    got = F_al.gradient_norm(net, x, loss="expected_norm", draws=draws)

    def drawn(p):
        return labellings_of([[1 - q for q in p], p], draws)

    want = torch.tensor([expected_length(net, row, drawn) for row in x], dtype=torch.float64)
    torch.testing.assert_close(got, want, **EXACT)
    alone = torch.cat([F_al.gradient_norm(net, x[i : i + 1], loss="expected_norm", draws=draws) for i in range(B)])
    torch.testing.assert_close(got, alone, **EXACT)
    if draws == 64:  # near the sum over all 2,048
        exact = torch.tensor([expected_length(net, row, by_hand) for row in x], dtype=torch.float64)
        assert ((got - exact).abs() / exact).max() < 0.15


@pytest.mark.parametrize("labels", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_a_sample_that_is_certain_and_mixed_has_no_expected_norm(labels):
    """What averaging probabilities over labels first would put on top."""
    net = Labels(labels)
    nn.init.zeros_(net.linear.weight)
    with torch.no_grad():
        net.linear.bias.copy_(torch.tensor([25.0, -25.0] * (labels // 2)))
    assert F_al.gradient_norm(net, randn(B, 4), loss="expected_norm").max() < 1e-8
    with torch.no_grad():
        net.linear.bias.zero_()
    assert F_al.gradient_norm(net, randn(B, 4), loss="expected_norm").min() > 0.1


def test_entropy_and_the_global_norm_are_the_defaults():
    net, x, *_ = case("layer norm")
    assert torch.equal(F_al.gradient_norm(net, x), F_al.gradient_norm(net, x, loss="entropy", norm="global"))


def test_expected_loss_with_p_detached_has_no_gradient():
    """Why the published sum needs p inside the graph: METHODS §3."""
    net, x, *_ = case("layer norm")

    def detached(z):
        return -(z.softmax(1).detach() * z.log_softmax(1)).sum(1)

    torch.testing.assert_close(
        F_al.gradient_norm(net, x, loss=detached), torch.zeros(B, dtype=torch.float64), atol=1e-14, rtol=0
    )


@pytest.mark.parametrize("logits", [[0.0, 0.0, 0.0], [2.0, 2.0, -800.0]], ids=["uniform", "two-way tie"])
def test_the_entropy_norm_is_zero_at_ties_and_the_expected_norm_is_not(logits):
    net = seeded(lambda: nn.Linear(4, C))
    nn.init.zeros_(net.weight)
    with torch.no_grad():
        net.bias.copy_(torch.tensor(logits))
    x = randn(B, 4)
    assert F_al.gradient_norm(net, x, loss="entropy").max() < 1e-12
    expected = F_al.gradient_norm(net, x, loss="expected_norm")
    residual = math.sqrt(2 / 3) if logits[1] == 0 else math.sqrt(0.5)
    torch.testing.assert_close(expected, residual * (1 + x.square().sum(1)).sqrt(), **EXACT)


def test_a_parameter_without_gradient_counts_for_nothing():
    net, x, *_ = case("parameter without gradient")
    for loss in LOSSES:
        for norm in NORMS:
            torch.testing.assert_close(
                F_al.gradient_norm(net, x, loss=loss, norm=norm),
                F_al.gradient_norm(net.used, x, loss=loss, norm=norm),
                **EXACT,
            )


@pytest.mark.few(6)
@pytest.mark.parametrize("loss", EVERY_LOSS)
@pytest.mark.parametrize("name", ["batch norm", "attention", "branch"])
def test_a_score_does_not_depend_on_its_batch(name, loss):
    net, x, *_ = case(name)
    together = F_al.gradient_norm(net, x, loss=loss)
    alone = torch.cat([F_al.gradient_norm(net, take(x, slice(i, i + 1)), loss=loss) for i in range(B)])
    torch.testing.assert_close(alone, together, **EXACT)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(F_al.gradient_norm(net, x[order], loss=loss), together[order], **EXACT)


def test_chunks_of_the_byte_budget_do_not_show():
    net = seeded(lambda: nn.Linear(4, C))
    x = randn(17, 4)
    size = 8 * sum(w.numel() for w in net.parameters())
    for loss in ("entropy", "expected_norm"):
        expected = reference.gradient_norm(net, x, loss)
        for copies in (1, 4, 9, 20, 10_000):
            got = F_al.gradient_norm(net, x, loss=loss, max_bytes=copies * size)
            torch.testing.assert_close(got, expected, **EXACT)


@pytest.mark.few(10)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("lead", [20, 35, 50, 80])
def test_float32_equals_float64_on_saturated_samples(lead, norm, loss):
    """The squares of these gradients are below what float32 holds, from a lead of 45 on."""
    net = nn.Linear(3, 4)
    with torch.no_grad():
        net.weight.copy_(randn(4, 3).float())
        net.bias.copy_(torch.tensor([0.25, float(lead), -0.5, 0.75]))
    x = randn(6, 3).float()
    narrow = F_al.gradient_norm(net, x, loss=loss, norm=norm)
    wide = F_al.gradient_norm(net.double(), x.double(), loss=loss, norm=norm)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), wide, rtol=2e-4, atol=0)
    assert len(narrow.unique()) == 6


@pytest.mark.parametrize("loss", LOSSES)
def test_masked_logits_score_as_if_the_class_were_not_there(loss):
    net = seeded(lambda: nn.Linear(4, C))
    mask = torch.tensor([0.0, -torch.inf, 0.0], dtype=torch.float64)
    x = randn(B, 4)
    for max_bytes in (None, 1):
        got = F_al.gradient_norm(net, x, loss=loss, forward=lambda m, v: m(v) + mask, max_bytes=max_bytes)
        expected = reference.gradient_norm(net, x, loss, forward=lambda m, v: m(v)[:, [0, 2]])
        torch.testing.assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("loss", LOSSES)
def test_nan_weights_give_nan_scores(loss):
    net, x, *_ = case("layer norm")
    nn.init.constant_(net[-1].bias, math.nan)
    for max_bytes in (None, 1):
        assert F_al.gradient_norm(net, x, loss=loss, max_bytes=max_bytes).isnan().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_an_empty_batch(loss):
    assert F_al.gradient_norm(nn.Linear(4, C), torch.zeros(0, 4), loss=loss).shape == (0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "egl"}, "`loss` must be one of 'entropy', .* or a callable, got 'egl'"),
        ({"norm": "l1"}, "`norm` must be one of 'global', 'tensor_sum', got 'l1'"),
        ({"norm": ["global"]}, r"`norm` must be one of 'global', 'tensor_sum', got \['global'\]"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        check_gradient_norm(**{"loss": "entropy", "norm": "global", **options})
    with pytest.raises(ValueError, match=message):
        F_al.gradient_norm(nn.Linear(4, C), torch.zeros(2, 4), **options)


@pytest.mark.parametrize("loss", LOSSES)
def test_refuses_outputs_that_are_no_logits(loss):
    net, x, *_ = case("layer norm")
    for bad, error, message in [
        (lambda m, v: (m(v),), TypeError, "got tuple"),
        (lambda m, v: m(v).argmax(1), TypeError, r"torch\.int64"),
        (lambda m, v: m(v)[:, 0], ValueError, r"got \(1,\)"),
        (lambda m, v: m(v)[:, :1], ValueError, r"got \(1, 1\)"),
    ]:
        with pytest.raises(error, match=message):
            F_al.gradient_norm(net, x, loss=loss, forward=bad)
