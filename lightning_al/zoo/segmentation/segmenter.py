"""A LightningModule around any network that turns images into logits of each pixel."""

from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lightning_al.checks import Findings, check_choice, check_count
from lightning_al.zoo.optimizers import optimizer_and_schedule
from lightning_al.zoo.segmentation.mean_iou import MeanIoU


def pixel_loss(logits: Tensor, targets: Tensor, ignore_index: int = 255) -> Tensor:
    """Return the mean cross-entropy of the pixels that count; 0, with gradients of 0, where there are none.

    Args:
        logits: (B, C, H, W).
        targets: Class of each pixel (B, H, W), or ``ignore_index``.
        ignore_index: The target of pixels that do not count.

    Example:
        >>> float(pixel_loss(torch.zeros(1, 4, 2, 2), torch.tensor([[[0, 255], [255, 3]]])))  # log 4
        1.386...
    """
    losses = nn.functional.cross_entropy(logits, targets, ignore_index=ignore_index, reduction="sum")
    return losses / (targets != ignore_index).sum().clamp(min=1)


class Segmenter(LightningModule):
    """Cross-entropy of each pixel; pixels whose target is ``ignore_index`` do not count.

    Logs ``train_loss``, and ``val_loss``, ``val_acc`` and ``val_miou``, or these of the test, each over all pixels: the
    accuracy is the share of pixels that are right, mIoU the mean over classes of intersection over union
    (:class:`MeanIoU`). Batches may have more than images and masks; it is not looked at.

    Args:
        net: Images (B, 3, H, W) to logits (B, num_classes, H, W).
        num_classes: Number of classes.
        ignore_index: The target of pixels that do not count.
        also_over: Further means over some of the classes, by name: ``{"13": [0, 1, 2]}`` logs ``val_miou_13``.
        optimizer: Weights to optimizer. Default: AdamW with learning rate 1e-3.
        scheduler: Optimizer to learning-rate schedule; ``None`` for a constant rate.
        interval: Whether the schedule goes by the ``"step"`` or the ``"epoch"``. Epochs are short while few images are
            labelled: fix the steps of a round (``trainer.max_steps``), and let the schedule go by them.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> model = Segmenter(nn.Conv2d(3, 5, 1), num_classes=5)
        >>> model(torch.zeros(2, 3, 4, 6)).shape
        torch.Size([2, 5, 4, 6])
    """

    def __init__(
        self,
        net: nn.Module,
        num_classes: int,
        ignore_index: int = 255,
        also_over: dict[str, list[int]] | None = None,
        # A lambda, since jsonargparse reads its source.
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        interval: Literal["step", "epoch"] = "step",
    ) -> None:
        super().__init__()
        means = {"miou": None, **{f"miou_{name}": classes for name, classes in (also_over or {}).items()}}
        with Findings() as findings:
            findings.of(check_count, "num_classes", num_classes)
            findings.of(check_choice, "interval", interval, ("step", "epoch"))
            for name, classes in means.items():
                wrong = [c for c in classes or [] if not 0 <= c < num_classes]
                findings.refuse_if(
                    bool(wrong) or classes == [],
                    f"`also_over` of {name[5:]!r} must name some of the {num_classes} classes, from 0, got {classes}.",
                )
        self.net = net
        self.ignore_index = ignore_index
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.interval = interval
        for split in ("val", "test"):
            self.add_module(f"{split}_loss", MeanMetric())
            accuracy = MulticlassAccuracy(num_classes, average="micro", ignore_index=ignore_index, validate_args=False)
            self.add_module(f"{split}_acc", accuracy)
            for name, classes in means.items():
                self.add_module(f"{split}_{name}", MeanIoU(num_classes, ignore_index, classes))
        self._means = list(means)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, num_classes, H, W)."""
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean cross-entropy of the batch's pixels."""
        images, targets, *_ = batch
        loss = pixel_loss(self(images), targets, self.ignore_index)
        self.log("train_loss", loss, batch_size=len(images))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log ``val_loss``, ``val_acc`` and ``val_miou``."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log ``test_loss``, ``test_acc`` and ``test_miou``."""
        self._evaluate(batch, "test")

    def _evaluate(self, batch: Any, split: str) -> None:
        images, targets, *_ = batch
        logits = self(images)
        metrics: dict[str, Any] = {
            name: self.get_submodule(f"{split}_{name}") for name in ("loss", "acc", *self._means)
        }
        # Of all pixels: an image with few that count weighs less.
        counted = (targets != self.ignore_index).sum()
        metrics["loss"].update(pixel_loss(logits, targets, self.ignore_index), weight=counted)
        predicted = logits.argmax(1)
        for name in ("acc", *self._means):
            metrics[name].update(predicted, targets)
        for name, metric in metrics.items():
            self.log(f"{split}_{name}", metric, batch_size=len(images))

    def configure_optimizers(self) -> Any:
        """A new optimizer, and a new schedule if there is one."""
        return optimizer_and_schedule(self, self.optimizer, self.scheduler, self.interval)
