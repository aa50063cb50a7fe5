"""Batches that are dicts, a step that returns one, checkpoints, and a learning-rate monitor."""

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


class DigitDicts(Dataset):
    def __init__(self, split):
        images, labels = load_digits(n_class=5, return_X_y=True)
        rows = slice(0, 150) if split == "train" else slice(150, 210)
        self.images, self.labels = images[rows].astype("float32") / 16, labels[rows]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"image": self.images[index], "label": self.labels[index], "name": f"digit_{index}"}


class DigitsModule(L.LightningDataModule):
    def __init__(self, batch_size=12, num_workers=1):
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self):
        return DataLoader(
            DigitDicts("train"), batch_size=self.hparams.batch_size, shuffle=True, pin_memory=True,
            num_workers=self.hparams.num_workers, persistent_workers=True,
        )  # fmt: skip

    def val_dataloader(self):
        return DataLoader(DigitDicts("val"), batch_size=60)


class PhotoClassifier(L.LightningModule):
    def __init__(self, hidden=32, lr=0.02):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(64, hidden), nn.GELU(), nn.LayerNorm(hidden), nn.Linear(hidden, 5))

    def forward(self, image):
        return self.net(image)

    def training_step(self, batch, batch_idx):
        logits = self(batch["image"])
        loss = F.cross_entropy(logits, batch["label"])
        return {"loss": loss, "logits": logits.detach()}

    def validation_step(self, batch, batch_idx):
        logits = self(batch["image"])
        self.log("val_loss", F.cross_entropy(logits, batch["label"]))
        self.log("val_acc", (logits.argmax(1) == batch["label"]).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.hparams.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main():
    L.seed_everything(7, workers=True)
    data = DigitsModule()
    model = PhotoClassifier()
    checkpoint = ModelCheckpoint(monitor="val_loss", filename="{epoch}-{val_loss:.2f}", save_last=True)
    stopping = EarlyStopping("val_loss", patience=3)
    callbacks = [checkpoint, stopping, LearningRateMonitor("step")]
    trainer = L.Trainer(
        max_epochs=4,
        accumulate_grad_batches=2,
        logger=CSVLogger("logs", name="digits"),
        callbacks=callbacks,
        log_every_n_steps=1,
    )
    trainer.fit(model, datamodule=data)
    print("best", checkpoint.best_model_path, float(checkpoint.best_model_score))
    trainer.validate(model, datamodule=data, ckpt_path="best")


if __name__ == "__main__":
    main()
