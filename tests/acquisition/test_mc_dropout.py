"""What a pool pass and a campaign make of the passes; each method's picks are in test_contract.py."""

import pytest
import torch
from torch import nn

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign, ClassificationTask
from lightning_al import functional as F_al
from lightning_al.acquisition import BALD, BatchBALD, MCDropout, Random
from tests.helpers.bound import EXACT, seeded
from tests.helpers.marks import slow
from tests.helpers.models import C, randn
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks

X = make_data()[0]
ALL = [MCDropout, BALD, BatchBALD]


def bound(acquisition, **options):
    acquisition.bind(ClassificationTask(**options), AwaitTell())
    return acquisition


def rows_of(acquisition, net, x=X):
    return bound(acquisition).rows(net, [x])


def run(folder, acquisition, *, resume=False, seed=0, model=None, **options):
    loop = ActiveLearningLoop(
        model or Net(dropout=0.3), Data(), initial=8, query_size=3, rounds=3, dirpath=folder, seed=seed, **options
    )
    loop.run(make_trainer(folder, acquisition=acquisition), resume=resume)
    return loop


@pytest.mark.parametrize("cls", ALL)
def test_scores_are_those_of_the_function(cls):
    net = Net(dropout=0.3)
    log_p = F_al.mc_dropout(net, X, passes=6, seed=0)
    wanted = {MCDropout: F_al.mean_entropy, BALD: F_al.bald, BatchBALD: F_al.bald}[cls](log_p)
    found = rows_of(cls(passes=6), net)
    torch.testing.assert_close(found["score"], wanted, **EXACT)
    if cls is BatchBALD:
        torch.testing.assert_close(found["log_probabilities"], log_p, **EXACT)
        picked = cls(passes=6).select(found, 5, labelled_rows={}, generator=seeded(1)).tolist()
        assert picked == F_al.batch_bald(log_p, 5, generator=seeded(1)).tolist()


@pytest.mark.parametrize("cls", ALL)
def test_a_model_that_gives_probabilities(cls):
    net = Net(dropout=0.3)
    both = nn.Sequential(net, nn.Softmax(1))
    log_p = F_al.mc_dropout(nn.Sequential(net), X, passes=6)
    acquisition = bound(cls(passes=6), outputs="probabilities")
    torch.testing.assert_close(acquisition.log_probabilities(both, [X]), log_p, **EXACT)


@pytest.mark.parametrize("cls", [BatchBALD, *(slow(cls) for cls in ALL if cls is not BatchBALD)])
def test_every_round_has_masks_of_its_own_that_follow_from_the_campaign_s_seed(tmp_path, cls):
    class Noting(cls):
        def __init__(self, fail_at=None):
            super().__init__(passes=4)
            self.seeds, self._fail_at = [], fail_at

        def learn(self, query):
            super().learn(query)
            if query.round == self._fail_at:
                raise KeyboardInterrupt

        def rows(self, model, batch):
            if self._seed not in self.seeds:
                self.seeds.append(self._seed)
            return super().rows(model, batch)

    whole, other, first = Noting(), Noting(), Noting(fail_at=1)
    history = run(tmp_path / "a", whole).history
    assert whole.seeds[0] == 0  # the rehearsal
    assert len(set(whole.seeds)) == 4
    run(tmp_path / "b", other, seed=1)
    assert set(other.seeds) & set(whole.seeds) == {0}
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(tmp_path / "c", first)
    resumed = Noting()
    again = run(tmp_path / "c", resumed, resume=True).history
    assert resumed.seeds == whole.seeds[2:]
    assert picks(again) == picks(history)
    assert [r.scores for r in again] == [r.scores for r in history]
    assert all(min(r.scores) >= 0 for r in history[:-1])


class Untrained(Net):
    def on_fit_start(self):
        raise AssertionError("it trains")


@pytest.mark.parametrize("cls", [BALD, *(slow(cls) for cls in ALL if cls is not BALD)])
def test_a_model_without_dropout_is_refused_before_anything_trains(tmp_path, cls):
    with pytest.raises(ValueError, match=r"Nothing in `Untrained` drops.*`add_dropout=0\.5`"):
        run(tmp_path / "a", cls(), model=Untrained())
    assert not Campaign.exists(tmp_path / "a")


@pytest.mark.parametrize("cls", [MCDropout, *(slow(cls) for cls in ALL if cls is not MCDropout)])
def test_or_gets_one(tmp_path, cls):
    loop = run(tmp_path / "a", cls(add_dropout=0.5, passes=5), model=Net(batch_norm=True))
    assert [len(r.picked) for r in loop.history] == [3, 3, 3, 0]
    assert not any(isinstance(m, nn.Dropout) and m.p > 0 for m in loop.model.modules())


@pytest.mark.parametrize("cls", ALL)
def test_they_cannot_choose_the_initial_set(tmp_path, cls):
    with pytest.raises(ValueError, match="not trained yet"):
        run(tmp_path, Random(), initial_by=cls())


def test_classes_that_are_masked_out():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, C)).double()

        def forward(self, x):
            return torch.cat([self.net(x), torch.full((len(x), 1), -torch.inf).double()], 1)

    net = Masked()
    rows = rows_of(BatchBALD(passes=6), net)
    assert bool(rows["log_probabilities"].isfinite().all())  # which the pool pass asks for
    want = F_al.batch_bald(F_al.mc_dropout(net, X, passes=6), 9, generator=seeded())
    assert torch.equal(BatchBALD(passes=6).select(rows, 9, labelled_rows={}, generator=seeded()), want)


def test_dense_outputs_are_for_bald_alone():
    net = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Dropout(0.5), nn.Conv2d(4, C, 1)).double()
    x = randn(5, 2, 3, 3)
    assert rows_of(BALD(passes=6), net, x)["score"].shape == (5,)
    with pytest.raises(ValueError, match=r"shape \(B, C\), got .*`BALD`"):
        rows_of(BatchBALD(passes=6), net, x)


def test_further_options_out_of_range():
    with pytest.raises(ValueError, match="'entropy', 'variation_ratio', 'variance', 'model_change', got 'mean'"):
        MCDropout(score="mean")
    with pytest.raises(ValueError, match="`configurations`"):
        BatchBALD(configurations=0)
    with pytest.raises(ValueError, match="`selection`"):
        BALD(selection="all")
    with pytest.raises(ValueError, match="needs a `generator`"):
        BatchBALD().select({}, 0, labelled_rows={}, generator=None)
