"""Projects without a datamodule."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_al import ActiveLearningLoop, Loaders
from lightning_al.data.loaders import ModuleLoaders
from tests.helpers.processes import fork
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks


def loaders(**options):
    data = Data()
    data.setup("fit")
    return Loaders(data.train_dataloader(), data.val_dataloader(), **options)


class WithLoaders(Net):
    """Has its data with it, as in small examples."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def prepare_data(self):
        self.calls.append("prepare")

    def setup(self, stage):
        self.calls.append(stage)
        self.train_set, self.val_set = TensorDataset(*make_data()), TensorDataset(*make_data(20, seed=1))

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=4, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=10)

    def pool_dataset(self):
        return self.train_set


def run(folder, model, *datamodule, rounds=2, **options):
    loop = ActiveLearningLoop(model, *datamodule, initial=8, query_size=4, rounds=rounds, dirpath=folder / "c")
    return loop.run(make_trainer(folder, **options))


def test_all_three_forms_are_the_same_campaign(tmp_path):
    expected = run(tmp_path / "a", Net(), Data())
    given = run(tmp_path / "b", Net(), loaders(pool=TensorDataset(*make_data())))
    model = WithLoaders()
    own = run(tmp_path / "c", model)
    assert model.calls[:2] == ["prepare", "fit"]
    assert picks(given) == picks(own) == picks(expected)
    assert [r.metrics for r in given] == [r.metrics for r in own] == [r.metrics for r in expected]


@pytest.mark.slow
def test_in_several_processes(tmp_path):
    def both(folder, *project):
        strategy, devices = fork(2)
        options = {"rounds": 1, "max_epochs": 1, "strategy": strategy, "devices": devices}
        return picks(run(tmp_path / folder, *project, **options))

    expected = both("a", Net(), Data())
    assert both("b", Net(), loaders()) == both("c", WithLoaders()) == expected


def test_only_what_is_given_is_there():
    from lightning.pytorch.utilities.model_helpers import is_overridden

    some = loaders()
    assert is_overridden("val_dataloader", some)
    assert not is_overridden("test_dataloader", some)
    assert not hasattr(some, "pool_dataset")
    assert not is_overridden("test_dataloader", ModuleLoaders(WithLoaders()))


def test_loaders_in_place_of_a_datamodule(tmp_path):
    train = loaders().train_dataloader()
    for given in (train, [train], (train, train)):
        with pytest.raises(TypeError, match=r"Loaders\(train_loader, val_loader\)"):
            run(tmp_path, Net(), given)


def test_a_module_without_loaders(tmp_path):
    with pytest.raises(ValueError, match=r"Net has no `train_dataloader\(\)`.*Loaders\(train_loader"):
        run(tmp_path, Net())
    with pytest.raises(ValueError, match=r"needs a `val_dataloader\(\)`, which Loaders does not have"):
        run(tmp_path, Net(), Loaders(loaders().train_dataloader()))


@pytest.mark.parametrize("stages", [("fit",), ("fit", "validate"), ("validate",)])
def test_a_split_that_the_modules_setup_draws_anew_is_refused(tmp_path, stages):
    """Lightning calls it in every round, so that samples trained on came to be validated on."""

    class Splits(WithLoaders):
        def setup(self, stage):
            if stage in stages or not hasattr(self, "train_set"):
                self.train_set, self.val_set = random_split(TensorDataset(*make_data()), [40, 20])

    with pytest.raises(ValueError, match="of Splits drew another training set"):
        run(tmp_path, Splits())
    assert not (tmp_path / "c").exists()


def test_a_split_by_rows_that_is_drawn_anew_is_refused(tmp_path):
    class Rows(Data):
        def setup(self, stage):
            x, y = make_data()
            order = torch.randperm(60)
            self.train = TensorDataset(x[order[:40]], y[order[:40]])
            self.held_out = TensorDataset(x[order[40:]], y[order[40:]])

    with pytest.raises(ValueError, match="of Rows drew another training set"):
        run(tmp_path, Net(), Rows())


def test_a_datamodule_goes_before_the_modules_own_loaders(tmp_path):
    class Fails(WithLoaders):
        def setup(self, stage):
            pass

        def train_dataloader(self):
            raise AssertionError("asked for")

    assert picks(run(tmp_path / "a", Fails(), Data())) == picks(run(tmp_path / "b", Net(), Data()))


def test_layers_may_depend_on_the_data(tmp_path):
    """`configure_model` ran before the Trainer knew the datamodule."""

    class Lazy(L.LightningModule):
        training_step, validation_step = Net.training_step, Net.validation_step

        def configure_model(self):
            if not hasattr(self, "net"):
                features = self.trainer.datamodule.train.tensors[0].shape[1]
                self.net = torch.nn.Linear(features, 3).double()

        def forward(self, x):
            return self.net(x)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    assert len(run(tmp_path, Lazy(), Data())) == 3
