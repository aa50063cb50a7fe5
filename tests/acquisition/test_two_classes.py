"""Every acquisition for classes, of a model with one logit z: what it picks of one with two logits (0, z)."""

import math

import pytest
import torch
from torch.nn import functional as F

from lightning_al import BinaryTask, ClassificationTask, acquisition
from tests.helpers.marks import slow
from tests.helpers.picking import pick
from tests.helpers.projects import make_data
from tests.helpers.real_values import SIZE, Learner, Values, picks_of
from tests.helpers.registry import OF_REGIONS

NAMES = [name for name in acquisition.__all__ if name not in ("Acquisition", *OF_REGIONS)]
BRIEFLY = {"steps": 3, "width": 4}
OPTIONS = {
    "VAAL": [BRIEFLY],
    "SRAAL": [BRIEFLY],
    "CoreGCN": [{"steps": 5}],
    "UncertainGCN": [{"steps": 5}],
    "SAAL": [{}, {"labels": "true", "selection": "top"}, {"perturbation": "asam", "selection": "badge"}],
    "Entropy": [{}, {"selection": "badge"}],
    "MCDropout": [{}, {"score": "variation_ratio"}, {"add_dropout": 0.5}],
    "BatchBALD": [{"passes": 9}],
    "QueryByCommittee": [{"members": 2, "score": "kl"}],
    "ProbCover": [{}, {"delta": 0.5}],
}
CASES = {f"{name} {options}": (name, options) for name in NAMES for options in OPTIONS.get(name, [{}])}
QUICK = [case for case, (name, _) in CASES.items() if name in ("Entropy", "BADGE", "SAAL", "ExpectedGradNorm", "BALD")]
QUICK += ["SRAAL {'steps': 3, 'width': 4}", "ProbCover {}"]
"""One of each way to look at a model; `make test-slow` has all."""
LEARNERS = ("LearningLoss", "LPLGrad")


def two_logits(model, x):
    z = model(x).flatten()
    return torch.stack([torch.zeros_like(z), z], 1)


def binary(logits, y):
    return F.binary_cross_entropy_with_logits(logits, y)


def both(folder, cases, learner, targets):
    """All cases' picks by one logit, (B, 1) or (B,), and by two."""
    made = []
    for task, y in ((BinaryTask(), targets), (ClassificationTask(forward=two_logits), targets.flatten().long())):
        acquisitions = {key: getattr(acquisition, name)(**options) for key, (name, options) in cases.items()}
        model = (Learner if learner else Values)(squeeze=learner, loss=binary)
        made.append(picks_of(folder / type(task).__name__, acquisitions, pick, model, y, task))
    return made


@pytest.fixture(scope="module")
def picked(tmp_path_factory):
    """Returns a case's picks by one logit, and by two; made once for all cases of a kind."""
    known, y = {}, (make_data(SIZE)[1] > 0).double().unsqueeze(1)

    def of(case):
        kind = learner, _ = CASES[case][0] in LEARNERS, case in QUICK
        if kind not in known:
            cases = {c: o for c, o in CASES.items() if (o[0] in LEARNERS, c in QUICK) == kind}
            targets = y.flatten().long() if learner else y
            known[kind] = both(tmp_path_factory.mktemp("picks"), cases, learner, targets)
        return [(picks.picked[case], picks.scores[case]) for picks in known[kind]]

    return of


@pytest.mark.few(4)
@pytest.mark.parametrize("case", [case if case in QUICK else slow(case) for case in CASES])
def test_one_logit_is_two(picked, case):
    (one, scores_of_one), (two, scores_of_two) = picked(case)
    assert one == two
    assert len(set(one)) == 6
    assert scores_of_one == pytest.approx(scores_of_two, rel=1e-9, abs=1e-12)
    assert all(map(math.isfinite, scores_of_one))
