"""What `ask` keeps of the candidates that were not picked, and what it does with those that cannot be read."""

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_al import AwaitTell, Campaign, Scores
from lightning_al.acquisition import CoreSet
from lightning_al.campaign import Standing
from lightning_al.data.validation import spread_over
from lightning_al.oracle import SKIP
from tests.helpers import reference
from tests.helpers.beside import BESIDE, KNOWN, Split
from tests.helpers.marks import slow
from tests.helpers.processes import fork
from tests.helpers.projects import SIZE, Data, loop_in, make_data, make_trainer

X, Y = make_data()


@pytest.mark.parametrize("processes", [1, slow(2)])
def test_the_scores_of_all_candidates_of_each_question(tmp_path, processes):
    strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
    trainer = make_trainer(tmp_path, strategy=strategy, devices=devices)
    loop = loop_in(tmp_path, rounds=None)
    for number in range(2):
        pool = set(range(SIZE)) - set(loop.pool.labelled.tolist()) if number else None
        picks = loop.ask(trainer, keep_scores=True)
        kept = loop.scores(number)
        expected = reference.entropy(loop.model.eval()(X).detach())
        assert kept.picks == picks
        assert kept.score.tolist() == pytest.approx(expected[kept.index].tolist(), rel=1e-12)
        assert pool is None or set(kept.index.tolist()) == pool
        loop.tell(picks, Y[picks].tolist())
    assert sorted(p.name for p in (tmp_path / "c" / "scores").iterdir()) == ["round_0.csv", "round_1.csv"]
    again = loop_in(tmp_path, rounds=None)  # in another process, of the folder alone
    assert again.scores(1).picks == Scores.read_csv(tmp_path / "c" / "scores" / "round_1.csv").picks == picks


def test_of_a_sub_pool_its_candidates(tmp_path):
    loop = loop_in(tmp_path, subpool_size=10)
    picks = loop.ask(make_trainer(tmp_path), 3, keep_scores=True)
    kept = loop.scores(0)
    assert len(kept) == 10
    assert kept.picks == picks
    assert set(picks) <= set(kept.index.tolist())


def test_an_acquisition_without_scores_keeps_who_was_not_picked(tmp_path):
    loop = loop_in(tmp_path)
    picks = loop.ask(make_trainer(tmp_path, acquisition=CoreSet()), keep_scores=True)
    assert (loop.scores(0).score, loop.scores(0).picks, len(loop.scores(0))) == (None, picks, SIZE - 8)


def test_where_none_were_kept(tmp_path):
    loop = loop_in(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"No scores were kept of round 0.*`keep_scores=True`"):
        loop.scores(0)
    loop.ask(make_trainer(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"round_0.csv is missing. Ask with `keep_scores=True`"):
        loop.scores(0)
    with pytest.raises(TypeError, match="`keep_scores` must be True or False, got 'yes'"):
        loop.ask(make_trainer(tmp_path), keep_scores="yes")


class Damaged(Data):
    """A data set that loses samples while the campaign goes on."""

    bad = frozenset[int]()

    def setup(self, stage):
        super().setup(stage)
        self.train = Losing(X, Y, self)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=4, shuffle=True)


class Losing(torch.utils.data.TensorDataset):
    def __init__(self, x, y, owner):
        super().__init__(x, y)
        self.owner = owner

    def sample_key(self, index):
        return f"{index}.png"

    def __getitem__(self, index):
        if index in self.owner.bad:
            raise OSError("truncated")
        return super().__getitem__(index)


def test_what_cannot_be_read_is_skipped_for_good_and_named(tmp_path):
    data = Damaged()
    loop = loop_in(tmp_path, data=data, oracle=AwaitTell(), rounds=None, evaluate=None)
    first = loop.ask(make_trainer(tmp_path))
    loop.tell(first, Y[first].tolist())
    unseen = set(loop.pool.unlabelled.tolist()) - set(spread_over(SIZE))  # by the checks of an opening
    data.bad = frozenset(sorted(unseen)[5:7])
    with pytest.raises(RuntimeError, match="cannot be read: OSError: truncated"):
        loop.ask(make_trainer(tmp_path))
    with pytest.warns(UserWarning, match="2 of 52 samples cannot be read"):
        picks = loop.ask(make_trainer(tmp_path), skip_unreadable=True, keep_scores=True)
    assert set(loop.pool.skipped.tolist()) == data.bad
    assert len(picks) == 4
    assert len(loop.scores(0)) == SIZE - 8 - 2
    assert not data.bad & set(loop.scores(0).index.tolist())
    assert set(Campaign.load(tmp_path / "c").pool.skipped.tolist()) == data.bad
    assert len(loop.ask(make_trainer(tmp_path))) == 4  # nobody asks for them again


class Unlabelled(Losing):
    def __getitem__(self, index):
        return super().__getitem__(index)[0], -1


class DamagedBeside(Split):
    """Samples beside the training set, of which the first, the last and most that are looked at cannot be read."""

    def unlabelled_dataset(self):
        rows = Unlabelled(X[self.order], Y[self.order], self)
        self.bad = frozenset(set(spread_over(len(rows))) - {spread_over(len(rows))[6]})
        return rows


@pytest.mark.parametrize("known", [KNOWN, []])
def test_a_campaign_is_opened_though_files_that_are_looked_at_cannot_be_read(tmp_path, known):
    data = DamagedBeside(known=known)
    data.train_dataloader = lambda: DataLoader(data.train, batch_size=4)
    loop = loop_in(tmp_path, data=data, initial=0, oracle=AwaitTell(), rounds=None, evaluate=None)
    if not known:
        first = loop.ask(make_trainer(tmp_path))
        loop.tell(first, [SKIP if i in data.bad else int(Y[data.order[i]]) for i in first])
    with pytest.warns(UserWarning, match="samples cannot be read"):
        picks = loop.ask(make_trainer(tmp_path), skip_unreadable=True)
    assert not {*picks} & data.bad
    campaign = Campaign.load(tmp_path / "c")
    skipped = campaign.pool.skipped.tolist()
    assert set(skipped) == data.bad
    assert [campaign.keys[i] for i in skipped] == [f"{i}.png" for i in skipped]
    standing = Standing(tmp_path / "c")
    assert {standing.name(i) for i in standing.units("skipped")} == {f"{i}.png" for i in skipped}


def test_a_skip_that_nobody_asked_for_is_known_by_its_name(tmp_path):
    loop = loop_in(tmp_path, data=Damaged(), oracle=AwaitTell(), rounds=None, evaluate=None)
    first = loop.ask(make_trainer(tmp_path))
    [other, *_] = [i for i in range(SIZE) if i not in first]
    loop.tell([other], [SKIP])
    assert Campaign.load(tmp_path / "c").keys[other] == f"{other}.png"


@pytest.mark.few(1)
@pytest.mark.parametrize("bad", [[0], [SIZE - 1], [*spread_over(SIZE)[:6], *spread_over(SIZE)[7:]]])
def test_samples_of_the_training_set_that_are_looked_at_first_cannot_be_read(tmp_path, bad):
    """They are candidates as others are: named, or skipped for good where that is said."""
    data = Damaged()
    data.bad = frozenset(bad)
    options = {"initial": [20 + i for i in range(8) if 20 + i not in bad], "oracle": AwaitTell()}
    loop = loop_in(tmp_path, data=data, rounds=None, evaluate=None, **options)
    first = loop.ask(make_trainer(tmp_path))
    loop.tell(first, Y[first].tolist())
    with pytest.raises(RuntimeError, match=r"Sample \d+ \('\d+.png'\) cannot be read: OSError: truncated"):
        loop.ask(make_trainer(tmp_path))
    with pytest.warns(UserWarning, match=f"{len(bad)} of .* samples cannot be read"):
        picks = loop.ask(make_trainer(tmp_path), skip_unreadable=True)
    assert not {*picks} & data.bad
    assert set(loop.pool.skipped.tolist()) == data.bad


@pytest.mark.parametrize("known", [KNOWN, []])
@pytest.mark.parametrize("initial", [0, 6])
def test_the_initial_set_holds_nothing_that_cannot_be_read(tmp_path, known, initial):
    data = DamagedBeside(known=known)
    data.train_dataloader = lambda: DataLoader(data.train, batch_size=4)
    loop = loop_in(tmp_path, data=data, initial=initial, oracle=AwaitTell(), rounds=None, evaluate=None)
    with pytest.warns(UserWarning, match="samples cannot be read"):
        picks = loop.ask(make_trainer(tmp_path), skip_unreadable=True)
    assert picks
    assert not {*picks} & data.bad


def test_a_labelled_sample_that_cannot_be_read_is_named(tmp_path):
    class Labelled(Split):
        def setup(self, stage):
            super().setup(stage)
            self.bad = frozenset([2])
            self.train = Losing(X[KNOWN], Y[KNOWN], self)

    loop = loop_in(tmp_path, data=Labelled(), initial=0, oracle=AwaitTell(), rounds=None, evaluate=None)
    with pytest.raises(ValueError, match=r"Sample 2 \('2.png'\) of the training set of Labelled.*truncated"):
        loop.ask(make_trainer(tmp_path), skip_unreadable=True)


def test_people_are_asked_for_what_is_left(tmp_path):
    """`query_size` may be more than there is: files may join."""
    options = {"initial": 0, "query_size": 50, "oracle": AwaitTell(), "rounds": None, "evaluate": None}
    loop = loop_in(tmp_path, data=Split(beside=BESIDE[:5]), **options)
    assert len(loop.ask(make_trainer(tmp_path), 2)) == 2
    assert len(loop.ask(make_trainer(tmp_path))) == 3
