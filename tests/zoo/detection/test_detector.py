"""The zoo's detectors: how they train, and what they log."""

import copy
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.cli import ReduceLROnPlateau
from torch import nn

from lightning_al import ActiveLearningLoop, DetectionTask
from lightning_al.acquisition import LearningLoss, LPLGrad, Random
from lightning_al.training import AutoSAMMixin, sam_step
from lightning_al.zoo import Detector, LossPredictionDetector, SAMDetector, SmallSSD, TorchvisionDetector
from tests.helpers import processes
from tests.helpers.detecting import Squares, SquaresData, in_lists
from tests.helpers.detectors import detector
from tests.helpers.marks import slow

pytest.importorskip("faster_coco_eval")

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
COLOURS = ["red", "green", "blue"]


def sgd(params):
    return torch.optim.SGD(params, lr=0.01)


class WithTest(SquaresData):
    def test_dataloader(self):
        return self.val_dataloader()


def test_what_is_logged():
    torch.manual_seed(0)
    net = SmallSSD(4, size=(64, 64), width=4)
    model = Detector(net, classes=COLOURS, optimizer=lambda params: torch.optim.AdamW(params, lr=1e-2))
    data = WithTest()
    trainer = pl.Trainer(max_epochs=1, log_every_n_steps=1, **QUIET)
    trainer.fit(model, data)
    assert {"train_loss", "val_map", "val_map_50", "val_map_50_blue"} <= trainer.callback_metrics.keys()
    first, again = trainer.test(model, data, verbose=False)[0], trainer.test(model, data, verbose=False)[0]
    assert first == again  # nothing of a test is left in the next
    present = {COLOURS[int(label) - 1] for _, target in data.held_out.samples for label in target["labels"]}
    assert first.keys() == {"test_map", "test_map_50"} | {f"test_map{at}_{c}" for c in present for at in ("", "_50")}


def test_the_loss_is_the_sum_of_the_detectors():
    model = Detector(detector("retinanet"))
    model.train()
    batch = in_lists([Squares()[index] for index in (1, 2)])
    model.log = lambda *args, **kwargs: None
    losses = model.detector(*copy.deepcopy(batch))
    assert torch.equal(model.training_step(batch, 0), losses["classification"] + losses["bbox_regression"])


def test_optimizer_and_schedule_are_made_anew():
    model = Detector(nn.Linear(1, 1), optimizer=sgd)
    assert type(model.configure_optimizers()) is torch.optim.SGD
    model = Detector(nn.Linear(1, 1), scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 2), interval="epoch")
    one, two = model.configure_optimizers(), model.configure_optimizers()
    assert one["optimizer"] is not two["optimizer"]
    assert one["lr_scheduler"]["interval"] == "epoch"
    model = Detector(nn.Linear(1, 1), scheduler=lambda o: ReduceLROnPlateau(o, monitor="val_map"), interval="epoch")
    assert model.configure_optimizers()["lr_scheduler"]["monitor"] == "val_map"
    with pytest.raises(ValueError, match="`interval` must be one of 'step', 'epoch'"):
        Detector(nn.Linear(1, 1), interval="batch")


def test_the_small_ssd_is_small():
    model = SmallSSD(4)
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(0.55e6, rel=0.02)
    maps = model.detector.backbone(torch.zeros(1, 3, 160, 160))
    assert [tuple(each.shape[1:]) for each in maps.values()] == [(64, 20, 20), (96, 10, 10), (128, 5, 5)]
    with pytest.raises(ValueError, match="`num_classes` must be at least 2"):
        SmallSSD(1)


def test_detectors_of_torchvision_by_name():
    net = TorchvisionDetector(3, "ssdlite320_mobilenet_v3_large", options={"score_thresh": 0.5})
    assert net.detector.score_thresh == 0.5
    assert DetectionTask(num_classes=3).num_classes == 3
    with pytest.raises(ValueError, match=r"`name` must be one of .*, got 'ssd'"):
        TorchvisionDetector(3, "ssd")


class AutoSAMDetector(AutoSAMMixin, Detector):
    rho = 0.1


def by_trainer(kind, net, batch):
    model = kind(detector=net, optimizer=sgd, rho=0.1)
    trainer = pl.Trainer(max_steps=1, limit_val_batches=0, precision="64-true", **QUIET)
    trainer.fit(model, torch.utils.data.DataLoader([batch], batch_size=None))


def by_sam_step(net, batch):
    optimizer = sgd(net.parameters())

    def closure():
        optimizer.zero_grad()
        loss = sum(net(*copy.deepcopy(batch)).values())
        loss.backward()
        return loss

    sam_step(net.parameters(), optimizer, closure, rho=0.1)


@pytest.mark.parametrize(
    "step",
    [partial(by_trainer, SAMDetector), partial(by_trainer, AutoSAMDetector), by_sam_step],
    ids=["SAMMixin", "AutoSAMMixin", "sam_step"],
)
def test_a_step_of_sam_is_that_by_hand(step):
    """SAM's gradient of the sum of a detector's losses, in float64."""
    torch.manual_seed(0)
    net = detector("ssd").double().train()
    by_hand = copy.deepcopy(net)
    images, targets = in_lists([Squares()[index] for index in (1, 2, 3)])
    batch = [image.double() for image in images], [{**t, "boxes": t["boxes"].double()} for t in targets]
    step(net, copy.deepcopy(batch))

    params = list(by_hand.parameters())
    before = [weight.detach().clone() for weight in params]
    gradient = torch.autograd.grad(sum(by_hand(*copy.deepcopy(batch)).values()), params)
    norm = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()
    statistics = [copy.deepcopy(list(by_hand.buffers()))]
    with torch.no_grad():
        for weight, g in zip(params, gradient, strict=True):
            weight += 0.1 * g / (norm + 1e-12)
    gradient = torch.autograd.grad(sum(by_hand(*copy.deepcopy(batch)).values()), params)
    statistics.append(list(by_hand.buffers()))
    for weight, g, old in zip(net.parameters(), gradient, before, strict=True):
        torch.testing.assert_close(weight.detach(), old - 0.01 * g, rtol=1e-9, atol=1e-12)
    for own, expected in zip(net.buffers(), statistics[step is by_sam_step], strict=True):
        torch.testing.assert_close(own, expected)  # of the first pass, with the mixins


@pytest.mark.slow
@pytest.mark.parametrize(
    ("acquisition", "name"),
    [(LearningLoss(), "ssd"), slow(LPLGrad(), "ssd"), slow(LearningLoss(), "faster_rcnn")],
    ids=["LearningLoss-ssd", "LPLGrad-ssd", "LearningLoss-faster_rcnn"],
)
def test_a_campaign_learns_the_loss_of_images(acquisition, name, tmp_path):
    torch.manual_seed(0)
    model = LossPredictionDetector(detector=detector(name), optimizer=sgd, loss_width=8)
    trainer = pl.Trainer(max_epochs=1, callbacks=[acquisition], **QUIET)
    data = SquaresData(sizes=((64, 64), (48, 80)))
    options = {"initial": 3, "query_size": 2, "rounds": 1, "dirpath": tmp_path / "campaign"}
    history = ActiveLearningLoop(model, data, task=DetectionTask(score_threshold=0.3), **options).run(trainer)
    assert [len(each.picked) for each in history] == [2, 0]
    assert all(layer.startswith("detector.backbone.") for layer in model.loss_prediction.layers)


class Frozen(Detector):
    """Learns nothing, BatchNorm's statistics included, so that every number of processes tests the same weights."""

    def training_step(self, batch, batch_idx):
        return sum(weight.sum() for weight in self.parameters()) * 0


@pytest.mark.slow
def test_two_processes_test_as_one(tmp_path):
    torch.manual_seed(0)
    net, data = SmallSSD(4, size=(64, 64), width=8), WithTest(24)
    trained = Detector(net, optimizer=lambda params: torch.optim.AdamW(params, lr=5e-3))
    pl.Trainer(max_epochs=15, limit_val_batches=0, **QUIET).fit(trained, data)
    options = {"task": DetectionTask(), "initial": 3, "query_size": 2, "rounds": 1, "evaluate": "test"}
    of_each = []
    for n in (1, 2):
        model = Frozen(copy.deepcopy(net), classes=COLOURS, optimizer=sgd)
        history, _ = processes.run(tmp_path, n, model=model, data=data, acquisition=Random(), **options)
        of_each.append(history[0].metrics)
    assert of_each[0].keys() == of_each[1].keys()
    assert of_each[0]["test_map_50"] > 0.1
    for name, value in of_each[0].items():
        assert of_each[1][name] == pytest.approx(value, abs=1e-5), name
