"""Campaigns beside a training set that is empty: nothing at all is labelled when they begin."""

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign
from lightning_al.acquisition import CoreSet, TypiClust
from lightning_al.oracle import SKIP
from tests.helpers.beside import Split, labels_of, row_of
from tests.helpers.moving import Y
from tests.helpers.projects import Net, make_trainer


class Empty(Split):
    """Rows beside a training set of none, or of a few that joined it."""

    def __init__(self, known=(), form="placeholder", **options):
        super().__init__(known=known, form=form, **options)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=4, shuffle=len(self.train) > 0)


class Seen(Net):
    def __init__(self):
        super().__init__()
        self.rows = []

    def on_train_start(self):
        self.rows.append([])

    def training_step(self, batch, batch_idx):
        self.rows[-1] += [(row_of(x), int(y)) for x, y in zip(*batch, strict=True)]
        return super().training_step(batch, batch_idx)


def loop_over(path, data, model=None, **options):
    options = {"initial": 0, "query_size": 6, "oracle": AwaitTell(), "dirpath": path, "evaluate": None, **options}
    return ActiveLearningLoop(model or Net(), data, **options)


def test_the_first_question_is_drawn_and_what_is_told_is_trained_on(tmp_path):
    data, model = Empty(), Seen()
    loop = loop_over(tmp_path / "c", data, model)
    first = loop.ask(make_trainer(tmp_path))
    assert len(set(first)) == 6
    assert model.rows == []
    again = loop_over(tmp_path / "c", Empty())
    assert again.ask(make_trainer(tmp_path), more=False) == first
    with pytest.raises(RuntimeError, match="Nothing is labelled yet"):
        again.ask(make_trainer(tmp_path))
    loop.tell(first, labels_of(data, first))
    second = loop.ask(make_trainer(tmp_path), 3)
    assert not {*first} & {*second}
    told = {(data.order[i], int(Y[data.order[i]])) for i in first}
    assert set(model.rows[0]) == told
    epochs = [model.rows[0][at : at + 6] for at in (0, 6)]
    assert [sorted(epoch) for epoch in epochs] == [sorted(told)] * 2
    assert epochs[0] != epochs[1]  # shuffled, though torch makes no loader over nothing that says so
    assert loop.history[0].labelled == 6

    # a sample joins the training set
    loop.tell(second, labels_of(data, second))
    joined = Empty(known=[3, 14])
    later = loop_over(tmp_path / "c", joined)
    later.ask(make_trainer(tmp_path))
    assert [result.labelled for result in Campaign.load(tmp_path / "c").rounds] == [6, 11]


@pytest.mark.few(2)
@pytest.mark.parametrize(("initial", "k", "count"), [(0, None, 6), (0, 4, 4), (5, None, 5), (5, 4, 5)])
def test_how_many(tmp_path, initial, k, count):
    loop = loop_over(tmp_path / "c", Empty(), initial=initial)
    assert len(loop.ask(make_trainer(tmp_path), k)) == count


def test_the_budget_and_the_pool_are_limits(tmp_path):
    assert len(loop_over(tmp_path / "a", Empty(), budget=2).ask(make_trainer(tmp_path))) == 2
    assert len(loop_over(tmp_path / "b", Empty(beside=range(8))).ask(make_trainer(tmp_path), 20)) == 8


def test_skips_are_made_up_for(tmp_path):
    loop = loop_over(tmp_path / "c", Empty())
    first = loop.ask(make_trainer(tmp_path), 4)
    loop.tell(first, [SKIP] * 4)
    second = loop.ask(make_trainer(tmp_path), 4)
    assert len(second) == 4
    assert not {*first} & {*second}


def test_an_acquisition_may_choose_them(tmp_path):
    chooser = TypiClust(encoder=torch.nn.Identity())
    loop = loop_over(tmp_path / "c", Empty(), initial_by=chooser)
    plain = loop_over(tmp_path / "p", Empty(), initial=6, initial_by=TypiClust(encoder=torch.nn.Identity()))
    assert sorted(loop.ask(make_trainer(tmp_path))) == sorted(plain.ask(make_trainer(tmp_path)))


def test_acquisitions_that_look_at_what_is_labelled(tmp_path):
    data = Empty()
    loop = loop_over(tmp_path / "c", data)
    trainer = make_trainer(tmp_path, acquisition=CoreSet())
    first = loop.ask(trainer)
    loop.tell(first, labels_of(data, first))
    assert not {*first} & {*loop.ask(trainer)}


@pytest.mark.parametrize("form", ["bare", "one"])
def test_a_place_for_the_label_is_needed(tmp_path, form):
    with pytest.raises(TypeError, match=r"training set of Empty is empty.*Return them with something in its place"):
        loop_over(tmp_path / "c", Empty(form=form)).ask(make_trainer(tmp_path))
    assert not (tmp_path / "c").exists()


def test_both_empty(tmp_path):
    with pytest.raises(ValueError, match=r"`unlabelled_dataset\(\)` is empty"):
        loop_over(tmp_path / "c", Empty(beside=[])).ask(make_trainer(tmp_path))


def test_a_simulated_campaign_says_that_labels_are_told(tmp_path):
    with pytest.raises((ValueError, TypeError), match="oracle=AwaitTell"):
        ActiveLearningLoop(Net(), Empty(), initial=0, query_size=3, dirpath=tmp_path / "c", evaluate=None).run(
            make_trainer(tmp_path)
        )
