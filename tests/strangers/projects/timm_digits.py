"""Handwritten digits with a small network of timm."""

import lightning as L
import timm
import timm.optim
import torch
from sklearn.datasets import load_digits
from timm.scheduler import CosineLRScheduler
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset


class Digits(Dataset):
    def __init__(self, transform):
        self.images, self.labels = load_digits(n_class=4, return_X_y=True)
        self.transform = transform

    def __len__(self):
        return 160

    def __getitem__(self, i):
        image = torch.tensor(self.images[i], dtype=torch.float32).view(1, 8, 8) / 16
        return self.transform(image.repeat_interleave(4, 1).repeat_interleave(4, 2)), int(self.labels[i])


def train_transform(image):
    shift = torch.randint(-2, 3, (2,)).tolist()
    return image.roll(shift, (1, 2))


def eval_transform(image):
    return image


class DigitsData(L.LightningDataModule):
    def __init__(self, batch_size=16):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage=None):
        order = torch.randperm(160, generator=torch.Generator().manual_seed(42)).tolist()
        self.train_idx, self.val_idx = order[:120], order[120:]

    def train_dataloader(self):
        train = Subset(Digits(train_transform), self.train_idx)
        return DataLoader(train, batch_size=self.hparams.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(Subset(Digits(eval_transform), self.val_idx), batch_size=40)


class TimmClassifier(L.LightningModule):
    def __init__(self, model_name="resnet10t", num_classes=4, lr=1e-3, **timm_kwargs):
        super().__init__()
        self.save_hyperparameters()
        self.model = timm.create_model(model_name, num_classes=num_classes, **timm_kwargs)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = self.criterion(self(images), labels)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        logits = self(images)
        self.log_dict(
            {"val/loss": self.criterion(logits, labels), "val/acc": (logits.argmax(1) == labels).float().mean()}
        )

    def configure_optimizers(self):
        optimizer = timm.optim.create_optimizer_v2(self, opt="adamw", lr=self.hparams.lr, weight_decay=0.05)
        scheduler = CosineLRScheduler(optimizer, t_initial=self.trainer.max_epochs, warmup_t=1, warmup_lr_init=1e-5)
        return [optimizer], [{"scheduler": scheduler, "interval": "epoch"}]

    def lr_scheduler_step(self, scheduler, metric):
        scheduler.step(epoch=self.current_epoch + 1)


if __name__ == "__main__":
    L.seed_everything(0)
    model = TimmClassifier(in_chans=1)
    data = DigitsData()
    trainer = L.Trainer(max_epochs=2, logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
