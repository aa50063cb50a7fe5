"""Samples that come in a stream."""

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Stream(IterableDataset):
    def __iter__(self):
        x, y = load_digits(n_class=4, return_X_y=True)
        for image, label in zip(x[:100], y[:100]):
            yield torch.tensor(image / 16).float(), int(label)


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(64, 4)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


if __name__ == "__main__":
    model = Net()
    train, val = DataLoader(Stream(), batch_size=10), DataLoader(Stream(), batch_size=50)
    trainer = L.Trainer(max_epochs=1, logger=False, enable_checkpointing=False)
    trainer.fit(model, train, val)
