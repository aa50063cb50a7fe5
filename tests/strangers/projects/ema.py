"""A running average of the weights (EMA), in 16 bits."""

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class ConvNet(L.LightningModule):
    def __init__(self, channels=8):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(9 * channels, 4))

    def forward(self, x):
        return self.head(self.conv(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class Digits(L.LightningDataModule):
    def prepare_data(self):
        load_digits()

    def setup(self, stage=None):
        if not hasattr(self, "train"):
            x, y = load_digits(n_class=4, return_X_y=True)
            data = TensorDataset(torch.tensor(x / 16).float().view(-1, 1, 8, 8), torch.tensor(y))
            self.train, self.val = random_split(data, [0.8, 0.2])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=8, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=64)


if __name__ == "__main__":
    L.seed_everything(0)
    model, data = ConvNet(), Digits()
    average = EMAWeightAveraging(decay=0.8)
    trainer = L.Trainer(
        max_epochs=2, precision="16-mixed", callbacks=[average], logger=False, enable_checkpointing=False
    )
    trainer.fit(model, data)
    trainer.validate(model, data)
