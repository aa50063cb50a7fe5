"""Acquisitions of a model that gives real values: which work and what they pick, and which are refused."""

import copy
import math

import pytest
import torch

from lightning_al import AwaitTell, BinaryTask, ClassificationTask, MultiLabelTask, RegressionTask, acquisition
from lightning_al.acquisition import BADGE, MCDropout, QueryByCommittee
from lightning_al.distributed.randomness import Race, derive_seed, generator
from tests.helpers.marks import slow
from tests.helpers.picking import pick
from tests.helpers.projects import make_data
from tests.helpers.real_values import SIZE, Learner, Values, loop_over, picks_of, real_targets
from tests.helpers.registry import OF_REGIONS

NAMES = [name for name in acquisition.__all__ if name != "Acquisition"]
BRIEFLY = {"steps": 3, "width": 4}
WORK = {
    "Random": {},
    "MCDropout": {"score": "variance"},
    "QueryByCommittee": {"score": "variance", "members": 2},
    "BADGE": {},
    "CoreSet": {},
    "TypiClust": {},
    "ProbCover": {"clusters": 3},
    "CoreGCN": {"steps": 5},
    "UncertainGCN": {"steps": 5},
    "VAAL": BRIEFLY,
    "LearningLoss": {},
}
REFUSED = {
    "Entropy": {},
    "LeastConfidence": {},
    "Margin": {},
    "SAAL": {},
    "EntropyGradNorm": {},
    "ExpectedGradNorm": {},
    "LPLGrad": {},
    "BALD": {},
    "BatchBALD": {},
    "SRAAL": BRIEFLY,
}
ALSO_REFUSED = [
    ("MCDropout", {}),
    ("MCDropout", {"score": "variation_ratio"}),
    ("QueryByCommittee", {}),
    ("QueryByCommittee", {"score": "kl"}),
]


def test_of_every_acquisition_it_is_said_whether_it_works():
    assert set(NAMES) == WORK.keys() | REFUSED.keys() | set(OF_REGIONS)
    assert not WORK.keys() & REFUSED.keys()


@pytest.mark.parametrize(("name", "options"), [*REFUSED.items(), *ALSO_REFUSED])
def test_what_needs_classes_is_refused_with_the_way_out(tmp_path, name, options):
    made = getattr(acquisition, name)(**options)
    loop, trainer = loop_over(tmp_path, made, Values(), real_targets(), RegressionTask())
    words = rf'`{name}` needs class scores, and `RegressionTask` has none.*score="variance"` or `"model_change"`.*BADGE'
    with pytest.raises(ValueError, match=words):
        loop.run(trainer)
    assert not (tmp_path / "c").exists()


def test_one_of_ones_own_is_told_to_say_what_it_works_with():
    class Mine(acquisition.Acquisition):
        def score_batch(self, model, batch):
            return self.task.outputs(model, self.task.inputs(batch)).flatten()

    advice = 'Or say in the class what it works with, where that is something else: `requires = frozenset({"values"})`.'
    with pytest.raises(ValueError, match="`Mine` needs class scores") as refused:
        Mine().bind(RegressionTask(), AwaitTell())
    assert str(refused.value).endswith(advice)
    Mine.requires = frozenset({"values"})
    Mine().bind(RegressionTask(), AwaitTell())
    with pytest.raises(ValueError, match="needs class scores") as refused:
        acquisition.Entropy().bind(RegressionTask(), AwaitTell())
    assert advice not in str(refused.value)


@pytest.mark.parametrize("name", OF_REGIONS)
def test_what_chooses_regions_is_refused_with_the_way_out(name):
    with pytest.raises(ValueError, match=rf"`{name}` .*`RegressionTask`"):
        getattr(acquisition, name)().bind(RegressionTask(), AwaitTell())


def test_clusters_are_as_many_as_classes_unless_told(tmp_path):
    loop, trainer = loop_over(tmp_path, acquisition.ProbCover(), Values(), real_targets(), RegressionTask())
    with pytest.raises(ValueError, match=r"`ProbCover` needs classes, and `RegressionTask` has none. .*`clusters=`"):
        loop.run(trainer)


@pytest.mark.parametrize("score", ["variance", "model_change"])
@pytest.mark.parametrize("made", [MCDropout, QueryByCommittee])
@pytest.mark.parametrize("task", [ClassificationTask(), BinaryTask(), MultiLabelTask()])
def test_what_needs_real_values_is_refused_for_classes(tmp_path, made, score, task):
    loop, trainer = loop_over(tmp_path, made(score=score), Values(), (real_targets() > 0).double(), task)
    words = rf"`{made.__name__}` needs real values, and `{type(task).__name__}` has none. Take another `score=`"
    with pytest.raises(ValueError, match=words):
        loop.run(trainer)
    assert not (tmp_path / "c").exists()


QUICK = ("MCDropout", "QueryByCommittee", "VAAL", "LearningLoss")


@pytest.mark.few(2)
@pytest.mark.parametrize(("name", "options"), [case if case[0] in QUICK else slow(*case) for case in WORK.items()])
def test_campaigns(tmp_path, name, options):
    model = Learner(2) if name == "LearningLoss" else Values(2)
    made = getattr(acquisition, name)(**options)
    loop, trainer = loop_over(tmp_path, made, model, real_targets(outputs=2), RegressionTask())
    history = loop.run(trainer)
    assert [r.labelled for r in history] == [8, 12]
    assert len(set(loop.pool.labelled.tolist())) == 12
    assert all(loop.campaign.labels[i] == real_targets(outputs=2)[i].tolist() for i in loop.pool.labelled.tolist())


# ------------------------------------------------------------------------ what they pick, one sample and pass at a time

X = make_data(SIZE)[0]
SEED = derive_seed(0, "both", 0, "learn")


def by_hand(net, i, keep=None, add=None):
    """The outputs of a sample and what its last layer gets, with dropout masks put on by hand."""
    first, tanh, _, last = net
    with torch.no_grad():
        h = tanh(first(X[i]))
        dropped = h if keep is None else h * keep / 0.7
        return last(dropped if add is None else dropped * add / 0.5).tolist(), h.tolist()


def of_passes(net, i, add_dropout):
    def mask(layer, p, t):
        return torch.rand(8, generator=generator(SEED, layer, 0, t)) >= p

    adds = [mask("net.3 (input)", 0.5, t) if add_dropout else None for t in range(7)]
    return [by_hand(net, i, mask("net.2", 0.3, t), add)[0] for t, add in enumerate(adds)]


def variance(predictions, own, h):
    columns = list(zip(*predictions, strict=True))
    means = [math.fsum(column) / len(column) for column in columns]
    each = [sum((y - m) ** 2 for y in c) / len(c) for c, m in zip(columns, means, strict=True)]
    return sum(each) / len(each)


def model_change(predictions, own, h):
    return sum(math.hypot(*h) * math.dist(own, y) for y in predictions) / len(predictions)


SCORES = {"variance": variance, "model_change": model_change}
SCALE = [1.0, 4.0]
DROPOUT = [(score, add) for score in SCORES for add in (None, 0.5)]


class Watching:
    """Picks, and remembers the network and the other members of a committee."""

    def __call__(self, session, made, candidates, k, purpose):
        question = pick(session, made, candidates, k, purpose=purpose)
        self.net, self.candidates = copy.deepcopy(session.project.model.net).eval(), candidates.tolist()
        self.members = []
        for i in (1, 2):
            state = session.campaign.states.load(session.campaign.round_file(f"member_{i}"))
            self.members.append(Values(2).net.eval())
            self.members[-1].load_state_dict({name.removeprefix("net."): t for name, t in state.items()})
        return question


@pytest.fixture(scope="module")
def picked(tmp_path_factory):
    made = {score: QueryByCommittee(members=3, score=score) for score in SCORES}
    made |= {f"{score} {add}": MCDropout(7, score, add_dropout=add) for score, add in DROPOUT}
    made |= {"badge": BADGE(), "weighted": MCDropout(7, "variance", selection="badge")}
    watching, task = Watching(), RegressionTask(scale=SCALE)
    picks = picks_of(tmp_path_factory.mktemp("p"), made, watching, Values(2), real_targets(outputs=2), task)
    return picks, watching


def check(picked, name, score, predictions_of):
    picks, watching = picked
    scores = {}
    for i in watching.candidates:
        own, h = by_hand(watching.net, i)
        scaled = [[v / s for v, s in zip(y, SCALE, strict=True)] for y in [own, *predictions_of(i)]]
        scores[i] = SCORES[score](scaled[1:], scaled[0], h)
    best = sorted(scores, key=lambda i: -scores[i])[:6]
    assert picks.picked[name] == best
    assert picks.scores[name] == pytest.approx([scores[i] for i in best], rel=1e-9)


@pytest.mark.few(1)
@pytest.mark.parametrize("score", SCORES)
def test_committees(picked, score):
    watching = picked[1]
    members = [watching.net, *watching.members]
    assert by_hand(members[0], 0) != by_hand(members[1], 0) != by_hand(members[2], 0)
    check(picked, score, score, lambda i: [by_hand(net, i)[0] for net in members])


@pytest.mark.parametrize(("score", "add"), DROPOUT)
def test_passes_with_dropout(picked, score, add):
    check(picked, f"{score} {add}", score, lambda i: of_passes(picked[1].net, i, add))


@pytest.mark.parametrize("name", ["badge", "weighted"])
def test_badge_draws_by_features(picked, name):
    """The gradients of the outputs towards the last layer's weights, which are features; weighted by a score."""
    picks, watching = picked
    points = []
    for i in watching.candidates:
        score = variance(
            [[v / s for v, s in zip(y, SCALE, strict=True)] for y in of_passes(watching.net, i, None)], 0, 0
        )
        points.append([v * (score if name == "weighted" else 1.0) for v in by_hand(watching.net, i)[1]])
    race = Race(generator(0, "both", 0), torch.tensor(watching.candidates))
    expected = [max(range(len(points)), key=lambda i: math.hypot(*points[i]))]
    while len(expected) < 6:
        times = race.exponentials(len(expected)).tolist()
        nearest = [min(math.dist(p, points[c]) for c in expected) for p in points]
        expected.append(max(range(len(points)), key=lambda i: nearest[i] ** 2 / times[i]))
    assert picks.picked[name] == [watching.candidates[i] for i in expected]
