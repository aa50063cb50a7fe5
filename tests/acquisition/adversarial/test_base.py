import json
import warnings

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import SRAAL, VAAL
from lightning_al.acquisition.adversarial.training import AdversarialTraining
from tests.helpers.marks import slow
from tests.helpers.processes import run
from tests.helpers.projects import Net, make_trainer, picks

# What is picked by definition, on any number of processes: tests/acquisition/test_contract.py.

BOTH = pytest.mark.parametrize("cls", [VAAL, SRAAL])
SMALL = {"steps": 3, "width": 2}


class Pictures(L.LightningDataModule):
    """Inputs of any shape; labels follow from their mean."""

    def __init__(self, shape=(1, 8, 8), n=24, inputs=None):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.y = torch.arange(n) % 2
        x = torch.randn(n, *shape, generator=g) + self.y.view(-1, *[1] * len(shape))
        self.data = TensorDataset(x if inputs is None else inputs(x), self.y)

    def train_dataloader(self):
        return DataLoader(self.data, batch_size=4, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.data, batch_size=8)

    def pool_dataset(self):
        return self.data


class Averages(Net):
    """Takes inputs of any shape and kind."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 2)

    def forward(self, x):
        x = x if isinstance(x, torch.Tensor) else x["a"]
        return self.net(x.to(self.net.weight.dtype).flatten(1).mean(1, keepdim=True))


def campaign(tmp_path, acquisition, data=None, model=None, resume=False, **options):
    options = {"initial": 4, "query_size": 3, "rounds": 2, "dirpath": tmp_path / "campaign", **options}
    loop = ActiveLearningLoop(model or Averages(), data or Pictures(), **options)
    loop.run(make_trainer(tmp_path, acquisition=acquisition, max_epochs=1), resume=resume)
    return loop


@pytest.mark.slow
@BOTH
def test_nobody_is_warned_of_loaders_that_are_not_theirs(tmp_path, monkeypatch, cls):
    where = "lightning.pytorch.trainer.connectors.data_connector.suggested_max_num_workers"
    monkeypatch.setattr(where, lambda *_: 16)  # as on a larger machine
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        campaign(tmp_path, cls(**SMALL), rounds=1)
    told = [str(w.message) for w in seen if "does not have many workers" in str(w.message)]
    assert sum("train_dataloader" in message for message in told) == 1  # of the user's fits, once


# ------------------------------------------------------------------------------------------------------------- options


# -------------------------------------------------------------------------------------------------------------- shapes


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("cls", "shape"),
    [
        *((VAAL, shape) for shape in ((3,), (3, 9, 14))),
        *(slow(VAAL, shape) for shape in ((1, 8, 8), (5, 11), (1, 4, 9, 5))),
        (SRAAL, (5, 11)),
        *(slow(SRAAL, shape) for shape in ((3,), (1, 8, 8), (3, 9, 14), (1, 4, 9, 5))),
    ],
)
def test_inputs_of_many_shapes(tmp_path, cls, shape):
    loop = campaign(tmp_path, cls(**SMALL), Pictures(shape))
    assert [len(r.picked) for r in loop.history] == [3, 3, 0]
    assert all(score >= 0 for r in loop.history for score in r.scores)


@pytest.mark.few(1)
@BOTH
def test_images_of_bytes(tmp_path, cls):
    data = Pictures(inputs=lambda x: (60 * x + 100).clamp(0, 255).byte())
    campaign(tmp_path, cls(**SMALL), data)


class Fits(L.Callback):
    def on_fit_start(self, trainer, pl_module):
        raise AssertionError("this was to be refused before anything trains")


@BOTH
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (lambda x: (x * 9).long(), "got torch.int64. Override `inputs"),
        (lambda x: x.view(-1, 1, 1, 4, 4, 4), "1 to 4 axes.*Override `inputs"),
    ],
)
def test_what_has_no_network_is_refused_before_anything_trains(tmp_path, cls, inputs, message):
    loop = ActiveLearningLoop(Averages(), Pictures(inputs=inputs), initial=4, query_size=3)
    with pytest.raises((TypeError, ValueError), match=message):
        loop.run(make_trainer(tmp_path, Fits(), acquisition=cls(**SMALL)))


class Pairs(Pictures):
    def collate(self, samples):
        x, y = torch.utils.data.default_collate(samples)
        return {"a": x, "b": x}, y

    def train_dataloader(self):
        return DataLoader(self.data, batch_size=4, shuffle=True, collate_fn=self.collate)

    def val_dataloader(self):
        return DataLoader(self.data, batch_size=8, collate_fn=self.collate)


def test_inputs_of_several_tensors_take_a_method(tmp_path):
    loop = ActiveLearningLoop(Averages(), Pairs(), initial=4, query_size=3)
    with pytest.raises(TypeError, match=r"got a dict. Override `inputs\(batch\)` in a subclass of VAAL"):
        loop.run(make_trainer(tmp_path, Fits(), acquisition=VAAL(**SMALL)))

    class First(VAAL):
        def inputs(self, batch):
            return batch[0]["a"]

    campaign(tmp_path, First(**SMALL), Pairs())


# ------------------------------------------------------------------------------------------------- budgets and batches


@pytest.mark.few(1)
@pytest.mark.parametrize(("cls", "labelled"), [(VAAL, [5]), (SRAAL, [5, 8]), slow(VAAL, [5, 8]), slow(SRAAL, [5])])
def test_fewer_labels_than_a_batch(tmp_path, cls, labelled):
    loop = campaign(tmp_path, cls(**SMALL, batch_size=64), initial=labelled, rounds=1)
    assert len(loop.history[0].picked) == 3


@pytest.mark.slow
def test_fewer_labels_than_processes(tmp_path):
    options = {"initial": [5], "query_size": 3, "rounds": 1, "model": None}
    one, _ = run(tmp_path, 1, acquisition=VAAL(**SMALL), **options)
    three, _ = run(tmp_path, 3, acquisition=VAAL(**SMALL), **options)
    assert picks(one) == picks(three)


@pytest.mark.few(1)
@BOTH
def test_a_budget_of_seconds_ends(tmp_path, cls, monkeypatch):
    steps = []
    original = AdversarialTraining.training_step
    monkeypatch.setattr(
        AdversarialTraining, "training_step", lambda self, *args: (steps.append(1), original(self, *args))[1]
    )
    campaign(tmp_path, cls(steps=None, seconds=0.3, width=2), rounds=1)
    assert len(steps) >= 1


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("cls", "precision"),
    [
        *((VAAL, precision) for precision in ("bf16-mixed", "64-true")),
        (SRAAL, "bf16-true"),
        slow(VAAL, "bf16-true"),
        *(slow(SRAAL, precision) for precision in ("bf16-mixed", "64-true")),
    ],
)
def test_precisions(tmp_path, cls, precision):
    loop = ActiveLearningLoop(Averages(), Pictures((1, 9, 8)), initial=4, query_size=3, rounds=1)
    history = loop.run(make_trainer(tmp_path, acquisition=cls(**SMALL), max_epochs=1, precision=precision))
    assert len(set(history[0].scores)) == 3  # and not rounded to equal ones


# ---------------------------------------------------------------------------------------------- what a campaign keeps


class Killed(AdversarialTraining):
    """Killed in the middle of the second round's training."""

    fits = 0

    def training_step(self, batch, batch_idx):
        Killed.fits += batch_idx == 0
        if Killed.fits == 2 and batch_idx == 1:
            raise KeyboardInterrupt
        return super().training_step(batch, batch_idx)


@pytest.mark.few(1)
@BOTH
def test_a_campaign_that_is_killed_in_training_goes_on(tmp_path, cls, monkeypatch):
    whole = campaign(tmp_path / "whole", cls(**SMALL), rounds=3)
    with monkeypatch.context() as patched, pytest.raises((KeyboardInterrupt, SystemExit)):
        patched.setattr(Killed, "fits", 0)
        patched.setattr("lightning_al.acquisition.adversarial.base.AdversarialTraining", Killed)
        campaign(tmp_path / "part", cls(**SMALL), rounds=3)
    resumed = campaign(tmp_path / "part", cls(**SMALL), rounds=3, resume=True)
    assert picks(resumed.history) == picks(whole.history)


@pytest.mark.few(1)
@BOTH
def test_a_campaign_that_is_killed_after_training_does_not_train_again(tmp_path, cls, monkeypatch):
    class Tired(cls):
        def select(self, rows, k, **more):
            raise KeyboardInterrupt

    Tired.__name__ = cls.__name__
    whole = campaign(tmp_path / "whole", cls(**SMALL), rounds=1)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        campaign(tmp_path / "part", Tired(**SMALL), rounds=1)
    [file] = (tmp_path / "part").rglob(f"{cls.__name__.lower()}_*.ckpt")
    torch.load(file, weights_only=True)
    monkeypatch.delattr("lightning_al.acquisition.adversarial.base.fit_separately")
    resumed = campaign(tmp_path / "part", cls(**SMALL), rounds=1, resume=True)
    assert picks(resumed.history) == picks(whole.history)


@pytest.mark.few(1)
@BOTH
def test_nothing_of_the_networks_is_in_the_user_s_things(tmp_path, cls):
    acquisition, model = cls(**SMALL), Averages()
    names = list(model.state_dict())

    class Saves(L.Callback):
        def on_query_end(self, trainer, pl_module, loop):
            assert acquisition._networks is not None
            assert list(pl_module.state_dict()) == names
            assert sum(len(g["params"]) for o in trainer.optimizers for g in o.param_groups) == len(names)
            trainer.save_checkpoint(tmp_path / "saved.ckpt", weights_only=False)

    loop = ActiveLearningLoop(model, Pictures(), initial=4, query_size=3, rounds=1, dirpath=tmp_path / "campaign")
    loop.run(make_trainer(tmp_path, Saves(), acquisition=acquisition, max_epochs=1))
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=False)
    assert list(saved["state_dict"]) == names
    assert not [key for key in saved["callbacks"] if cls.__name__ in key]
    assert acquisition._networks is None
    started = json.loads(sorted((tmp_path / "campaign" / "ledger").glob("*.json"))[0].read_text())
    assert started["options"]["acquisition"]["steps"] == 3


def test_the_users_transfer_hooks_make_what_the_networks_learn_from(tmp_path):
    """Or they would be scored on other inputs than they were trained on."""
    seen = []

    class Scaled(Pictures):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return [batch[0] * 100, batch[1]]

    class Watching(VAAL):
        def inputs(self, batch):
            seen.append(float(batch[0].abs().max()))
            return super().inputs(batch)

    campaign(tmp_path, Watching(**SMALL), Scaled(), rounds=1)
    assert min(seen) > 50


def test_inputs_are_standardised_per_channel(tmp_path):
    """A channel may be constant."""
    found = []

    class Watching(VAAL):
        def learn(self, query):
            super().learn(query)
            found.append(self._networks.vae)

    def uneven(x):
        return torch.cat([x * 100 + 7, torch.full_like(x, 0.3)], 1)

    data = Pictures(inputs=uneven)
    campaign(tmp_path, Watching(**SMALL), data, rounds=1)
    x = data.data.tensors[0].double()
    torch.testing.assert_close(found[0].shift.flatten().double(), x.mean((0, 2, 3)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0].scale.flatten().double()[0], x[:, 0].std(correction=0), rtol=1e-5, atol=0)
    assert found[0].scale.flatten()[1] == 1


def test_a_training_that_diverges_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"diverged. Lower `lr=1e\+30`"):
        campaign(tmp_path, VAAL(steps=9, width=2, lr=1e30))


def test_sraal_refuses_targets_that_are_no_classes(tmp_path):
    class Vague(Pictures):
        def pool_dataset(self):
            x, y = self.data.tensors
            return TensorDataset(x, torch.stack([y, y], 1))

    with pytest.raises((TypeError, ValueError, RuntimeError)):
        campaign(tmp_path, SRAAL(**SMALL), Vague())


# ------------------------------------------------------------------------------------------------------------ what for


def auc(scores, wanted):
    """The share of pairs that are in order."""
    above = scores[wanted].unsqueeze(1) - scores[~wanted].unsqueeze(0)
    return float(((above > 0).double() + 0.5 * (above == 0).double()).mean())


def separation(tmp_path, data, y, model, acquisition_class, **options):
    """How well candidates of other classes are told from those of the one class that has labels."""
    seen = {}

    class Watching(acquisition_class):
        def select(self, rows, k, **more):
            seen.update(rows)
            return super().select(rows, k, **more)

    labelled = (y == 0).nonzero().flatten()[: len(y) // 20].tolist()
    campaign(tmp_path, Watching(**options), data, model, initial=labelled, rounds=1, query_size=1)
    return auc(seen["score"], y[seen["index"]] != 0)


class Shapes(Pictures):
    """Squares on the left, and on the right."""

    def __init__(self):
        super().__init__((1, 12, 9), n=400)
        x = 0.3 * self.data.tensors[0]
        x[self.y == 0, :, 2:8, :4] += 1
        x[self.y == 1, :, 2:8, 5:] += 1
        self.data = TensorDataset(x, self.y)


@pytest.mark.slow
def test_a_discriminator_tells_the_class_that_has_labels_from_another(tmp_path):
    data = Shapes()
    assert separation(tmp_path, data, data.y, Averages(), VAAL, steps=40, width=8, batch_size=32) > 0.9


@pytest.mark.slow
def test_vaal_separates_digits_whose_labelled_part_is_one_class(tmp_path):
    pytest.importorskip("sklearn")
    from lightning_al.zoo import Classifier, DigitsDataModule, SmallCNN

    data = DigitsDataModule()
    data.setup("fit")
    y = torch.tensor([int(label) for _, label in data.pool_dataset()])
    model = Classifier(SmallCNN(num_classes=10, in_channels=1), num_classes=10)
    assert separation(tmp_path, data, y, model, VAAL, steps=100, width=16, batch_size=32) > 0.9
