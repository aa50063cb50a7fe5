"""A LightningModule around any network that gives real values, and a small network for tables."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn


class TableNet(nn.Sequential):
    """Two hidden layers with dropout, for rows of a table.

    Args:
        inputs: Columns.
        outputs: Of the last layer.
        width: Of the hidden layers.
        dropout: Before the last layer.

    Example:
        >>> TableNet(inputs=10)(torch.zeros(2, 10)).shape
        torch.Size([2, 1])
    """

    def __init__(self, inputs: int, outputs: int = 1, width: int = 64, dropout: float = 0.1) -> None:
        hidden = [nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        super().__init__(*hidden, nn.Dropout(dropout), nn.Linear(width, outputs))


class Regressor(LightningModule):
    """Regression by squared error.

    Logs ``val_mse``, ``val_mae``, ``test_mse`` and ``test_mae``, over the whole epoch.

    Args:
        net: Inputs (B, ...) to real values, (B,), (B, 1) or (B, M), as many as there are targets.
        optimizer: Weights to optimizer. Default: Adam with learning rate 1e-3.

    Example:
        >>> model = Regressor(TableNet(inputs=3))
        >>> model(torch.zeros(2, 3)).shape
        torch.Size([2, 1])
    """

    def __init__(
        self, net: nn.Module, optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=1e-3)
    ) -> None:
        super().__init__()
        self.net = net
        self.optimizer = optimizer

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (B, ...) to real values."""
        values: Tensor = self.net(inputs)
        return values

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Mean squared error of the batch."""
        return nn.functional.mse_loss(*self._pair(batch))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``val_mse`` and ``val_mae``."""
        self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``test_mse`` and ``test_mae``."""
        self._evaluate(batch, "test")

    def _pair(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Predictions and targets in one shape: (B, 1) less (B,) would be (B, B)."""
        inputs, targets = batch
        values = self(inputs)
        return values, targets.reshape(values.shape).to(values)

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str) -> None:
        values, targets = self._pair(batch)
        errors = {"mse": nn.functional.mse_loss(values, targets), "mae": nn.functional.l1_loss(values, targets)}
        for name, error in errors.items():
            self.log(f"{split}_{name}", error, batch_size=len(targets), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """A new optimizer."""
        return self.optimizer(self.parameters())
