import copy
import math

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.functional import nt_xent_loss
from lightning_al.zoo import PlainCNN, SimCLR
from lightning_al.zoo.simclr import TwoViews, rate, simclr_augmentation

QUIET = {
    **{"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False},
    **{"enable_progress_bar": False, "enable_model_summary": False},
}


def make(**options):
    torch.manual_seed(0)
    net = PlainCNN(num_classes=3, in_channels=3, size=8, width=2)
    options = {"projection": 4, "optimizer": lambda params: torch.optim.SGD(params, lr=0.1), **options}
    return SimCLR(net, **options)


class TestViews:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_two_of_each_image(self, channels):
        pytest.importorskip("torchvision")
        images = torch.rand(4, channels, 8, 8, generator=torch.Generator().manual_seed(0))
        views = make().views(TensorDataset(images, torch.arange(4)))
        assert len(views) == 4
        first, second = views[1]
        assert first.shape == second.shape == (channels, 8, 8)
        assert not torch.equal(first, second)
        for view in (*views[0], *views[3]):
            assert float(view.min()) >= 0
            assert float(view.max()) <= 1

    def test_what_changes(self):
        """A grey ramp of one colour: colours change its channels, parts and mirrors its order."""
        pytest.importorskip("torchvision")
        torch.manual_seed(0)
        flat = torch.tensor([0.7, 0.4, 0.2]).view(3, 1, 1).expand(3, 8, 8).contiguous()
        colours = [simclr_augmentation((8, 8), colour=0.5)(flat) for _ in range(60)]
        assert sum(bool((view[0] - view[1]).abs().max() < 1e-6) for view in colours) in range(4, 22)  # a fifth is grey
        assert all(float(view.flatten(1).std(1).max()) < 1e-5 for view in colours)
        ramp = torch.linspace(0, 1, 8).expand(1, 8, 8)
        parts = [simclr_augmentation((8, 8), smallest_crop=0.5, colour=0)(ramp) for _ in range(60)]
        falling = sum(float(view[0, 0, 0]) > float(view[0, 0, -1]) for view in parts)
        assert falling in range(15, 46)
        assert {len(torch.unique(view)) > 2 for view in parts} == {True}
        whole = simclr_augmentation((8, 8), smallest_crop=1.0, colour=0)
        assert all(0.5 < float(whole(ramp).max() - whole(ramp).min()) <= 1 for _ in range(5))

    def test_other_pixels_are_refused(self):
        with pytest.raises(ValueError, match=r"pixels from 0 to 1, .*from -2 to 3.*`mean: \[0, 0, 0\]`"):
            TwoViews(TensorDataset(torch.tensor([-2.0, 3.0]).view(1, 1, 1, 2)), lambda image: image)


def test_steps_are_those_written_out():
    torch.manual_seed(0)
    first, second = torch.rand(2, 6, 3, 8, 8).double()
    model = make(temperature=0.3, warmup_epochs=1).double()
    own = copy.deepcopy(model)
    trainer = pl.Trainer(max_epochs=2, **QUIET)
    trainer.fit(model, DataLoader(TensorDataset(first, second), 3))
    losses = []
    for step in range(4):  # two in each epoch
        rows = slice(0, 3) if step % 2 == 0 else slice(3, 6)
        one, two = (own.project(own.net(view[rows])) for view in (first, second))
        loss = nt_xent_loss(one, two, temperature=0.3)
        losses.append(float(loss.detach()))
        factor = (0.5, 1.0, 1.0, 0.5 * (1 + math.cos(math.pi / 2)))[step]
        gradients = torch.autograd.grad(loss, list(own.parameters()))
        with torch.no_grad():
            for p, g in zip(own.parameters(), gradients, strict=True):
                p -= 0.1 * factor * g
    for p, q in zip(model.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-12)
    assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(sum(losses[2:]) / 2)


def test_the_rate_ends_at_0():
    assert rate(10, warmup=0, total=10) == pytest.approx(0)
    assert rate(0, warmup=0, total=10) == 1
    assert rate(5, warmup=0, total=10) == pytest.approx(0.5)


def test_no_end_is_refused():
    trainer = pl.Trainer(max_epochs=-1, **QUIET)
    with pytest.raises(Exception, match="falls to 0 at the end"):
        trainer.fit(make(), DataLoader(TensorDataset(*torch.rand(2, 3, 3, 8, 8)), 3))


def test_options_are_refused_together():
    with pytest.raises(ValueError, match="4 things"):
        make(temperature=0.0, smallest_crop=2.0, colour=-1.0, size=0)
