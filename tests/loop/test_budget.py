"""What can still be paid, at the oracle's prices."""

import pytest

from lightning_al import SKIP, ActiveLearningLoop, AwaitTell, NoisyOracle
from lightning_al.acquisition import Entropy, Random
from tests.helpers.oracles import PRICES, campaign
from tests.helpers.projects import Data, Net, make_trainer, picks


@pytest.mark.parametrize("acquisition", [Entropy, Random])
def test_a_budget_in_prices_is_kept_and_used_up(tmp_path, acquisition):
    loop, history = campaign(tmp_path, NoisyOracle(price=PRICES), acquisition(), budget=60, initial=[0, 1, 2, 3])
    spent = sum(PRICES[i] for i in loop.pool.labelled.tolist())
    assert history[-1].spent == loop.pool.spent == spent <= 60
    assert all(spent + PRICES[i] > 60 for i in loop.pool.unlabelled.tolist())
    assert history[-1].picked == []


def test_prices_of_one_are_no_prices(tmp_path):
    plain = campaign(tmp_path / "plain", None, budget=18)[1]
    priced = campaign(tmp_path / "priced", NoisyOracle(price=1.0), budget=18.0)[1]
    assert picks(plain) == picks(priced)
    assert [r.spent for r in priced] == [r.labelled for r in priced] == [6, 11, 16, 18]


def test_tenths_add_up(tmp_path):
    loop, history = campaign(tmp_path, NoisyOracle(price=0.1), budget=1.6, initial=6)
    assert history[-1].labelled == 16
    assert loop.pool.spent == pytest.approx(1.6)


def test_a_question_that_is_not_answered_yet_counts_in_the_budget(tmp_path):
    loop = ActiveLearningLoop(Net(), Data(), initial=4, query_size=3, budget=8, oracle=AwaitTell(), dirpath=tmp_path)
    trainer = make_trainer(tmp_path, max_epochs=1)
    loop.tell(loop.ask(trainer), [0, 1, 2, 0])
    first, second = loop.ask(trainer), loop.ask(trainer)
    assert (len(first), len(second), loop.ask(trainer)) == (3, 1, [])
    loop.tell(first[:1], [SKIP])  # costs nothing, so there is one more
    assert len(loop.ask(trainer)) == 1


def test_a_budget_that_is_all_asked_for_waits_for_the_answers(tmp_path):
    loop = ActiveLearningLoop(Net(), Data(), initial=4, query_size=3, budget=7, oracle=AwaitTell(), dirpath=tmp_path)
    trainer = make_trainer(tmp_path, max_epochs=1)
    loop.tell(loop.ask(trainer), [0, 1, 2, 0])
    asked = loop.ask(trainer)
    assert loop.ask(trainer) == []
    assert loop.status == "waiting"
    loop.tell(asked, [SKIP, 0, 1])
    assert len(loop.ask(trainer)) == 1
