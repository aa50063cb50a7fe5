"""MixUp in the collate function, as torchvision's tutorial has it; a split that is drawn in the module's `setup`."""

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate, random_split
from torchvision.transforms import v2

mixup = v2.MixUp(num_classes=4)


def collate(samples):
    return mixup(*default_collate(samples))


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x):
        return self.net(x)

    def setup(self, stage):
        x, y = load_digits(n_class=4, return_X_y=True)
        data = TensorDataset(torch.tensor(x / 16).float().view(-1, 1, 8, 8), torch.tensor(y))
        self.train_set, self.val_set = random_split(data, [0.8, 0.2], torch.Generator().manual_seed(0))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=16, shuffle=True, collate_fn=collate)

    def val_dataloader(self):
        return DataLoader(self.val_set, batch_size=64)


if __name__ == "__main__":
    L.seed_everything(0)
    model = Net()
    trainer = L.Trainer(max_epochs=1, logger=False, enable_checkpointing=False)
    trainer.fit(model)
