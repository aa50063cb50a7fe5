"""Options beside a training set that is labelled already: what they mean, and what is refused."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign, Loaders, NoisyOracle
from lightning_al.acquisition import BADGE, CoreGCN, CoreSet, Random
from lightning_al.training import AutoSAMMixin, LossPredictionMixin, SAMMixin
from tests.helpers.beside import BESIDE, KNOWN, Split, labels_of, row_of
from tests.helpers.marks import slow
from tests.helpers.moving import X, Y
from tests.helpers.processes import fork
from tests.helpers.projects import Data, Net, NeverTrains, loop_in, make_trainer


class Empty(Split):
    def __init__(self, **options):
        super().__init__(beside=[], **options)


class Itself(Data):
    def unlabelled_dataset(self):
        return self.train


class Among(Split):
    def __init__(self):
        super().__init__(beside=KNOWN[:4], form="bare")


class Doubles(Split):
    def unlabelled_dataset(self):
        return TensorDataset(X[BESIDE].float())


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (Data(), {"initial": 0}, r"`initial` is 0 or an empty list.*`unlabelled_dataset\(\)`"),
        (Data(), {"initial": []}, "`initial` is 0 or an empty list"),
        (Data(), {"known_share": 0.5}, "`known_share=0.5` is the share .* the datamodule does not have"),
        (Data(), {"initial_by": CoreGCN(encoder=torch.nn.Identity())}, "CoreGCN.* learns from labelled samples"),
        (Split(), {"known_share": 0.3}, r"`known_share=0.3` of batches of 4 samples is 1.2.* 0.25 or 0.5"),
        (Split(batch_size=1), {"known_share": 0.5}, "at least one of either kind"),
        (Split(), {"known_share": 0}, "`known_share` must be above 0 and below 1, got 0"),
        (Split(), {"known_share": 1.0}, "above 0 and below 1, got 1.0"),
        (Split(), {"known_share": "half"}, "`known_share` must be a number, above 0 and below 1, or None, got 'half'"),
        (Empty(form="bare"), {}, r"`unlabelled_dataset\(\)` is empty"),
        (Itself(), {}, r"returns `pool_dataset\(\)` itself"),
        (Among(), {}, "All 4 samples of .* are in the training set too"),
        (Doubles(), {}, r"are float32 \(4,\), and those of the training set float64 \(4,\)"),
        (
            Split(form="bare"),
            {"oracle": None},
            r"have them told: `oracle=AwaitTell\(\)`",
        ),
        (Split(), {"initial": 53}, "`initial` asks for 53 samples, but the pool has 52"),
        (
            Split(),
            {"query_size": 53, "oracle": None},
            "is larger than the pool: 52 samples less 0 initial ones leave 52",
        ),
        (Split(drop_last=True, known=KNOWN[:3]), {}, "drops its last batch.* 3 labels give 3 per process"),
    ],
)
def test_what_is_refused_before_anything_trains(tmp_path, data, options, words):
    options = {"initial": 0, "query_size": 4, "oracle": AwaitTell(), "dirpath": tmp_path / "c", **options}
    with pytest.raises((ValueError, TypeError), match=words):
        ActiveLearningLoop(NeverTrains(), data, **options).run(make_trainer(tmp_path))
    assert not (tmp_path / "c").exists()


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    class Wrong(Doubles):
        def val_dataloader(self):
            return []

    options = {"initial": 0, "query_size": 4, "oracle": AwaitTell(), "dirpath": tmp_path / "c"}
    with pytest.raises((ValueError, TypeError)) as refused:
        ActiveLearningLoop(NeverTrains(), Wrong(), known_share=0.3, **options).run(make_trainer(tmp_path))
    text = str(refused.value)
    assert "float32 (4,)" in text
    assert "gives no batch" in text
    with pytest.raises((ValueError, TypeError)) as refused:
        ActiveLearningLoop(NeverTrains(), Data(), known_share=2, **options)
    assert "below 1, got 2" in str(refused.value)


def test_prices_are_those_of_the_pool(tmp_path):
    prices = [2.0] * len(BESIDE)
    options = {"initial": 0, "oracle": NoisyOracle(price=prices), "rounds": None, "budget": 9}
    history = loop_in(tmp_path, data=Split(), **options).run(make_trainer(tmp_path, acquisition=Random()))
    assert [r.spent for r in history] == [0, 8]
    with pytest.raises(ValueError, match="lists 60 prices, but there are 52 samples to ask for"):
        loop_in(tmp_path / "d", data=Split(), initial=0, oracle=NoisyOracle(price=[1.0] * 60)).run(
            make_trainer(tmp_path)
        )


def test_the_initial_set_may_be_learnt_from_what_is_known(tmp_path):
    chooser = CoreGCN(steps=2, encoder=torch.nn.Identity())
    loop = loop_in(tmp_path, data=Split(form="bare"), initial=5, initial_by=chooser, oracle=AwaitTell())
    assert len({*loop.ask(make_trainer(tmp_path))}) == 5


@pytest.mark.slow
def test_a_balanced_initial_set_is_balanced_in_itself(tmp_path):
    data = Split()
    history = loop_in(tmp_path, data=data, initial=6, initial_by="balanced", rounds=0).run(make_trainer(tmp_path))
    assert history[0].labelled == len(KNOWN) + 6
    events = Campaign.read_events(tmp_path / "c")
    [asked] = [event["indices"] for event in events if event["kind"] == "asked"]
    assert sorted(labels_of(data, asked)) == [0, 0, 1, 1, 2, 2]


# -- a share of each batch ---------------------------------------------------------------------------------------------


class Shares(Net):
    """Keeps how many known rows each batch held, in files: processes are forked."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_start(self):
        self.write("|")

    def training_step(self, batch, batch_idx):
        self.write("".join("k" if row_of(x) in KNOWN else "." for x in batch[0]) + " ")
        return super().training_step(batch, batch_idx)

    def write(self, text):
        with (self.folder / f"rank_{self.trainer.global_rank}").open("a") as file:
            file.write(text)


def batches_of(folder, rank=0):
    """Batches in letters, fit by fit."""
    return [fit.split() for fit in (folder / f"rank_{rank}").read_text().split("|")[1:]]


@pytest.mark.parametrize("processes", [1, slow(2), slow(3)])
def test_each_batch_of_each_process_has_its_share(tmp_path, processes):
    options = {"strategy": fork(processes)[0], "devices": processes} if processes > 1 else {}
    loop = loop_in(tmp_path, Shares(tmp_path), Split(), initial=0, known_share=0.25)
    loop.run(make_trainer(tmp_path, **options))
    for rank in range(processes):
        fits = batches_of(tmp_path, rank)
        assert len(fits) == 3
        for batches, labelled in zip(fits, (8, 12, 16), strict=True):
            per_epoch = -(-(-(-labelled // processes)) // 4)
            assert len(batches) == 2 * per_epoch  # as many as without
            assert labelled == 8 or set(batches) == {"k..."}


@pytest.mark.slow
def test_the_share_may_change_between_launches_and_is_in_the_ledger(tmp_path):
    data = Split(form="bare")
    options = {"initial": 0, "rounds": None, "known_share": 0.5, "oracle": AwaitTell()}
    loop = loop_in(tmp_path, Shares(tmp_path), data, **options)
    for share in (0.5, 0.25, 0.75):
        loop.known_share = share
        picked = loop.ask(make_trainer(tmp_path, max_epochs=1))
        loop.tell(picked, labels_of(data, picked))
    assert [set(fit) for fit in batches_of(tmp_path)] == [{"kkkk"}, {"k..."}, {"kkk."}]
    said = [event["options"] for event in Campaign.read_events(loop.campaign.dirpath) if "options" in event]
    assert [options["known_share"] for options in said] == [0.5, 0.25, 0.75]
    assert loop.campaign.options["known_share"] == 0.75


# -- with what trains otherwise ----------------------------------------------------------------------------------------


class Sam(SAMMixin, Net):
    pass


class AutoSam(AutoSAMMixin, Net):
    pass


class Predicting(LossPredictionMixin, Net):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("kind", [slow(Sam), slow(AutoSam), Predicting])
@pytest.mark.parametrize("form", ["bare", slow("none")])
def test_sam_and_loss_prediction_train_on_both(tmp_path, kind, form):
    """As on the plain campaign of the same samples, to the last bit."""
    trainer = {"max_epochs": 1}
    split, data = loop_in(tmp_path / "s", kind(), Split(form=form), initial=0, oracle=AwaitTell()), Split()
    plain = loop_in(tmp_path / "p", kind(), Data(), oracle=AwaitTell(), initial=KNOWN)
    plain.tell(plain.ask(make_trainer(tmp_path)), [int(Y[r]) for r in KNOWN])
    for _ in range(2):
        picked, rows = split.ask(make_trainer(tmp_path, **trainer)), plain.ask(make_trainer(tmp_path, **trainer))
        assert [data.order[i] for i in picked] == rows
        split.tell(picked, [int(Y[r]) for r in rows])
        plain.tell(rows, [int(Y[r]) for r in rows])
    for one, other in zip(split.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(one, other)


def stacking(samples):
    """A collate function that knows pairs alone."""
    xs, ys = zip(*samples, strict=True)
    assert all(type(y) is int for y in ys)
    return torch.stack(xs), torch.tensor(ys)


@pytest.mark.slow
@pytest.mark.parametrize("acquisition", [BADGE, slow(Random)])
def test_a_collate_function_of_ones_own(tmp_path, acquisition):
    loop = loop_in(tmp_path, data=Split(form="bare", collate_fn=stacking), initial=0, oracle=AwaitTell())
    picked = loop.ask(make_trainer(tmp_path, acquisition=acquisition()))
    assert len(picked) == 4


def test_a_value_that_is_not_finite_is_said_of_the_training_sets_sample(tmp_path):
    inputs = X[KNOWN].clone()
    inputs[2] = float("nan")
    data = Loaders(DataLoader(TensorDataset(inputs, Y[KNOWN]), batch_size=4), unlabelled=TensorDataset(X[BESIDE]))
    loop = loop_in(tmp_path, data=data, initial=0, evaluate=None, oracle=AwaitTell())
    trainer = make_trainer(tmp_path, acquisition=CoreSet(encoder=torch.nn.Identity()))
    with pytest.raises(ValueError, match=r"of 8 samples, samples \[2\] of the training set"):
        loop.ask(trainer)
