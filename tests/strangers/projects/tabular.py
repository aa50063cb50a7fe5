"""A table with numbers and categories."""

import lightning.pytorch as pl
import torch
import torchmetrics
from lightning.pytorch.callbacks import EarlyStopping
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

NUMERIC, CATEGORICAL = list(range(9)), [9, 10, 11, 12]


def load():
    x, y = load_wine(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    scaler = StandardScaler().fit(x_train[:, NUMERIC])
    binner = KBinsDiscretizer(5, encode="ordinal", quantile_method="averaged_inverted_cdf").fit(x_train[:, CATEGORICAL])

    def table(x, y):
        numbers = torch.tensor(scaler.transform(x[:, NUMERIC]), dtype=torch.float32)
        categories = torch.tensor(binner.transform(x[:, CATEGORICAL]), dtype=torch.long)
        return TensorDataset(numbers, categories, torch.tensor(y))

    return table(x_train, y_train), table(x_val, y_val)


class TabularNet(pl.LightningModule):
    def __init__(self, numbers=9, categories=(5, 5, 5, 5), classes=3, dropout=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.embeddings = nn.ModuleList([nn.Embedding(n, 3) for n in categories])
        self.norm = nn.BatchNorm1d(numbers)
        width = numbers + 3 * len(categories)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, classes))
        metrics = torchmetrics.MetricCollection(
            [
                torchmetrics.Accuracy("multiclass", num_classes=classes),
                torchmetrics.F1Score("multiclass", num_classes=classes),
            ]
        )
        self.train_metrics, self.val_metrics = metrics.clone("train_"), metrics.clone("val_")

    def forward(self, numbers, categories):
        embedded = [layer(column) for layer, column in zip(self.embeddings, categories.unbind(1))]
        return self.mlp(torch.cat([self.norm(numbers), *embedded], 1))

    def step(self, batch, metrics):
        numbers, categories, y = batch
        logits = self(numbers, categories)
        metrics.update(logits, y)
        return nn.functional.cross_entropy(logits, y)

    def training_step(self, batch, batch_idx):
        loss = self.step(batch, self.train_metrics)
        self.log("train_loss", loss)
        self.log_dict(self.train_metrics, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.step(batch, self.val_metrics))
        self.log_dict(self.val_metrics)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.02)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}


if __name__ == "__main__":
    pl.seed_everything(0)
    train_set, val_set = load()
    train_loader = DataLoader(train_set, batch_size=8, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=64)
    model = TabularNet()
    stopping = EarlyStopping("val_loss", patience=2)
    trainer = pl.Trainer(max_epochs=30, callbacks=[stopping], logger=False)
    trainer.fit(model, train_loader, val_loader)
