"""Stochastic weight averaging over the last epochs; gradients are clipped."""

import lightning as L
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self, **kwargs):
        super().__init__()
        self.save_hyperparameters({"hidden": 24, "lr": 0.1, **kwargs})
        hidden = self.hparams.hidden
        self.net = nn.Sequential(nn.Linear(64, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 4))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)]


class Data(L.LightningDataModule):
    def setup(self, stage):
        x, y = load_digits(n_class=4, return_X_y=True)
        x, y = torch.tensor(x / 16).float(), torch.tensor(y)
        self.train, self.val = TensorDataset(x[:150], y[:150]), TensorDataset(x[150:250], y[150:250])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=5, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=50)


if __name__ == "__main__":
    L.seed_everything(0)
    model = Net(hidden=16)
    data = Data()
    averaging = StochasticWeightAveraging(swa_lrs=0.02, swa_epoch_start=2, annealing_epochs=1)
    trainer = L.Trainer(
        max_epochs=4,
        callbacks=[averaging],
        gradient_clip_val=0.5,
        logger=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, data)
