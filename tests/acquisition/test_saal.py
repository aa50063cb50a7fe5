import itertools
import math

import pytest
import torch

from lightning_al import AwaitTell, ClassificationTask
from lightning_al.acquisition import SAAL
from tests.helpers import reference
from tests.helpers.bound import EXACT, pick


def check(bound, **options):
    got = bound.scores(SAAL(**options))
    torch.testing.assert_close(got, reference.saal(bound.model, bound.batch[0], **options), **EXACT)
    return got


def differ(a, b):
    return bool((a - b).abs().max() > 1e-4)


def test_defaults(bound):
    torch.testing.assert_close(
        check(bound), reference.saal(bound.model, bound.batch[0], rho=0.05, perturbation="sam", p=2.0), **EXACT
    )


def test_rho(bound):
    assert differ(check(bound, rho=0.5), check(bound, rho=0.1))


def test_perturbation(bound):
    assert differ(check(bound, perturbation="asam", rho=0.5), check(bound, perturbation="sam", rho=0.5))


def test_p(bound):
    scores = [check(bound, p=p, rho=0.3) for p in (1.5, 2.0, 3.0, math.inf)]
    assert all(differ(a, b) for a, b in itertools.pairwise(scores))


def test_group_size(bound):
    scores = [check(bound, group_size=b, rho=0.5) for b in (1, 2, 3)]
    assert differ(scores[0], scores[1])
    assert differ(scores[1], scores[2])
    assert SAAL(group_size=3).batch_multiple == 3  # so that the pool pass cuts no group


def test_score(bound):
    assert differ(check(bound, score="difference"), check(bound, score="max"))


@pytest.mark.parametrize("score", ["max", "difference"])
def test_lowest(bound, score):
    plain = bound.scores(SAAL(score=score, rho=0.5, selection="top"))
    lowest = SAAL(score=score, rho=0.5, selection="top", lowest=True)
    got = bound.scores(lowest)
    assert torch.equal(got, -plain)
    assert pick(lowest, got, 2) == plain.argsort()[:2].tolist()


def test_labels(bound):
    x, y = bound.batch
    got = bound.scores(SAAL(labels="true", rho=0.3))
    torch.testing.assert_close(got, reference.saal(bound.model, x, rho=0.3, targets=y), **EXACT)
    assert differ(got, bound.scores(SAAL(labels="pseudo", rho=0.3)))


def test_pseudo_labels_need_no_labels_in_the_batch(bound):
    want = bound.scores(SAAL())
    bound.batch = bound.batch[:1]
    assert torch.equal(bound.scores(SAAL()), want)


def test_labels_of_the_data_set_need_an_oracle_that_reveals_them():
    with pytest.raises(ValueError, match=r'labels="true".*oracle is a AwaitTell.*labels="pseudo"'):
        SAAL(labels="true").bind(ClassificationTask(), AwaitTell())
    SAAL(labels="pseudo").bind(ClassificationTask(), AwaitTell())


def test_the_task_decides_labels_and_loss(bound):
    class Other(ClassificationTask):
        def pseudo_targets(self, logits):
            return logits.argmin(1)

        def loss(self, logits, targets):
            return 3 * super().loss(logits, targets)

    acquisition = SAAL(rho=0.3)
    acquisition.bind(Other(), AwaitTell())
    got = acquisition.rows(bound.model, bound.batch)["score"]
    want = reference.saal(
        bound.model,
        bound.batch[0],
        rho=0.3,
        target_fn=lambda z: z.argmin(1),
        loss_fn=lambda z, y: 3 * reference.loss(z, y),
    )
    torch.testing.assert_close(got, want, **EXACT)
