"""A LightningModule around any network that turns a batch of inputs into logits."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from lightning_al.checks import check_flag
from lightning_al.zoo.optimizers import optimizer_and_schedule


class Classifier(LightningModule):
    """Cross-entropy classification, with accuracies logged.

    Logs ``train_acc``, ``val_loss``, ``val_acc``, ``test_loss`` and ``test_acc``, each over the whole epoch; accuracy
    is the share of samples that are right. With ``class_accuracies`` also ``test_acc_class_0`` and so on, the accuracy
    of the samples of each class that has some, and the same of the validation.

    The optimizer comes as a function of the weights, and is built afresh at every fit. (An optimizer that the
    command line builds once would carry its momentum and its decayed rate from round to round.)

    Args:
        net: Inputs (B, ...) to logits (B, num_classes).
        num_classes: Number of classes.
        optimizer: Weights to optimizer. Default: Adam with learning rate 1e-3. In YAML:
            ``optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1}}``.
        scheduler: Optimizer to learning-rate schedule, stepped every epoch; ``None`` for a constant rate.
        class_accuracies: Whether the accuracy of each class is logged too.

    Raises:
        TypeError: If ``class_accuracies`` is neither True nor False.

    Example:
        >>> model = Classifier(nn.Linear(4, 3), num_classes=3)
        >>> model(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        net: nn.Module,
        num_classes: int,
        # A lambda, since jsonargparse reads its source: `--model.optimizer.lr=0.01` then works.
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        class_accuracies: bool = False,
    ) -> None:
        super().__init__()
        check_flag("class_accuracies", class_accuracies)
        self.net = net
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.class_accuracies = class_accuracies
        self.count_right(num_classes)

    def count_right(self, num_classes: int) -> None:
        """Begin to count which share of the samples is right, of this many classes."""
        self.train_acc = MulticlassAccuracy(num_classes, average="micro")
        self.val_acc = MulticlassAccuracy(num_classes, average="micro")
        self.test_acc = MulticlassAccuracy(num_classes, average="micro")
        if self.class_accuracies:
            self.val_counts = MulticlassConfusionMatrix(num_classes)
            self.test_counts = MulticlassConfusionMatrix(num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (B, ...) to logits (B, num_classes)."""
        logits: Tensor = self.net(inputs)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Mean cross-entropy of the batch."""
        inputs, targets = batch
        logits = self(inputs)
        self.train_acc.update(logits, targets)
        # Once is enough: Lightning asks the metric at the end of the epoch, and `log` takes as long as a small net.
        if batch_idx == 0 or self.train_acc.update_count == 1:
            self.log("train_acc", self.train_acc, on_step=False, on_epoch=True)
        return nn.functional.cross_entropy(logits, targets)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``val_loss`` and ``val_acc``."""
        self._evaluate(batch, "val", self.val_acc)

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy of each class, if that is asked for."""
        if self.class_accuracies:
            self._log_classes("val", self.val_counts)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``test_loss`` and ``test_acc``."""
        self._evaluate(batch, "test", self.test_acc)

    def on_test_epoch_end(self) -> None:
        """Log the accuracy of each class, if that is asked for."""
        if self.class_accuracies:
            self._log_classes("test", self.test_counts)

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str, accuracy: MulticlassAccuracy) -> None:
        inputs, targets = batch
        logits = self(inputs)
        accuracy.update(logits, targets)
        loss = nn.functional.cross_entropy(logits, targets)
        # The size is said, so that a smaller last batch does not weigh as much as a full one.
        self.log(f"{split}_loss", loss, batch_size=len(targets), sync_dist=True)
        self.log(f"{split}_acc", accuracy, batch_size=len(targets))
        if self.class_accuracies:
            getattr(self, f"{split}_counts").update(logits, targets)

    def _log_classes(self, split: str, counts: MulticlassConfusionMatrix) -> None:
        matrix = counts.compute()  # a row for each class that samples are of
        of_class = {c: float(row[c] / row.sum()) for c, row in enumerate(matrix.cpu().double()) if row.sum() > 0}
        self.log_dict({f"{split}_acc_class_{c}": value for c, value in of_class.items()}, sync_dist=True)
        counts.reset()

    def configure_optimizers(self) -> Any:
        """A new optimizer, and a new schedule if there is one."""
        return optimizer_and_schedule(self, self.optimizer, self.scheduler)
