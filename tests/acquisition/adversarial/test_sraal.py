"""The options of SRAAL by which it follows its authors' code."""

import pytest

from lightning_al.acquisition import SRAAL
from lightning_al.acquisition.adversarial.options import AdversarialOptions


def options(**given):
    return SRAAL(**given)._options


def test_the_rate_is_lowered_thirty_times_in_the_authors_budget():
    authors = options(steps=20_000, lr_decay=0.85)
    rates = [authors.rate_after(step) for step in range(20_000)]
    lowered = [step for step in range(1, 20_000) if rates[step] != rates[step - 1]]
    assert lowered == [666 * i for i in range(1, 31)]
    assert rates[-1] == pytest.approx(5e-4 * 0.85**30)
    assert {options(steps=50).rate_after(step) for step in range(50)} == {5e-4}


def test_fewer_steps_than_times_lower_it_after_each():
    few = options(steps=5, lr=1.0, lr_decay=0.5, lr_decays=3)
    assert [few.rate_after(step) for step in range(5)] == [1, 0.5, 0.25, 0.125, 0.125]


def test_what_its_authors_weigh_and_split_is_the_default():
    made = options()
    assert (made.reconstruction, made.beta, made.supervision, made.reduction) == (5, 1, 5, "mean")
    assert made.latent == 200
    assert isinstance(made, AdversarialOptions)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr_decay": 0.0}, "`lr_decay` .*0.0"),
        ({"lr_decay": 1.5}, "`lr_decay` .*1.5"),
        ({"lr_decays": 0}, "`lr_decays` .*0"),
        ({"steps": None, "seconds": 1.0, "lr_decay": 0.5}, "`steps=None` does not say how many"),
        ({"reduction": "sum"}, "`reduction` must be one of 'sample', 'mean', 'code', 'batch', got 'sum'"),
    ],
)
def test_refuses(given, message):
    with pytest.raises(ValueError, match=message):
        SRAAL(**given)
