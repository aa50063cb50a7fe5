import random
import warnings

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_al.acquisition.adversarial.separate_fit import fit_separately
from tests.helpers.projects import make_trainer


class Counting(L.LightningModule):
    def __init__(self, stop_at=None):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen = []
        self.stop_at = stop_at

    def training_step(self, batch, batch_idx):
        product = self.layer(batch)
        self.seen.append((batch.flatten().tolist(), product.dtype, batch.device, self.trainer))
        torch.rand(3), np.random.rand(), random.random()
        self.trainer.should_stop = len(self.seen) == self.stop_at
        return product.float().sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Endless:
    def __iter__(self):
        while True:
            yield [0, 1]


def loader():
    return DataLoader(torch.arange(2.0).view(2, 1), batch_sampler=Endless())


def test_goes_on_for_as_many_batches_as_it_is_told(tmp_path):
    module = Counting()
    fit_separately(make_trainer(tmp_path), module, loader(), steps=7, seed=0)
    assert [batch for batch, *_ in module.seen] == [[0.0, 1.0]] * 7


def test_or_until_the_module_says_stop(tmp_path):
    module = Counting(stop_at=3)
    fit_separately(make_trainer(tmp_path), module, loader(), steps=None, seed=0)
    assert len(module.seen) == 3


@pytest.mark.parametrize(
    ("precision", "computed"),
    [("32-true", torch.float32), ("64-true", torch.float64), ("bf16-mixed", torch.bfloat16)],
)
def test_precision_is_the_user_s(tmp_path, precision, computed):
    module = Counting()
    fit_separately(make_trainer(tmp_path, precision=precision), module, loader(), steps=1, seed=0)
    assert module.seen[0][1] == computed


def test_weights_are_not_rounded_to_half_precision(tmp_path):
    module = Counting()
    fit_separately(make_trainer(tmp_path, precision="bf16-true"), module, loader(), steps=1, seed=0)
    assert module.seen[0][1] == torch.bfloat16
    assert module.layer.weight.dtype == torch.float32


@pytest.mark.parametrize("shown", [True, False])
def test_progress_is_shown_where_the_user_s_is(tmp_path, shown):
    module = Counting()
    fit_separately(make_trainer(tmp_path, enable_progress_bar=shown), module, loader(), steps=1, seed=0)
    assert (module.seen[0][3].progress_bar_callback is not None) == shown


def test_nothing_is_left_behind(tmp_path):
    user, flags = make_trainer(tmp_path), (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark)
    module = Counting()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    before = (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate())
    fit_separately(user, module, loader(), steps=2, seed=0)
    assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()) == before
    assert list(tmp_path.iterdir()) == []
    assert user.global_step == 0
    assert module.seen[0][3] is not user
    assert not module.seen[0][3].loggers
    assert not module.seen[0][3].checkpoint_callbacks
    assert flags == (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark)


def test_warnings_that_were_shown_are_not_shown_again(tmp_path):
    """A change of the filters, which is global, has Python forget what it showed."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(2):
            warnings.warn("shown once", stacklevel=1)
            fit_separately(make_trainer(tmp_path), Counting(), loader(), steps=1, seed=0)
    assert [str(w.message) for w in seen].count("shown once") == 1


def test_the_environment_of_several_processes_is_not_its_own(tmp_path, monkeypatch):
    """As under torchrun, where Lightning would look for the other processes."""
    user = make_trainer(tmp_path)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    module = Counting()
    fit_separately(user, module, loader(), steps=1, seed=0)
    assert module.seen[0][3].world_size == 1
