"""What is SAM's own under manual optimization."""

import pytest
import torch
from torch import nn

from tests.helpers.sam_reference import (
    EXACT,
    ManualFront,
    Plain,
    distance,
    expected,
    fitted,
    loader,
    network,
    sgd,
    trainer,
)


def test_the_users_hook_sees_the_gradient_before_clipping():
    class Net(ManualFront):
        def on_before_optimizer_step(self, optimizer):
            self.norm = torch.cat([w.grad.flatten() for w in self.parameters()]).norm().item()

    model = fitted(Net(gradient_clip_val=1e-3), max_steps=1)
    after = torch.cat([w.grad.flatten() for w in model.parameters()]).norm().item()
    assert after == pytest.approx(1e-3, rel=1e-3)
    assert model.norm > 0.05


def test_only_parameters_of_the_optimizer_count():
    class Net(ManualFront):
        def __init__(self):
            super().__init__()
            self.outside = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) + (5 * self.outside).sum()

        def configure_optimizers(self):
            return sgd(self.net.parameters())

    model = fitted(Net())
    assert distance(model.net, expected()) < EXACT
    assert model.outside.tolist() == [1.0] * 3


def test_a_window_of_none_makes_no_step():
    class Net(ManualFront):
        def training_step(self, batch, batch_idx):
            return None

    model = Net()
    fit = trainer()
    fit.fit(model, loader())
    assert fit.global_step == 0
    assert distance(model.net, network()) == 0


def test_training_step_outside_of_training_is_the_users():
    class Net(ManualFront):
        def validation_step(self, batch, batch_idx):
            return self.training_step(batch, batch_idx)

    model = Net()
    loss = Plain.training_step(Plain(), next(iter(loader())), 0)
    assert model.training_step(next(iter(loader())), 0).item() == loss.item()
    trainer().validate(model, loader(), verbose=False)
    assert distance(model.net, network()) == 0
    assert set(model.passes) == {0}
