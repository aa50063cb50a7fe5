"""A classifier with a second head, which learns what needs no label."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy


class TwoHeads(LightningModule):
    """One head tells the class, another the mean of the input, which every sample has: a task beside the task.

    ``forward`` gives a dict, ``{"classes": (B, num_classes), "mean": (B,)}``: a loop looks at the first by
    ``task=ClassificationTask(output="classes")``. Logs ``val_loss``, ``val_acc``, ``test_loss``, ``test_acc``.

    Args:
        net: Inputs (B, ...) to features (B, width).
        num_classes: Number of classes.
        width: Of the features.
        mean_weight: What the squared error of the mean counts beside the cross-entropy.
        optimizer: Weights to optimizer. Default: Adam with learning rate 1e-3.

    Example:
        >>> model = TwoHeads(nn.Linear(4, 8), num_classes=3, width=8)
        >>> {name: tuple(output.shape) for name, output in model(torch.zeros(2, 4)).items()}
        {'classes': (2, 3), 'mean': (2,)}
    """

    def __init__(
        self,
        net: nn.Module,
        num_classes: int,
        width: int,
        mean_weight: float = 1.0,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
    ) -> None:
        super().__init__()
        self.net = net
        self.classes = nn.Linear(width, num_classes)
        self.mean = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.mean_weight = mean_weight
        self.optimizer = optimizer
        self.val_acc = MulticlassAccuracy(num_classes, average="micro")
        self.test_acc = MulticlassAccuracy(num_classes, average="micro")

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Inputs (B, ...) to class scores and means."""
        features = self.net(inputs).relu()
        return {"classes": self.classes(features), "mean": self.mean(features).squeeze(1)}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of the classes, and squared error of the means."""
        inputs, targets = batch
        outputs = self(inputs)
        of_means = nn.functional.mse_loss(outputs["mean"], inputs.flatten(1).mean(1))
        return nn.functional.cross_entropy(outputs["classes"], targets) + self.mean_weight * of_means

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``val_loss`` and ``val_acc``."""
        self._evaluate(batch, "val", self.val_acc)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``test_loss`` and ``test_acc``."""
        self._evaluate(batch, "test", self.test_acc)

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str, accuracy: MulticlassAccuracy) -> None:
        inputs, targets = batch
        logits = self(inputs)["classes"]
        accuracy.update(logits, targets)
        loss = nn.functional.cross_entropy(logits, targets)
        self.log(f"{split}_loss", loss, batch_size=len(targets), sync_dist=True)
        self.log(f"{split}_acc", accuracy, batch_size=len(targets))

    def configure_optimizers(self) -> Any:
        """A new optimizer."""
        return self.optimizer(self.parameters())
