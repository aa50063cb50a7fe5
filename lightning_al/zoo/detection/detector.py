"""A LightningModule around any of torchvision's detectors."""

from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_al.checks import check_choice
from lightning_al.zoo.detection.mean_ap import mean_ap, precisions
from lightning_al.zoo.optimizers import optimizer_and_schedule


class Detector(LightningModule):
    """Trains a detector that gives a dict of losses in ``train()``, and detections in ``eval()``, as torchvision's do.

    The loss is the sum of the dict's. Logs it as ``train_loss``, and ``val_map`` and ``val_map_50``, or these of the
    test: the mean over classes of the average precision, as COCO's over IoU from 0.50 to 0.95, and at 0.50; with
    ``classes`` those of each too, ``test_map_cat`` and ``test_map_50_cat``. They are torchmetrics', with
    ``faster-coco-eval``, or ``pycocotools`` where that alone is installed.

    Args:
        detector: Such as ``SmallSSD`` or ``TorchvisionDetector``. It normalises and resizes images itself.
        classes: Names of the classes, in the order of their numbers from 1.
        optimizer: Weights to optimizer. Default: AdamW with learning rate 1e-3.
        scheduler: Optimizer to learning-rate schedule; ``None`` for a constant rate.
        interval: Whether the schedule goes by the ``"step"`` or the ``"epoch"``. Epochs are short while few images are
            labelled: fix the steps of a round (``trainer.max_steps``), and let the schedule go by them.

    Raises:
        ValueError: If an option is out of range.
        ImportError: If what computes the average precision is missing.
    """

    def __init__(
        self,
        detector: nn.Module,
        classes: list[str] | None = None,
        # A lambda, since jsonargparse reads its source.
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        interval: Literal["step", "epoch"] = "step",
    ) -> None:
        super().__init__()
        check_choice("interval", interval, ("step", "epoch"))
        self.detector = detector.train()  # in eval(), Lightning would leave it so, and it would give no losses
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.interval = interval
        self.classes = classes
        self.val_map = mean_ap()
        self.test_map = mean_ap()

    def forward(self, images: Any, targets: Any = None) -> Any:
        """Images, (C, H, W) each, to detections; in ``train()``, with targets, to a dict of losses."""
        return self.detector(images, targets)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The sum of the batch's losses."""
        images, targets, *_ = batch
        loss = torch.stack(list(self(images, targets).values())).sum()
        self.log("train_loss", loss, batch_size=len(images))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Compare detections with the boxes."""
        self.val_map.update(self(batch[0]), batch[1])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Compare detections with the boxes."""
        self.test_map.update(self(batch[0]), batch[1])

    def on_validation_epoch_end(self) -> None:
        """Log ``val_map``, ``val_map_50`` and those of the classes."""
        self._log_map(self.val_map, "val")

    def on_test_epoch_end(self) -> None:
        """Log ``test_map``, ``test_map_50`` and those of the classes."""
        self._log_map(self.test_map, "test")

    def _log_map(self, metric: Any, split: str) -> None:
        values = precisions(metric, self.classes)
        self.log_dict({f"{split}_{name}": value for name, value in values.items()}, sync_dist=True)
        metric.reset()

    def configure_optimizers(self) -> Any:
        """A new optimizer, and a new schedule if there is one."""
        return optimizer_and_schedule(self, self.optimizer, self.scheduler, self.interval)
