"""The fp16 loss scaler begins each fit as it did the first, of a second campaign too."""

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from tests.helpers.projects import loop_in, make_trainer


class Scales(L.Callback):
    """Takes down the scale that each fit begins with."""

    def __init__(self, begun):
        self.begun = begun

    def on_train_start(self, trainer, pl_module):
        self.begun.append(trainer.precision_plugin.scaler.get_scale())


@pytest.fixture
def begun():
    return []


@pytest.fixture
def trainer(tmp_path, begun):
    """One whose scale doubles with every step, of which the first fit has two, and each later one more."""
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    return make_trainer(tmp_path, Scales(begun), plugins=[MixedPrecision("16-mixed", "cpu", scaler)], max_epochs=1)


def test_a_second_campaign_of_one_trainer_begins_as_the_first(tmp_path, trainer, begun):
    for name in "ab":
        loop_in(tmp_path / name).run(trainer)
        assert trainer.precision_plugin.scaler.get_scale() == 8.0 * 2**4  # left to be looked at
    assert begun == [8.0] * 6


def test_one_that_goes_on_does_so_within_its_campaign(tmp_path, trainer, begun):
    for name in "ab":
        loop_in(tmp_path / name, reset="continue").run(trainer)
    loop_in(tmp_path / "a", reset="continue", rounds=3).run(trainer, resume=True)
    assert begun == [8.0, 8.0 * 2**2, 8.0 * 2**5] * 2 + [8.0 * 2**9]


def test_what_somebody_has_set_since_stands(tmp_path, trainer, begun):
    loop_in(tmp_path / "a", rounds=0).run(trainer)
    trainer.precision_plugin.scaler.update(2.0)
    loop_in(tmp_path / "b", rounds=1).run(trainer)
    assert begun == [8.0, 2.0, 2.0]
