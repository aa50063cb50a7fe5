"""Whole campaigns on a pool beside a training set that is labelled already."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign, Loaders
from lightning_al.acquisition import SRAAL, VAAL, CoreGCN, CoreSet, Random, TypiClust
from lightning_al.fitting import RepeatedFit
from lightning_al.oracle import SKIP
from tests.helpers.beside import BESIDE, KNOWN, Split, labels_of, row_of, rows_picked, trained_rows
from tests.helpers.by_features import farthest
from tests.helpers.marks import slow
from tests.helpers.moving import X, Y
from tests.helpers.processes import Frozen, fork
from tests.helpers.projects import Data, Net, make_trainer


def loop_over(path, data, model=None, **options):
    rounds = None if "oracle" in options else 2
    options = {"initial": 0, "query_size": 4, "rounds": rounds, "dirpath": path, **options}
    return ActiveLearningLoop(model or Net(), data, **options)


class Seen(Net):
    """Keeps the rows of each batch that it trains on, and their labels, fit by fit."""

    def __init__(self):
        super().__init__()
        self.fits = []

    def on_train_start(self):
        self.fits.append([])

    def training_step(self, batch, batch_idx):
        self.fits[-1].append([(row_of(x), int(y)) for x, y in zip(*batch, strict=True)])
        return super().training_step(batch, batch_idx)


# -- what is trained on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", ["initial", slow("warm"), slow("continue")])
def test_it_is_the_campaign_whose_initial_set_is_what_is_known(tmp_path, reset):
    """Batch by batch, and pick by pick: only the numbering is another."""
    split, whole, data = Seen(), Seen(), Split()
    history = loop_over(tmp_path / "s", data, split, reset=reset).run(make_trainer(tmp_path))
    plain = loop_over(tmp_path / "p", Data(), whole, initial=KNOWN, reset=reset).run(make_trainer(tmp_path))
    assert rows_picked(data, history) == [r.picked for r in plain]
    assert split.fits == whole.fits
    assert len(split.fits) == 3
    assert [r.metrics for r in history] == [r.metrics for r in plain]
    assert [(r.labelled, r.spent) for r in history] == [(8, 0), (12, 4), (16, 8)]


def test_the_batches_are_those_of_a_loop_by_hand(tmp_path):
    """Known rows, then those told in the order of their labels, in the order of each epoch's own permutation."""
    from lightning_al.distributed.randomness import derive_seed

    model, data = Seen(), Split(form="bare")
    loop = loop_over(tmp_path / "c", data, model, rounds=3, oracle=AwaitTell())
    told = []
    for number in range(3):
        picked = loop.ask(make_trainer(tmp_path))
        rows = KNOWN + told
        expected = []
        for epoch in range(2):
            seed = derive_seed(0, number, "order") % 2**31 + epoch
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
            expected += [[(rows[i], int(Y[rows[i]])) for i in order[at : at + 4]] for at in range(0, len(rows), 4)]
        assert model.fits[-1] == expected
        loop.tell(picked[::-1], labels_of(data, picked[::-1]))
        told += [data.order[i] for i in picked[::-1]]
    assert loop.history[-1].spent == 8


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("form", "augmented"), [("bare", True), ("one", False), slow("none", False), slow("placeholder", True)]
)
def test_samples_without_a_label_train_as_the_others_do(tmp_path, form, augmented):
    class Augmenting(Split):
        def augment(self, sample):
            x, y = sample
            assert type(y) is int
            assert y >= 0
            return x, y

    data = (Augmenting if augmented else Split)(form=form)
    loop = loop_over(tmp_path / "c", data, oracle=AwaitTell())
    picked = loop.ask(make_trainer(tmp_path, max_epochs=1))
    loop.tell(picked, labels_of(data, picked))
    loop.ask(make_trainer(tmp_path, max_epochs=1))
    rows = [row for batch in trained_rows(loop) for row in batch]
    assert sorted(rows) == sorted(KNOWN + [data.order[i] for i in picked])


# -- what is seen of it ------------------------------------------------------------------------------------------------


def features(model, rows):
    return model.net[:-1](X[rows]).tolist()


@pytest.mark.parametrize("processes", [1, slow(2), slow(3)])
def test_core_set_is_far_from_the_known_points_too(tmp_path, processes):
    model, data = Frozen(), Split(form="bare")
    loop = loop_over(tmp_path / "c", data, model, oracle=AwaitTell())
    for _ in range(2):
        told = [data.order[i] for i in loop.pool.labelled.tolist()]
        options = {"strategy": fork(processes)[0], "devices": processes} if processes > 1 else {}
        picked = loop.ask(make_trainer(tmp_path, acquisition=CoreSet(), max_epochs=1, **options))
        with torch.no_grad():
            centres = features(Frozen().eval(), KNOWN + told)
            left = [row for row in BESIDE if row not in told]
            expected = farthest(features(Frozen().eval(), left), centres, [], 4)
        assert [data.order[i] for i in picked] == [left[i] for i in expected]
        loop.tell(picked, labels_of(data, picked))


@pytest.mark.slow
@pytest.mark.parametrize(
    "acquisition",
    [
        lambda: VAAL(steps=3),
        lambda: SRAAL(steps=2),
        lambda: CoreGCN(steps=2),
        lambda: TypiClust(neighbours=3),
        CoreSet,
    ],
)
def test_acquisitions_see_what_is_known_as_labelled(tmp_path, acquisition):
    """And its labels (SRAAL): they pick what they do where it is the initial set."""
    data = Split()
    history = loop_over(tmp_path / "s", data, rounds=1).run(make_trainer(tmp_path, acquisition=acquisition()))
    plain = loop_over(tmp_path / "p", Data(), initial=KNOWN, rounds=1)
    expected = plain.run(make_trainer(tmp_path, acquisition=acquisition()))
    assert len(history[0].picked) == 4
    if isinstance(acquisition(), CoreSet):  # others draw by number, or batches by it
        assert rows_picked(data, history) == [r.picked for r in expected]


@pytest.mark.slow
def test_hidden_labels_beside_the_augmented_training_set_are_those_of_the_training_set(tmp_path):
    """`pool_dataset()` without labels: SRAAL, and `augment`, get those of the same training samples."""
    seen = []

    class Hidden(Split):
        def pool_dataset(self):
            return [(X[row], -1) for row in self.known]

        def augment(self, sample):
            seen.append((row_of(sample[0]), int(sample[1])))
            return sample

    loop_over(tmp_path / "c", Hidden(), rounds=1).run(make_trainer(tmp_path, acquisition=SRAAL(steps=2)))
    assert {row for row, _ in seen} > set(KNOWN)
    assert all(label == int(Y[row]) for row, label in seen)


def test_the_initial_set_is_chosen_beside_what_is_known(tmp_path):
    encoder = torch.nn.Identity()
    data = Split(form="bare")
    loop = loop_over(
        tmp_path / "c", data, initial=5, initial_by=CoreSet(encoder=encoder), oracle=AwaitTell()
    )  # fmt: skip
    asked = loop.ask(make_trainer(tmp_path))
    expected = farthest(X[BESIDE].tolist(), X[KNOWN].tolist(), [], 5)
    assert asked == expected
    assert loop.history == []
    assert len(loop.ask(make_trainer(tmp_path))) == 4  # known samples are enough to train on
    loop.tell(asked, labels_of(data, asked))
    assert loop.history[0].labelled == 8


def test_a_file_of_features_has_those_of_the_training_set_last(tmp_path):
    np.save(tmp_path / "f.npy", X[BESIDE + KNOWN].numpy())
    data = Split(form="bare")
    chooser = CoreSet(encoder=str(tmp_path / "f.npy"))
    trainer = make_trainer(tmp_path, acquisition=chooser)
    picked = loop_over(tmp_path / "c", data, oracle=AwaitTell()).ask(trainer)
    assert picked == farthest(X[BESIDE].tolist(), X[KNOWN].tolist(), [], 4)
    np.save(tmp_path / "f.npy", X[BESIDE].numpy())
    with pytest.raises(ValueError, match=r"features of 52 samples .* has 60"):
        loop_over(tmp_path / "d", data, oracle=AwaitTell()).ask(
            make_trainer(tmp_path, acquisition=CoreSet(encoder=str(tmp_path / "f.npy")))
        )


# -- on several processes, over several starts -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("share", [None, 0.5])
def test_two_processes_pick_what_one_picks(tmp_path, share):
    def picks(processes):
        options = {"strategy": fork(processes)[0], "devices": processes} if processes > 1 else {}
        loop = loop_over(tmp_path / f"{processes}", Split(), Frozen(), known_share=share, subpool_size=37)
        return [r.picked for r in loop.run(make_trainer(tmp_path, max_epochs=1, **options))]

    assert picks(1) == picks(2)


@pytest.mark.slow
@pytest.mark.parametrize("share", [None, 0.25])
def test_a_campaign_that_stops_and_goes_on_is_the_one_that_did_not(tmp_path, share):
    def run(name, rounds):
        loop = loop_over(tmp_path / name, Split(), rounds=rounds, known_share=share)
        return loop.run(make_trainer(tmp_path), resume=True)

    whole = run("whole", 2)
    run("part", 1)
    again = run("part", 2)
    assert [(r.picked, r.metrics) for r in again] == [(r.picked, r.metrics) for r in whole]
    kinds = [event["kind"] for event in Campaign.read_events(tmp_path / "whole")]
    assert kinds[:4] == ["started", "known", "asked", "fitted"]
    assert kinds.count("known") == 1


@pytest.mark.slow
def test_a_kill_between_the_first_events_loses_nothing(tmp_path):
    def asking(name):
        return loop_over(tmp_path / name, Split(form="one"), initial=5, oracle=AwaitTell())

    expected = asking("whole").ask(make_trainer(tmp_path))
    for left in (2, 1):
        asking(f"killed{left}").ask(make_trainer(tmp_path))
        events = sorted((tmp_path / f"killed{left}" / "ledger").glob("*.json"))
        for event in events[left:]:
            event.unlink()
        assert asking(f"killed{left}").ask(make_trainer(tmp_path)) == expected


def test_a_training_set_that_grew_is_fitted_anew_and_a_pool_that_moved_is_found(tmp_path):
    model, first = Seen(), Split(form="bare")
    loop = loop_over(tmp_path / "c", first, model, oracle=AwaitTell())
    picked = loop.ask(make_trainer(tmp_path))
    told = [first.order[i] for i in picked[:3]]
    loop.tell(picked[:3], labels_of(first, picked[:3]))
    loop.ask(make_trainer(tmp_path))
    order = [row for row in [*range(60, 70), *BESIDE[::-1]] if row not in (1, 2)]
    later, again = Split(known=[*KNOWN, 1, 2], beside=order, form="bare"), Seen()
    loop = loop_over(tmp_path / "c", later, again, oracle=AwaitTell())
    asked = loop.ask(make_trainer(tmp_path))
    assert {row for batch in again.fits[0] for row, _ in batch} == {*KNOWN, 1, 2, *told}
    pending = {later.order[i] for i in loop.pool.pending.tolist()}
    assert pending >= ({first.order[picked[3]]} - {1, 2})
    assert not {1, 2, *told} & {later.order[i] for i in asked}
    once_more = Seen()
    loop_over(tmp_path / "c", later, once_more, oracle=AwaitTell()).ask(make_trainer(tmp_path))
    assert once_more.fits == []  # nothing changed: the last fit is of these labels


class Killed(Seen):
    """Ends at the first epoch's end of a fit of more than the known samples."""

    def on_train_epoch_end(self):
        if self.current_epoch == 1 and len(self.trainer.train_dataloader.dataset) > len(KNOWN):
            raise RuntimeError("killed")


@pytest.mark.parametrize("share", [0.5, slow(None)])
def test_a_fit_that_was_killed_goes_on_with_its_batches(tmp_path, monkeypatch, share):
    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", 0.0)

    def run(name, model):
        loop = loop_over(tmp_path / name, Split(), model, rounds=1, known_share=share)
        loop.run(make_trainer(tmp_path, max_epochs=3), resume=True)
        return model

    whole, again = run("whole", Seen()), Seen()
    with pytest.raises(RuntimeError, match="killed"):
        run("part", Killed())
    run("part", again)
    assert len(whole.fits[1]) == 9
    assert again.fits[0] == whole.fits[1][-len(again.fits[0]) :]
    assert len(again.fits[0]) in (3, 6)  # not from the start
    for one, other in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_campaign_on_a_training_set_goes_on_with_what_it_labelled_as_the_training_set(tmp_path):
    """Its told labels are found in the training set, which is what the pool was before."""
    plain = loop_over(tmp_path / "c", Data(), initial=KNOWN, oracle=AwaitTell())
    plain.tell(plain.ask(make_trainer(tmp_path)), [int(Y[row]) for row in KNOWN])
    data, model = Split(form="bare"), Seen()
    loop = loop_over(tmp_path / "c", data, model, initial=KNOWN, oracle=AwaitTell())
    asked = loop.ask(make_trainer(tmp_path))
    assert {row for batch in model.fits[0] for row, _ in batch} == {*KNOWN}
    assert len(asked) == 4
    assert loop.pool.spent == len(KNOWN)


# -- other ways to bring it --------------------------------------------------------------------------------------------


def test_of_loaders_and_of_a_module(tmp_path):
    split = Split(form="bare")
    split.setup("fit")
    unlabelled = split.unlabelled_dataset()
    loaders = Loaders(split.train_dataloader(), split.val_dataloader(), pool=split.train, unlabelled=unlabelled)

    class Own(Net):
        def train_dataloader(self):
            return DataLoader(split.train, batch_size=4, shuffle=True)

        def val_dataloader(self):
            return split.val_dataloader()

        def pool_dataset(self):
            return split.train

        def unlabelled_dataset(self):
            return unlabelled

    asked = [
        loop_over(tmp_path / f"{number}", data, model, oracle=AwaitTell()).ask(make_trainer(tmp_path, max_epochs=1))
        for number, (data, model) in enumerate([(split, Net()), (loaders, Net()), (None, Own())])
    ]
    assert asked[0] == asked[1] == asked[2]


@pytest.mark.slow
def test_without_metrics_until_nothing_is_left(tmp_path):
    data = Split(beside=range(60, 69))
    loop = loop_over(tmp_path / "c", data, rounds=None, evaluate=None)
    history = loop.run(make_trainer(tmp_path, acquisition=Random()))
    assert sorted(i for r in history for i in r.picked) == list(range(9))
    assert [r.labelled for r in history] == [8, 12, 16, 17]


@pytest.mark.slow
def test_the_budget_is_that_of_labels_asked_for(tmp_path):
    loop = loop_over(tmp_path / "c", Split(), rounds=None, budget=6)
    history = loop.run(make_trainer(tmp_path, acquisition=Random()))
    assert [r.spent for r in history] == [0, 4, 6]


@pytest.mark.slow
def test_an_initial_set_that_is_skipped_is_not_asked_for_again(tmp_path):
    data = Split(form="bare")
    loop = loop_over(tmp_path / "c", data, initial=3, oracle=AwaitTell())
    loop.tell(loop.ask(make_trainer(tmp_path)), [SKIP] * 3)
    loop.run(make_trainer(tmp_path))
    assert loop.status == "waiting"
    assert len(loop.pool.pending) == 4
