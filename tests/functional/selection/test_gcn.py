import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.functional import core_gcn, gcn_loss, k_center_greedy, train_gcn, uncertain_gcn
from lightning_al.functional.geometry.graph import Graph
from lightning_al.stages import heard
from tests.helpers import gcn_reference as reference
from tests.helpers.extent import examples
from tests.helpers.models import randn


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


LOGITS = st.lists(st.floats(-12, 12), min_size=1, max_size=6)


@examples(60)
@given(LOGITS, LOGITS, st.floats(0.1, 3))
def test_the_loss_is_the_definition(labelled, unlabelled, weight):
    got = gcn_loss(torch.tensor(labelled).double(), torch.tensor(unlabelled).double(), weight=weight)
    assert float(got) == pytest.approx(reference.loss(labelled, unlabelled, weight), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("far", [50.0, 200.0, 1e4])
def test_the_loss_and_its_gradient_stay_finite_where_probabilities_round_to_0_and_1(far, dtype):
    labelled = torch.tensor([-far, far], dtype=dtype, requires_grad=True)
    unlabelled = torch.tensor([far, -far], dtype=dtype, requires_grad=True)
    loss = gcn_loss(labelled, unlabelled)
    loss.backward()
    assert float(loss.detach()) == pytest.approx((1 + 1.2) * far / 2)
    assert labelled.grad.tolist() == pytest.approx([-0.5, 0.0])
    assert unlabelled.grad.tolist() == pytest.approx([0.6, 0.0])


SETS = {
    "signed": (randn(11, 3), randn(4, 3, seed=1)),
    "not negative": (randn(11, 3).relu(), randn(4, 3, seed=1).relu()),
    "more features than samples": (randn(5, 20), randn(2, 20, seed=1)),
    "one labelled, one candidate": (randn(1, 3), randn(1, 3, seed=1)),
    "duplicates": (randn(4, 3).repeat(3, 1), randn(4, 3)[:2]),
    "all the same": (torch.ones(6, 3).double(), torch.ones(2, 3).double()),
    "zeros": (torch.zeros(6, 3).double(), torch.zeros(2, 3).double()),
    "some zeros": (torch.cat([torch.zeros(3, 3), randn(6, 3)]), torch.cat([torch.zeros(1, 3), randn(2, 3, seed=1)])),
    "opposites": (torch.cat([randn(5, 3), -randn(5, 3)]), -randn(2, 3)),
    "right angles": (torch.eye(8).double(), torch.eye(8)[:2].double()),
}
OPTIONS = [
    {},
    {"steps": 3, "hidden": 5, "dropout": 0.0, "lr": 0.05, "weight_decay": 0.3, "unlabelled_weight": 0.4},
    {"steps": 1, "hidden": 1, "dropout": 0.9},
]


@pytest.mark.few(4)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", SETS)
def test_the_training_is_the_definition(name, options):
    pool, known = SETS[name]
    hidden, logits = reference.train(pool.tolist(), known.tolist(), generator=seeded(), **options)
    got = train_gcn(pool, known, generator=seeded(), **options)
    torch.testing.assert_close(got.hidden, hidden, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(got.logits, logits, rtol=1e-6, atol=1e-7)


@pytest.mark.few(4)
@pytest.mark.parametrize("name", SETS)
def test_both_forms_of_the_graph_train_alike(name, monkeypatch):
    pool, known = SETS[name]
    made = []
    for dense in (True, False):
        monkeypatch.setattr("lightning_al.functional.selection.gcn.Graph", partial(Graph, dense=dense))
        made.append(train_gcn(pool, known, generator=seeded(), steps=60))
    torch.testing.assert_close(made[0].logits, made[1].logits, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(made[0].hidden, made[1].hidden, rtol=1e-6, atol=1e-7)


@examples(15)
@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99), st.booleans())
def test_scores_and_picks_are_the_definition(n, m, d, seed, signed):
    points = randn(n + m, d, seed=seed)
    pool, known = (points if signed else points.relu()).split([n, m])
    options = {"steps": 20, "hidden": 7}
    hidden, logits = reference.train(pool.tolist(), known.tolist(), generator=seeded(seed), **options)
    want = [-abs(1 / (1 + math.exp(-z)) - 0.3) for z in logits[:n].tolist()]
    scores = uncertain_gcn(pool, labelled=known, generator=seeded(seed), margin=0.3, **options)
    assert scores.tolist() == pytest.approx(want, rel=1e-6, abs=1e-9)
    nodes = [(*h, z) for h, z in zip(hidden.tolist(), logits.tolist(), strict=True)]
    picks = core_gcn(pool, n, labelled=known, generator=seeded(seed), **options).tolist()
    assert sorted(picks) == list(range(n))
    centres = nodes[n:]
    for pick in picks:  # none is clearly farther from its nearest centre
        room = {i: min(math.dist(nodes[i], c) for c in centres) for i in range(n)}
        assert room[pick] >= max(room.values()) - 1e-6
        centres.append(nodes[pick])


def test_core_gcn_looks_at_hidden_layer_and_logit():
    pool, known = SETS["signed"]
    hidden, logits = train_gcn(pool, known, generator=seeded())
    nodes = torch.cat([hidden, logits.unsqueeze(1)], 1)
    want = k_center_greedy(nodes[:11], 5, labelled=nodes[11:])
    assert torch.equal(core_gcn(pool, 5, labelled=known, generator=seeded()), want)


def test_it_learns_what_is_labelled():
    """Labelled samples of one of two clusters: candidates of the other look unlabelled."""
    centre = 3 * torch.nn.functional.one_hot(torch.arange(100) % 2, 8)
    points = (centre + randn(100, 8, seed=2)).relu()
    known = points[:40:2]
    pool = torch.cat([points[40::2], points[1::2]])
    logits = train_gcn(pool, known, generator=seeded()).logits
    near, far = logits[:30], logits[30:80]
    assert (near.unsqueeze(1) > far).double().mean() > 0.95


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_takes_any_precision_and_computes_in_float64(dtype):
    pool, known = ((2 * x).to(dtype) for x in SETS["signed"])
    got = train_gcn(pool, known, generator=seeded(), steps=5)
    want = train_gcn(pool.double(), known.double(), generator=seeded(), steps=5)
    assert got.logits.dtype == torch.float64
    assert torch.equal(got.logits, want.logits)


def test_the_generator_is_the_only_source_of_randomness():
    pool, known = SETS["signed"]
    state = torch.get_rng_state()
    a = train_gcn(pool, known, generator=seeded(3), steps=5)
    torch.rand(3)
    b = train_gcn(pool, known, generator=seeded(3), steps=5)
    torch.set_rng_state(state)
    c = train_gcn(pool, known, generator=seeded(4), steps=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a.logits, b.logits)
    assert not torch.allclose(a.logits, c.logits)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, partial(torch.autocast, "cpu", torch.bfloat16)])
def test_trains_in_any_mode(mode):
    want = train_gcn(*SETS["signed"], generator=seeded(), steps=5)
    with mode():
        got = train_gcn(*(x.clone() for x in SETS["signed"]), generator=seeded(), steps=5)
    assert torch.equal(got.logits, want.logits)
    assert not got.logits.requires_grad


def test_says_how_far_it_is():
    said = []
    with heard(lambda *step: said.append(step)):
        nodes = train_gcn(*SETS["signed"], generator=seeded(), steps=4)
    assert said == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert torch.equal(nodes.logits, train_gcn(*SETS["signed"], generator=seeded(), steps=4).logits)


def test_a_large_graph_takes_memory_of_its_nodes_not_of_their_pairs():
    """2,000,000,000 pairs: their matrix would take 16 GB."""
    points = torch.rand(45_000, 3, generator=seeded(1))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        picks = core_gcn(points[:-5], 2, labelled=points[-5:], generator=seeded(), steps=2, hidden=8)
    assert len(set(picks.tolist())) == 2
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest < 45_000 * 8 * 8 * 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"hidden": 0}, "`hidden` must be at least 1, got 0"),
        ({"dropout": 1.0}, r"`dropout`.*got 1\.0"),
        ({"dropout": -0.1}, r"`dropout`.*got -0\.1"),
        ({"lr": 0.0}, r"`lr` must be above 0 and finite, got 0\.0"),
        ({"lr": math.inf}, "`lr`.*got inf"),
        ({"weight_decay": -1.0}, r"`weight_decay`.*got -1\.0"),
        ({"unlabelled_weight": 0.0}, r"`unlabelled_weight`.*got 0\.0"),
        ({"lr": math.nan}, "`lr`.*got nan"),
        ({"lr": 1e300, "steps": 3}, "diverged in 3 steps at `lr=1e\\+300`"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        train_gcn(*SETS["signed"], generator=seeded(), **options)


@pytest.mark.parametrize("margin", [-0.1, 1.1, math.nan])
def test_refuses_a_margin_that_is_no_probability(margin):
    with pytest.raises(ValueError, match="`margin` must be at least 0 and at most 1"):
        uncertain_gcn(SETS["signed"][0], labelled=SETS["signed"][1], generator=seeded(), margin=margin)


def test_refuses_features_that_do_not_fit():
    pool, known = SETS["signed"]
    with pytest.raises(ValueError, match="needs some of each, got 0 and 11"):
        train_gcn(pool, known[:0], generator=seeded())
    with pytest.raises(ValueError, match="needs some of each, got 4 and 0"):
        train_gcn(pool[:0], known, generator=seeded())
    with pytest.raises(ValueError, match=r"`labelled` must have shape \(M, 3\), got \(4, 2\)"):
        train_gcn(pool, known[:, :2], generator=seeded())
    with pytest.raises(ValueError, match="`labelled` has NaN"):
        train_gcn(pool, known * math.nan, generator=seeded())
    with pytest.raises(ValueError, match=r"k = 12 of 11"):
        core_gcn(pool, 12, labelled=known, generator=seeded())
