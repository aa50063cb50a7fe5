"""Every acquisition for classes, of a model with one logit z: what it picks of one with two logits (0, z)."""

import math

import pytest
import torch
from torch.nn import functional as F

from lightning_al import BinaryTask, ClassificationTask, acquisition
from lightning_al.loop.query import pick
from tests.helpers.projects import make_data
from tests.helpers.real_values import SIZE, Learner, Values, picks_of

NAMES = [name for name in acquisition.__all__ if name != "Acquisition"]
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
LEARNERS = ("LearningLoss", "LPLGrad")


def two_logits(model, x):
    z = model(x).flatten()
    return torch.stack([torch.zeros_like(z), z], 1)


def binary(logits, y):
    return F.binary_cross_entropy_with_logits(logits, y)


def both(folder, learner, squeeze, targets):
    """All cases' picks by one logit, and by two."""
    cases = {key: case for key, case in CASES.items() if (case[0] in LEARNERS) == learner}
    made = []
    for task, y in ((BinaryTask(), targets), (ClassificationTask(forward=two_logits), targets.flatten().long())):
        acquisitions = {key: getattr(acquisition, name)(**options) for key, (name, options) in cases.items()}
        model = (Learner if learner else Values)(squeeze=squeeze, loss=binary)
        made.append(picks_of(folder / type(task).__name__, acquisitions, pick, model, y, task))
    return made


@pytest.fixture(scope="module")
def picked(tmp_path_factory):
    y = (make_data(SIZE)[1] > 0).double().unsqueeze(1)
    plain = both(tmp_path_factory.mktemp("plain"), False, False, y)
    learners = both(tmp_path_factory.mktemp("learners"), True, True, y.flatten().long())
    return [(plain[i].picked | learners[i].picked, plain[i].scores | learners[i].scores) for i in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_one_logit_is_two(picked, case):
    (one, scores_of_one), (two, scores_of_two) = picked
    assert one[case] == two[case]
    assert len(set(one[case])) == 6
    assert scores_of_one[case] == pytest.approx(scores_of_two[case], rel=1e-9, abs=1e-12)
    assert all(map(math.isfinite, scores_of_one[case]))
