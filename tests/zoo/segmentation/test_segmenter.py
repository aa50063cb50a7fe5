import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.zoo import Segmenter, SmallUNet
from lightning_al.zoo.segmentation.segmenter import pixel_loss
from tests.zoo.segmentation.test_mean_iou import written_out

QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def scenes(count=6, size=(8, 8), void=0.2):
    """Dark and light halves, of which some pixels are void."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.zeros(count, *size, dtype=torch.long)
    for number in range(count):
        targets[number, :, int(torch.randint(2, size[1] - 2, (1,), generator=generator)) :] = 1
    images = targets[:, None] * 2.0 - 1 + 0.3 * torch.randn(count, 3, *size, generator=generator)
    targets[torch.rand(count, *size, generator=generator) < void] = 255
    return images, targets


class TestLoss:
    def test_against_pixels_one_by_one(self):
        torch.manual_seed(0)
        logits = torch.randn(2, 3, 4, 5, dtype=torch.double, requires_grad=True)
        targets = torch.randint(3, (2, 4, 5))
        targets[torch.rand(2, 4, 5) < 0.4] = 255
        values = [
            -logits[b, :, i, j].log_softmax(0)[targets[b, i, j]]
            for b in range(2)
            for i in range(4)
            for j in range(5)
            if targets[b, i, j] != 255
        ]
        expected = torch.stack(values).mean()
        loss = pixel_loss(logits, targets)
        assert torch.allclose(loss, expected, atol=1e-12, rtol=0)
        (one,), (other,) = (torch.autograd.grad(value, logits) for value in (loss, expected))
        assert torch.allclose(one, other, atol=1e-12, rtol=0)

    @pytest.mark.parametrize("shape", [(2, 3, 4, 5), (0, 3, 4, 5)])
    def test_no_pixel_no_loss_no_gradient(self, shape):
        logits = torch.randn(*shape, requires_grad=True)
        loss = pixel_loss(logits, torch.full((shape[0], 4, 5), 255))
        loss.backward()
        assert loss == 0
        assert not logits.grad.any()


def test_logged_values_are_over_all_pixels():
    """Batches have other sizes and other shares of void: the values are those of all pixels at once."""
    images, targets = scenes(7, void=0.5)
    targets[0] = 255
    torch.manual_seed(0)
    model = Segmenter(nn.Conv2d(3, 3, 1), num_classes=3, also_over={"some": [0, 2]})
    [metrics] = pl.Trainer(**QUIET).test(model, DataLoader(TensorDataset(images, targets), 3), verbose=False)
    logits = model(images)
    predicted, known = logits.argmax(1), targets != 255
    assert set(metrics) == {"test_loss", "test_acc", "test_miou", "test_miou_some"}
    assert metrics["test_loss"] == pytest.approx(float(pixel_loss(logits, targets)), abs=1e-6)
    assert metrics["test_acc"] == pytest.approx(float((predicted == targets)[known].float().mean()), abs=1e-6)
    assert metrics["test_miou"] == pytest.approx(written_out(predicted, targets, range(3)), abs=1e-6)
    assert metrics["test_miou_some"] == pytest.approx(written_out(predicted, targets, [0, 2]), abs=1e-6)


def test_learns():
    pl.seed_everything(0)
    data = DataLoader(TensorDataset(*scenes(8)), 4, shuffle=True)
    model = Segmenter(
        SmallUNet(2, width=8),
        num_classes=2,
        optimizer=lambda params: torch.optim.AdamW(params, lr=0.01),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=30),
    )
    trainer = pl.Trainer(max_steps=30, **QUIET)
    [before] = trainer.test(model, data, verbose=False)
    trainer.fit(model, data, data)
    assert {"train_loss", "val_loss", "val_acc", "val_miou"} <= set(trainer.callback_metrics)
    [after] = trainer.test(model, data, verbose=False)
    assert after["test_miou"] > max(0.9, before["test_miou"])
    assert after["test_loss"] < before["test_loss"] / 2


def test_schedules_go_by_the_step_or_the_epoch():
    for interval in ("step", "epoch"):
        model = Segmenter(
            nn.Conv2d(3, 2, 1), 2, scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 5), interval=interval
        )
        made = model.configure_optimizers()["lr_scheduler"]
        assert made["interval"] == interval
    assert isinstance(Segmenter(nn.Conv2d(3, 2, 1), 2).configure_optimizers(), torch.optim.AdamW)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"`also_over` of 'few' must name some of the 2 classes, from 0, got \[2\]"):
        Segmenter(nn.Conv2d(3, 2, 1), 2, also_over={"few": [2]})
    with pytest.raises(ValueError, match=r"`interval` must be one of 'step', 'epoch', got 'never'"):
        Segmenter(nn.Conv2d(3, 2, 1), 2, interval="never")
