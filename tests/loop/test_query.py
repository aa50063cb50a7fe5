"""What an acquisition selects is checked, and from which candidates it may."""

import numpy as np
import pytest

from lightning_al import ActiveLearningLoop, Campaign, NoisyOracle
from lightning_al.acquisition import Acquisition, Entropy, Random
from lightning_al.campaign.versions import versions
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks
from tests.helpers.recorder import run


class Selects(Entropy):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def select(self, rows, k, *, labelled_rows, generator):
        return self.answer


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("answer", "error"),
    [([0, 1, 2], ValueError), ([0, 0, 1, 2], ValueError), ([0, 1, 2, 54], ValueError), ([-1, 0, 1, 2], ValueError),
     ([0.0, 1.0, 2.0, 3.0], TypeError)],
)  # fmt: skip
def test_selections_that_are_none(tmp_path, answer, error):
    with pytest.raises(error, match=r"`Selects\.select` must return"):
        run(tmp_path, trainer=make_trainer(tmp_path, acquisition=Selects(answer)))


def test_subpool_is_clamped_to_what_is_left(tmp_path):
    _, history, _ = run(tmp_path, rounds=None, query_size=20, subpool_size=25)
    assert [r.labelled for r in history] == [6, 26, 46, 60]


def test_the_sub_pool_is_drawn_from_what_can_be_paid(tmp_path):
    cheap = [20, 30, 40, 50]
    oracle = NoisyOracle(price=[0.5 if i in [0, 10, *cheap] else 50.0 for i in range(60)])
    options = {"initial": [0, 10], "query_size": 2, "subpool_size": 4, "budget": 9}
    loop = ActiveLearningLoop(Net(), Data(), oracle=oracle, dirpath=tmp_path, **options)
    history = loop.run(make_trainer(tmp_path, max_epochs=1))
    assert sorted(i for picked in picks(history) for i in picked) == cheap
    assert [len(p) for p in picks(history)] == [2, 2, 0]


class SumOfInputs(Acquisition):
    def score_batch(self, model, batch):
        return self.task.inputs(batch).double().flatten(1).sum(1)


def test_the_ledger_has_what_the_scores_of_all_candidates_are_like(tmp_path):
    _, history, _ = run(tmp_path, trainer=make_trainer(tmp_path, acquisition=SumOfInputs()), rounds=2)
    folder = next(tmp_path.rglob("ledger")).parent
    events = Campaign.read_events(folder)
    inputs, _ = make_data()
    left = set(range(len(inputs)))
    for event in events:
        if event["kind"] != "asked":
            continue
        if event["round"] >= 0:
            sums = [float(inputs[i].double().sum()) for i in sorted(left)]
            assert event["all_scores"]["count"] == len(left)
            assert event["all_scores"]["quantiles"] == pytest.approx(np.percentile(sums, [5, 25, 50, 75, 95]))
        else:
            assert "all_scores" not in event
        left -= set(event["indices"])
    assert events[0]["versions"] == versions()


def test_what_scores_nothing_has_no_such_summary(tmp_path):
    run(tmp_path, trainer=make_trainer(tmp_path, acquisition=Random()), rounds=1)
    events = Campaign.read_events(next(tmp_path.rglob("ledger")).parent)
    assert not any("all_scores" in event for event in events)
