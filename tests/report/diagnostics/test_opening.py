"""A campaign that is open to be looked at: its model and samples, and that nothing of it changes."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_al import ActiveLearningLoop, AwaitTell, DatasetOracle
from lightning_al.cli.diagnose import OPEN
from lightning_al.report.diagnostics import gap, labels_kept, losses, open_campaign
from lightning_al.report.diagnostics.campaign import SampleBatches
from lightning_al.tasks import RegressionTask
from lightning_al.training import LossPredictionMixin
from tests.helpers import reference
from tests.helpers.projects import Data, Net, loop_in, make_data, make_trainer


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def snapshot(model):
    """All of a model but which attributes it has: Lightning leaves the last Trainer there."""
    return {name: value for name, value in reference.snapshot(model).items() if name != "attributes"}


def test_each_round_is_as_it_was_and_nothing_changes(campaign):
    folder, noted, history = campaign
    before, model = files_of(folder), Net(batch_norm=True).train()
    model.net[0].bias.requires_grad_(False)
    mine = snapshot(model)
    random = torch.get_rng_state()
    with open_campaign(folder, model, Data()) as kept:
        for each, state, result in zip(kept.rounds, noted.states, history, strict=True):
            seen = kept.at(each).state_dict()
            assert all(torch.equal(value, state[name]) for name, value in seen.items())
            assert all(p.requires_grad for p in model.parameters())
            assert not model.training
            assert each.picked.tolist() == result.picked
        assert kept.name == "c"
        losses([kept], samples=5)
    assert snapshot(model) == mine
    assert torch.equal(torch.get_rng_state(), random)
    assert files_of(folder) == before


def test_only_some_rounds(campaign):
    with open_campaign(campaign[0], Net(batch_norm=True), Data(), rounds=[-1, 0]) as kept:
        assert [each.number for each in kept.rounds] == [0, 2]
        assert [row[1] for row in gap([kept])[0].rows] == [0, 2]


def test_another_model_is_refused(campaign):
    model = Net()
    mine = snapshot(model)
    with open_campaign(campaign[0], model, Data()) as kept, pytest.raises(ValueError, match="weights of another model"):
        kept.at(kept.rounds[0])
    assert snapshot(model) == mine
    with pytest.raises(FileNotFoundError, match="no campaign"), open_campaign(campaign[0].parent, Net(), Data()):
        pass


def test_what_is_not_lightnings(campaign):
    with pytest.raises(TypeError, match=r"(?s)2 things.*`model` must be.*`datamodule` must be"):
        with open_campaign(campaign[0], torch.nn.Linear(4, 3), make_data()):
            pass


class Reversed(Data):
    """The same samples in another order."""

    def setup(self, stage):
        super().setup(stage)
        x, y = make_data(self.n)
        self.train = TensorDataset(x.flip(0), y.flip(0))


def test_samples_are_found_again(campaign):
    with open_campaign(campaign[0], Net(batch_norm=True), Reversed()) as moved:
        with open_campaign(campaign[0], Net(batch_norm=True), Data()) as kept:
            for one, other in zip(moved.rounds, kept.rounds, strict=True):
                assert (59 - one.labelled).tolist() == other.labelled.tolist()
                assert (59 - one.picked).tolist() == other.picked.tolist()
            assert gap([moved])[0].rows == [["c", *row[1:]] for row in gap([kept])[0].rows]


class Hidden(Data):
    """A pool without targets."""

    def pool_dataset(self):
        return [(x, torch.tensor(-1)) for x, _ in self.train]


@pytest.mark.slow
def test_labels_that_the_pool_hides(campaign, tmp_path):
    with open_campaign(campaign[0], Net(batch_norm=True), Hidden()) as kept:
        each = kept.rounds[1]
        x, y = make_data()
        targets = torch.cat([t for _, t in kept.batches(each.candidates, labels=True)])
        assert torch.equal(targets, y[each.candidates])
        inputs = torch.cat([x for x, _ in kept.batches(kept.trained_on(each), labels=False)])
        assert torch.equal(inputs, x[each.labelled])


@pytest.mark.slow
def test_labels_that_another_dataset_has(tmp_path):
    x, y = make_data()
    truth = TensorDataset(x, (y + 1) % 3)
    loop = loop_in(tmp_path, rounds=1, oracle=DatasetOracle(truth), keep_weights=True)
    loop.run(make_trainer(tmp_path, max_epochs=1))
    with open_campaign(tmp_path / "c", Net(), Data(), oracle=DatasetOracle(truth)) as kept:
        told = torch.isin(torch.arange(60), kept.rounds[-1].labelled)
        targets = torch.cat([t for _, t in kept.batches(torch.arange(60), labels=True)])
        assert torch.equal(targets, (y + 1) % 3)
    with open_campaign(tmp_path / "c", Net(), Data()) as kept:  # whose oracle is not known
        targets = torch.cat([t for _, t in kept.batches(torch.arange(60), labels=True)])
        assert torch.equal(targets, torch.where(told, (y + 1) % 3, y))


@pytest.mark.slow
def test_told_labels_are_what_was_told(tmp_path):
    class Unlabelled(Data):
        def setup(self, stage):
            super().setup(stage)
            self.train = TensorDataset(make_data(self.n)[0], torch.full((self.n,), -1))

    loop = ActiveLearningLoop(
        Net(), Unlabelled(), initial=6, query_size=3, rounds=2, oracle=AwaitTell(), keep_weights=True,
        dirpath=tmp_path / "c",
    )  # fmt: skip
    told = {}
    for _ in range(3):
        loop.run(make_trainer(tmp_path), resume=True)
        indices = loop.pool.pending.tolist()
        told |= {i: (i + 1) % 3 for i in indices}
        loop.tell(indices, [told[i] for i in indices])
    loop.run(make_trainer(tmp_path), resume=True)
    with open_campaign(tmp_path / "c", Net(), Unlabelled()) as kept:
        last = kept.rounds[-1]
        targets = torch.cat([t for _, t in kept.batches(kept.trained_on(last), labels=True)])
        assert targets.tolist() == [told[i] for i in last.labelled.tolist()]
        losses([kept], samples=5)  # needs no label that nobody told
        with pytest.raises(ValueError, match=r"labels of samples that nobody labelled.*-1"):
            labels_kept([kept], samples=5)


@pytest.mark.slow
def test_known_samples_beside_the_pool(tmp_path):
    class Beside(Data):
        def train_dataloader(self):
            return DataLoader(Subset(self.train, range(10)), batch_size=4, shuffle=True)

        def unlabelled_dataset(self):
            return Subset(self.train, range(10, 60))

        pool_dataset = None

    loop = loop_in(tmp_path, data=Beside(), initial=0, query_size=5, keep_weights=True)
    loop.run(make_trainer(tmp_path))
    with open_campaign(tmp_path / "c", Net(), Beside()) as kept:
        x, y = make_data()
        first = kept.rounds[0]
        assert first.count == 10
        assert len(first.labelled) == 0
        inputs, targets = (torch.cat(part) for part in zip(*kept.batches(kept.trained_on(first), labels=True)))
        assert torch.equal(inputs, x[:10])
        assert torch.equal(targets, y[:10])
        [found] = losses([kept], samples=5)
        assert found.rows[0][5] == pytest.approx(found.rows[0][3] / 6 + found.rows[0][4] * 5 / 6)


@pytest.mark.slow
def test_what_a_fit_leaves_beside_the_weights(tmp_path):
    class Annealed(Net):
        """With a temperature that falls epoch by epoch, and layers frozen halfway."""

        temperature = 1.0

        def forward(self, x):
            return self.net(x) / self.temperature

        def on_train_epoch_end(self):
            self.temperature = self.temperature / 2
            self.net[0].requires_grad_(False)

    loop_in(tmp_path, model=Annealed(), keep_weights=True).run(make_trainer(tmp_path, max_epochs=3))
    model = Annealed()
    with open_campaign(tmp_path / "c", model, Data()) as kept:
        kept.at(kept.rounds[1])
        assert model.temperature == 0.125
        assert [p.requires_grad for p in model.net[0].parameters()] == [False, False]
    assert model.temperature == 1.0
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.slow
def test_a_project_without_a_datamodule_or_metrics(tmp_path):
    class Whole(Net):
        def train_dataloader(self):
            return DataLoader(TensorDataset(*make_data()), batch_size=4, shuffle=True)

        def predict_dataloader(self):
            return DataLoader(TensorDataset(*make_data()), batch_size=4)

    loop = ActiveLearningLoop(
        Whole(), initial=6, query_size=3, rounds=1, evaluate=None, keep_weights=True, pool="predict",
        dirpath=tmp_path / "c",
    )  # fmt: skip
    loop.run(make_trainer(tmp_path))
    with open_campaign(tmp_path / "c", Whole(), pool="predict") as kept:
        assert len(losses([kept], samples=5)[0].rows) == 2
        with pytest.raises(ValueError, match="evaluated on nothing"):
            gap([kept])


def test_a_task_that_has_no_classes(campaign):
    class One(Net):
        def __init__(self):
            super().__init__(batch_norm=True)

        def forward(self, x):
            return super().forward(x)[:, 0]

    with open_campaign(campaign[0], One(), Data(), task=RegressionTask()) as kept:
        with pytest.raises(ValueError, match="needs logits, which a RegressionTask has not"):
            gap([kept])


def test_batches_are_read_once_where_they_are_few():
    reads = []

    def read():
        reads.append(1)
        yield from [(torch.zeros(4), None), (torch.ones(4), None)]

    few, many = SampleBatches(read, limit=100), SampleBatches(read, limit=20)
    for batches, passes in ((few, 1), (many, 3)):
        reads.clear()
        assert all([float(x.sum()) for x, _ in batches] == [0.0, 4.0] for _ in range(3))
        assert len(reads) == passes


def test_a_module_that_is_made_of_first_samples(tmp_path):
    class Learner(LossPredictionMixin, Net):
        """Has a loss-prediction module that is made once it has seen the layers' outputs."""

        loss_layers = ("net.0", "net.1")

    loop_in(tmp_path, model=Learner(), keep_weights=True, rounds=1).run(make_trainer(tmp_path, max_epochs=1))
    model = Learner()
    own = {name: value.clone() for name, value in model.state_dict().items()}
    with open_campaign(tmp_path / "c", model, Data()) as kept:
        state = {name: value.clone() for name, value in kept.at(kept.rounds[1]).state_dict().items()}
        assert set(own) < set(state)
    left = model.state_dict()
    assert all(torch.equal(left[name], own.get(name, value)) for name, value in state.items())


def test_two_campaigns_of_one_name_are_not_taken_for_one(kept):
    other = replace(kept, dirpath=kept.dirpath.parent / "other")
    for show in OPEN.values():
        with pytest.raises(ValueError, match=r"called 'kept' would be taken for one: .*c, .*other. .*`open_campaign\("):
            show([kept, other])


def test_a_campaign_is_called_after_its_method_where_its_folder_counts_repeats(campaign, tmp_path):
    folder = shutil.copytree(campaign[0], tmp_path / "saal/seed_0")
    with open_campaign(folder, Net(batch_norm=True), Data()) as kept:
        assert kept.name == "saal"
