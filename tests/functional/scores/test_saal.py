import math
import warnings

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.functional.scores.probabilities import mean_cross_entropy, pseudo_labels
from tests.helpers import reference
from tests.helpers.marks import slow
from tests.helpers.models import NAMES, B, C, case, randn, seeded, take
from tests.helpers.ways import WAYS, only

EXACT = {"rtol": 1e-9, "atol": 1e-9}
RHO = 0.3

# Every option but `max_bytes`, by itself and together, each against the loop written by hand.
OPTIONS = {
    "defaults": {},
    "rho": {"rho": 0.7},
    "p=1.5": {"p": 1.5},
    "p=3": {"p": 3.0},
    "p=inf": {"p": math.inf},
    "asam": {"perturbation": "asam"},
    "group_size=3": {"group_size": 3},
    "group_size=2": {"group_size": 2},
    "group_size above the batch": {"group_size": 9},
    "difference": {"score": "difference"},
    "asam, groups, difference": {"perturbation": "asam", "group_size": 2, "score": "difference", "rho": 1.0},
    "p=3, groups": {"p": 3.0, "group_size": 2},
    "targets": {"targets": torch.tensor([2, 0, 1, 1, 2])},
    "targets, groups": {"targets": torch.tensor([2, 0, 1, 1, 2]), "group_size": 2, "score": "difference"},
    "target_fn": {"target_fn": lambda z: z.argmin(1)},
    "loss_fn": {
        "target_fn": lambda z: z.detach().softmax(1).square(),
        "loss_fn": lambda z, y: (z - y).square().sum(1) + z.logsumexp(1),
    },
    "target_fn gives a pytree": {
        "target_fn": lambda z: {"y": z.argmax(1), "weight": 2.0, "nothing": None},
        "loss_fn": lambda z, t: t["weight"] * -z.log_softmax(1).gather(1, t["y"][:, None]).squeeze(1),
    },
    "forward": {"forward": lambda m, x: 2 * m(x)[:, :2]},
}
OPTIONS["forward"]["targets"] = torch.tensor([0, 1, 1, 0, 1])


@pytest.mark.few(25)
@pytest.mark.parametrize("mode", WAYS)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["batch norm", slow("layer used twice")])
def test_every_option_equals_the_loop(name, option, mode, monkeypatch):
    net, x, *_ = case(name)
    options = {"rho": RHO, **OPTIONS[option]}
    got = F_al.saal(net, x, max_bytes=only(mode, monkeypatch), **options)
    assert got.shape == (B,)
    assert got.dtype == torch.float64
    assert not got.requires_grad
    torch.testing.assert_close(got, reference.saal(net, x, **options), **EXACT)


@pytest.mark.few(6)
@pytest.mark.parametrize("option", [k for k in OPTIONS if k not in ("defaults", "p=inf")])
def test_every_option_matters(option):
    net, x, *_ = case("batch norm")
    base = F_al.saal(net, x, rho=RHO)
    assert (F_al.saal(net, x, **{"rho": RHO, **OPTIONS[option]}) - base).abs().max() > 1e-4


SOME = ({}, {"perturbation": "asam"}, {"p": 3.0, "group_size": 2})


@pytest.mark.few(14)
@pytest.mark.parametrize(
    ("options", "mode"),
    [
        (options, mode) if mode == "rules" or options is SOME[0] else slow(options, mode)
        for options in SOME
        for mode in WAYS
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_every_model_equals_the_loop(name, options, mode, monkeypatch):
    net, x, forward, _ = case(name)
    options = {"rho": RHO, "forward": forward, **options}
    got = F_al.saal(net, x, max_bytes=only(mode, monkeypatch), **options)
    torch.testing.assert_close(got, reference.saal(net, x, **options), **EXACT)
    assert got.max() - got.min() > 1e-4


@pytest.mark.parametrize("targets", [None, torch.arange(24).reshape(2, 3, 4) % C])
def test_dense_targets(targets):
    net, x, *_ = case("dense")
    x = x[:2]
    got = F_al.saal(net, x, rho=RHO, targets=targets)
    torch.testing.assert_close(got, reference.saal(net, x, rho=RHO, targets=targets), **EXACT)


def test_pytree_targets():
    net, x, *_ = case("layer norm")
    targets = {"hard": torch.tensor([2, 0, 1, 1, 2]), "soft": [randn(B, C).softmax(1)]}

    def loss(z, t):
        log_p = z.log_softmax(1)
        return -log_p.gather(1, t["hard"][:, None]).squeeze(1) - (t["soft"][0] * log_p).sum(1)

    for group_size in (1, 2):
        options = {"rho": RHO, "targets": targets, "loss_fn": loss, "group_size": group_size}
        torch.testing.assert_close(F_al.saal(net, x, **options), reference.saal(net, x, **options), **EXACT)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("own_targets", [True, False], ids=["targets", "targets are the inputs"])
@pytest.mark.parametrize("inference", [False, True], ids=["", "inference tensors"])
def test_a_loss_that_works_in_place(way, own_targets, inference, monkeypatch):
    """It writes to copies, one for each time that a sample is scored, also where it is compared."""

    def loss(outputs, targets):
        return (outputs - targets.mul_(2)).square().mean(1)

    net = seeded(lambda: nn.Linear(4, 4))
    with torch.inference_mode(inference):
        x = randn(9, 4)
        targets = randn(9, 4, seed=2) if own_targets else x
    before = x.clone(), targets.clone()
    got = F_al.saal(net, x, targets=targets, loss_fn=loss, max_bytes=only(way, monkeypatch))
    assert torch.equal(x, before[0])
    assert torch.equal(targets, before[1])
    torch.testing.assert_close(got, reference.saal(net, before[0], targets=before[1], loss_fn=loss), **EXACT)


@pytest.mark.parametrize("group_size", [1, 3])
def test_chunks_of_the_byte_budget_do_not_show(group_size):
    net = seeded(lambda: nn.Linear(4, C))
    x = randn(17, 4)
    size = 3 * 8 * sum(w.numel() for w in net.parameters())
    want = reference.saal(net, x, group_size=group_size)
    for groups in (1, 2, 4, 1000):
        got = F_al.saal(net, x, group_size=group_size, max_bytes=groups * size)
        torch.testing.assert_close(got, want, **EXACT)


def test_more_samples_than_one_chunk_takes():
    net = seeded(lambda: nn.Linear(2, C))
    x = randn(131, 2)
    torch.testing.assert_close(F_al.saal(net, x), reference.saal(net, x), **EXACT)


@pytest.mark.few(5)
@pytest.mark.parametrize("option", ["defaults", "asam", "p=3"])
@pytest.mark.parametrize("name", ["batch norm", "encoder layer", "branch"])
def test_a_score_does_not_depend_on_its_batch(name, option):
    net, x, forward, _ = case(name)
    options = {"forward": forward, **OPTIONS[option]}
    together = F_al.saal(net, x, **options)
    alone = torch.cat([F_al.saal(net, take(x, slice(i, i + 1)), **options) for i in range(B)])
    torch.testing.assert_close(alone, together, **EXACT)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(F_al.saal(net, take(x, order), **options), together[order], **EXACT)


def test_groups_are_cut_by_position_so_batches_of_their_multiple_agree():
    net, x, *_ = case("batch norm")
    together = F_al.saal(net, x, group_size=2)
    parts = torch.cat([F_al.saal(net, x[:4], group_size=2), F_al.saal(net, x[4:], group_size=2)])
    torch.testing.assert_close(parts, together, **EXACT)
    torn = torch.cat([F_al.saal(net, x[:3], group_size=2), F_al.saal(net, x[3:], group_size=2)])
    assert (torn - together).abs().max() > 1e-5


def test_groups_share_the_mean_loss_not_the_sum():
    """The two differ only beside the papers' 1e-12, hence a loss of that size."""
    net, x, *_ = case("batch norm")
    options = {"group_size": 3, "rho": RHO, "loss_fn": lambda z, y: 1e-12 * reference.loss(z, y)}
    torch.testing.assert_close(1e12 * F_al.saal(net, x, **options), 1e12 * reference.saal(net, x, **options), **EXACT)


def test_the_pseudo_label_stays_fixed_when_the_perturbation_flips_the_prediction():
    net = seeded(lambda: nn.Linear(2, 2))
    x = randn(4, 2)
    scores = F_al.saal(net, x, rho=10.0)
    assert (scores > math.log(2)).all()  # the loss of a label that is no longer the prediction


@pytest.mark.parametrize("lead", [20, 35, 50, 80])
def test_float32_equals_float64_on_saturated_samples(lead):
    """p = 3 has no epsilon to hide behind: the direction itself must be right."""
    net = nn.Linear(3, 4)
    with torch.no_grad():
        net.weight.copy_(randn(4, 3).float())
        net.bias.copy_(torch.tensor([0.25, float(lead), -0.5, 0.75]))
    x = randn(6, 3).float()
    narrow = F_al.saal(net, x, p=3.0, rho=1.0)
    wide = F_al.saal(net.double(), x.double(), p=3.0, rho=1.0)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), wide, rtol=2e-4, atol=1e-37)
    assert (narrow > 0).all()


def test_masked_logits_score_finite():
    net = seeded(lambda: nn.Linear(4, C))
    mask = torch.tensor([0.0, -torch.inf, 0.0], dtype=torch.float64)
    x = randn(B, 4)
    got = F_al.saal(net, x, forward=lambda m, v: m(v) + mask, rho=RHO)
    want = reference.saal(net, x, forward=lambda m, v: m(v)[:, [0, 2]], rho=RHO)
    torch.testing.assert_close(got, want, **EXACT)


@pytest.mark.parametrize("perturbation", ["sam", "asam"])
def test_without_gradient_the_score_is_the_plain_loss(perturbation):
    net = seeded(lambda: nn.Linear(4, C))
    x, constant = randn(B, 4), torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    for max_bytes in (None, 1):
        got = F_al.saal(
            net, x, perturbation=perturbation, forward=lambda m, v: 0 * m(v) + constant, max_bytes=max_bytes
        )
        torch.testing.assert_close(got, mean_cross_entropy(constant.expand(B, C), torch.ones(B, dtype=torch.long)))
        detached = F_al.saal(net, x, forward=lambda m, v: m(v).detach(), score="difference", max_bytes=max_bytes)
        assert torch.equal(detached, torch.zeros(B, dtype=torch.float64))


def test_asam_scores_a_zero_initialised_model_alike():
    """METHODS §11.4: a zero weight never moves."""
    net = seeded(lambda: nn.Linear(4, C))
    for w in net.parameters():
        nn.init.zeros_(w)
    got = F_al.saal(net, randn(B, 4), perturbation="asam", rho=5.0)
    torch.testing.assert_close(got, torch.full((B,), math.log(3), dtype=torch.float64))
    sam = F_al.saal(net, randn(B, 4), rho=5.0)
    assert sam.max() - sam.min() > 0.01


def test_an_empty_batch():
    assert F_al.saal(nn.Linear(4, C), torch.zeros(0, 4)).shape == (0,)


@pytest.mark.parametrize("classes", [2, 5])
def test_pseudo_labels_are_the_lowest_of_ties(classes):
    z = torch.zeros(3, classes)
    assert pseudo_labels(z).tolist() == [0, 0, 0]
    assert pseudo_labels(torch.zeros(2, classes, 3, 3)).shape == (2, 3, 3)


def test_an_infinite_norm_warns_on_large_models_only():
    with pytest.warns(UserWarning, match=r"10,403 weights by rho=0\.05, .*5\.1"):
        F_al.saal(nn.Linear(100, 103), randn(1, 100).float(), p=math.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F_al.saal(nn.Linear(4, 3), randn(1, 4).float(), p=math.inf)
        F_al.saal(nn.Linear(100, 103), randn(1, 100).float(), p=5.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "sum"}, "`score` must be .* got 'sum'"),
        ({"rho": 0.0}, r"`rho`.*got 0\.0"),
        ({"perturbation": "esam"}, "got 'esam'"),
        ({"p": 1.0}, r"`p`.*got 1\.0"),
        ({"perturbation": "asam", "p": 3.0}, r"got p = 3\.0"),
        ({"group_size": 0}, "`group_size` must be at least 1, got 0"),
        ({"max_bytes": 0}, r"`max_bytes` must be at least 1 \(inf allowed\), got 0"),
        (
            {"targets": torch.zeros(4, dtype=torch.long)},
            r"`targets` must have the same first dimension, 5, .* seen: \[4\]",
        ),
        ({"forward": lambda m, x: m(x)[:, 0]}, r"\(B, C\).*got \(1,\)"),
        ({"forward": lambda m, x: m(x)[:, :1]}, r"got \(1, 1\)"),
        ({"loss_fn": lambda z, y: z}, r"one number per sample.*got"),
    ],
)
def test_refuses(options, message):
    net, x, *_ = case("layer norm")
    for max_bytes in (None, 1):
        with pytest.raises(ValueError, match=message):
            F_al.saal(net, x, **{"max_bytes": max_bytes, **options})


def test_refuses_outputs_that_are_no_logits():
    net, x, *_ = case("layer norm")
    with pytest.raises(TypeError, match="got dict"):
        F_al.saal(net, x, forward=lambda m, v: {"logits": m(v)})
    with pytest.raises(TypeError, match=r"torch\.int64"):
        F_al.saal(net, x, forward=lambda m, v: m(v).argmax(1))


@pytest.mark.parametrize(
    ("targets", "error", "got"),
    [
        (torch.rand(4), TypeError, "torch.float32"),
        ([0, 1, 0, 1], TypeError, "list"),
        (torch.tensor([0, 1, -100, 1]), ValueError, "-100"),
        (torch.tensor([0, 1, 1, 2]), ValueError, "2"),
    ],
)
def test_refuses_targets_that_are_no_classes(targets, error, got):
    with pytest.raises(error, match=f"`targets` must be .*class indices.* got {got}"):
        F_al.saal(torch.nn.Linear(2, 2), torch.zeros(4, 2), targets=targets)
