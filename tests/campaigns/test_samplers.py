"""Campaigns of projects with samplers, buckets and several train loaders: the batches, drawn by hand."""

import pytest
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from lightning_al import ActiveLearningLoop, Loaders
from lightning_al.distributed.randomness import derive_seed
from lightning_al.fitting.repeated import RepeatedFit
from tests.helpers.beside import KNOWN, Split, row_of
from tests.helpers.marks import slow
from tests.helpers.moving import Y
from tests.helpers.processes import Frozen, fork
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks

WEIGHTS = [float(i % 7 + 1) for i in range(60)]


class Weighted(Data):
    def train_dataloader(self):
        return DataLoader(self.train, batch_size=4, sampler=WeightedRandomSampler(WEIGHTS, 90))


def batches_of(labelled):
    """Buckets: rows alike together, longer batches of those that are small."""
    small = [i for i, (x, _) in enumerate(labelled) if x[0] < 0]
    large = [i for i in range(len(labelled)) if i not in small]
    order = torch.randperm(len(small)).tolist()
    batches = [[small[i] for i in order[at : at + 3]] for at in range(0, len(small), 3)]
    return batches + [large[at : at + 2] for at in range(0, len(large), 2)]


class Buckets(BatchSampler):
    """Its batches are as they come from the labelled part."""

    def __init__(self, labelled):
        self.batches, self.batch_size, self.drop_last = batches_of(labelled), 3, False

    def __iter__(self):
        yield from (self.batches[i] for i in torch.randperm(len(self.batches)).tolist())

    def __len__(self):
        return len(self.batches)


class Bucketed(Data):
    def train_dataloader(self):
        return DataLoader(self.train, batch_sampler=Buckets(self.train))

    def sampler_factory(self, labelled):
        return Buckets(labelled)


class Several(Data):
    pool_loader = "labelled"

    def train_dataloader(self):
        others = TensorDataset(torch.arange(35.0))
        return CombinedLoader({"labelled": super().train_dataloader(), "more": DataLoader(others, 5)}, "max_size_cycle")


class Seen(Net):
    """Notes the rows of the batches of each fit, and how many steps the Trainer foresees."""

    def __init__(self, **options):
        super().__init__(**options)
        self.fits, self.more, self.steps = [], [], []

    def on_fit_start(self):
        self.fits.append([])
        self.steps.append(self.trainer.estimated_stepping_batches)

    def training_step(self, batch, batch_idx):
        if isinstance(batch, dict):
            self.more.append(batch["more"][0].tolist())
            batch = batch["labelled"]
        self.fits[-1].append([row_of(x) for x in batch[0]])
        return super().training_step(batch, batch_idx)


def campaign(folder, data, model, *, trainer=(), **options):
    loop = ActiveLearningLoop(
        model, data, **{"initial": 8, "query_size": 4, "rounds": 2, "seed": 5, "dirpath": folder, **options}
    )
    return loop, loop.run(make_trainer(folder.parent, **dict(trainer)), resume=options.get("rounds") == 1)


def test_weights_of_each_round_are_those_of_what_is_labelled(tmp_path):
    model = Seen()
    loop, _ = campaign(tmp_path / "c", Weighted(), model)
    assert [len(fit) for fit in model.fits] == model.steps == [2 * 3, 2 * 5, 2 * 6]  # 12, 18, 24 draws
    for fit, (rows, at) in enumerate(zip(model.fits, (8, 12, 16), strict=True)):
        labelled = loop.pool.labelled[:at].tolist()
        seed = derive_seed(5, fit, "order") % 2**31
        for epoch in (0, 1):
            generator = torch.Generator().manual_seed(derive_seed(seed, "draws", epoch))
            sampler = WeightedRandomSampler([WEIGHTS[i] for i in labelled], at * 3 // 2, generator=generator)
            order = [labelled[i] for i in sampler]
            half = rows[epoch * len(rows) // 2 :][: len(rows) // 2]
            assert half == [order[i : i + 4] for i in range(0, len(order), 4)]


def test_buckets_are_made_anew_of_what_is_labelled(tmp_path):
    model = Seen()
    loop, _ = campaign(tmp_path / "c", Bucketed(), model)
    x = make_data()[0]
    for rows, at in zip(model.fits, (8, 12, 16), strict=True):
        labelled = loop.pool.labelled[:at].tolist()
        small = sum(bool(x[i, 0] < 0) for i in labelled)
        expected = -(-small // 3) + -(-(at - small) // 2)
        assert len(rows) == 2 * expected
        one, two = rows[:expected], rows[expected:]
        assert one != two
        for epoch in (one, two):
            assert sorted(i for batch in epoch for i in batch) == sorted(labelled)
            assert all(len({bool(x[i, 0] < 0) for i in batch}) == 1 for batch in epoch)
    assert [len(fit) for fit in model.fits] == model.steps


def test_of_several_loaders_one_is_the_pools_and_the_others_stay(tmp_path):
    model = Seen()
    loop, history = campaign(tmp_path / "c", Several(), model)
    assert [len(fit) for fit in model.fits] == model.steps == [14, 14, 14]  # 7 batches of the other, twice
    assert model.more[:7] == torch.arange(35.0).view(7, 5).tolist()
    for rows, at in zip(model.fits, (8, 12, 16), strict=True):
        labelled = loop.pool.labelled[:at].tolist()
        batches = at // 4
        assert sorted(i for batch in rows[:batches] for i in batch) == sorted(labelled)
        assert {i for batch in rows for i in batch} == {*labelled}
    assert len(history) == 3


@pytest.mark.parametrize("form", ["list", slow("tuple"), slow("dict"), slow("combined")])
def test_loaders_in_every_form(tmp_path, form):
    data = Data()
    data.setup("fit")
    train, others = data.train_dataloader(), DataLoader(TensorDataset(torch.arange(9.0)), 3)
    forms = {"list": [others, train], "tuple": (others, train), "dict": {0: others, 1: train}}
    given = forms.get(form, CombinedLoader([others, train], "min_size"))

    class Net_(Net):
        def training_step(self, batch, batch_idx):
            assert batch[0][0].dim() == 1
            return super().training_step(batch[1], batch_idx)

    loaders = Loaders(given, data.val_dataloader(), pool=data.train, pool_loader=1)
    assert len(campaign(tmp_path / "c", loaders, Net_(), rounds=1)[1]) == 2
    for wrong in (2, "labelled", True, -1):
        with pytest.raises(ValueError, match=r"is none of the train loaders: there are .0, 1."):
            campaign(tmp_path / "d", Loaders(given, data.val_dataloader(), pool_loader=wrong), Net_())
    assert not (tmp_path / "d").exists()


class Killed(Seen):
    def on_train_epoch_end(self):
        if self.current_epoch == 1 and len(self.fits) == 2:
            raise RuntimeError("killed")


def fetched_ahead():
    return Data(num_workers=1)


@pytest.mark.few(2)
@pytest.mark.parametrize("make", [Weighted, Bucketed, Several, fetched_ahead])
def test_a_fit_that_was_killed_goes_on_with_its_draws(tmp_path, monkeypatch, make):
    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", 0.0)

    def run(name, model):
        campaign(tmp_path / name, make(), model, rounds=1, trainer={"max_epochs": 3})
        return model

    whole, again = run("whole", Seen()), Seen()
    with pytest.raises(RuntimeError, match="killed"):
        run("part", Killed())
    run("part", again)
    rest = again.fits[0]
    assert rest == whole.fits[1][-len(rest) :]
    assert (len(rest) == len(whole.fits[1])) == (make is Several)  # the order of other loaders is not the loop's
    for one, other in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "processes"), [(Weighted, 2), slow(Weighted, 3), slow(Bucketed, 2), slow(Bucketed, 3)]
)
def test_on_several_processes(tmp_path, make, processes):
    strategy, devices = fork(processes)
    _, one = campaign(tmp_path / "one", make(), Frozen(), rounds=1)
    _, many = campaign(
        tmp_path / "many", make(), Frozen(), rounds=1, trainer={"strategy": strategy, "devices": devices}
    )
    assert picks(one) == picks(many)


# -- beside an unlabelled set ------------------------------------------------------------------------------------------


class Balanced(Split):
    """Classes in equal parts, of what is labelled."""

    def sampler_factory(self, labelled):
        classes = torch.tensor([int(y) for _, y in labelled])
        return WeightedRandomSampler((1.0 / classes.bincount(minlength=3).clamp(min=1))[classes].tolist(), 12)


def test_a_factory_sees_all_that_is_labelled(tmp_path):
    model, data = Seen(), Balanced()
    campaign(tmp_path / "c", data, model, initial=0, rounds=2)
    assert [len(fit) for fit in model.fits] == [6, 6, 6]
    rows = [i for batch in model.fits[2] for i in batch]
    assert len(rows) == 24
    assert {*rows} - {*KNOWN}
    first = [i for batch in model.fits[0] for i in batch]
    assert {*first} <= {*KNOWN}
    assert len({int(Y[i]) for i in first}) > 1


def test_weights_of_the_training_set_alone_are_refused_with_the_way_out(tmp_path):
    class Some(Split):
        def train_dataloader(self):
            return DataLoader(self.train, 4, sampler=WeightedRandomSampler([1.0] * len(KNOWN), 8))

    with pytest.raises(ValueError, match=r"no weights for the samples of `unlabelled_dataset\(\)`.*sampler_factory"):
        campaign(tmp_path / "c", Some(), Net(), initial=0)
    with pytest.raises(ValueError, match=r"`known_share` makes up the batches.*the training set comes first"):
        campaign(tmp_path / "c", Balanced(), Net(), initial=0, known_share=0.5)
    assert not (tmp_path / "c").exists()


def test_batch_samplers_of_torch_need_no_factory(tmp_path):
    class Plain(Data):
        def train_dataloader(self):
            return DataLoader(self.train, batch_sampler=BatchSampler(RandomSampler(self.train), 4, drop_last=False))

    one, other = Seen(), Seen()
    campaign(tmp_path / "a", Plain(), one)
    campaign(tmp_path / "b", Data(), other)
    assert one.fits == other.fits


@pytest.mark.parametrize("factory", [None, 3])
def test_a_factory_that_is_none(tmp_path, factory):
    data = Data()
    data.sampler_factory = factory
    if factory is None:
        assert len(campaign(tmp_path / "c", data, Net(), rounds=1)[1]) == 2
        return
    with pytest.raises(TypeError, match=r"must be a method that returns a sampler.*got int"):
        campaign(tmp_path / "c", data, Net(), rounds=1)
