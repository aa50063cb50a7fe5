"""Fine-tuning a small ResNet of torchvision's on a folder of pictures, backbone frozen for the first epoch."""

from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
import torchvision
from lightning.pytorch.callbacks import BackboneFinetuning, ModelCheckpoint
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

AUGMENT = v2.Compose([v2.ToImage(), v2.RandomCrop(16, padding=1), v2.ToDtype(torch.float32, scale=True)])
PLAIN = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


class Pictures(L.LightningDataModule):
    def __init__(self, root="pictures", batch_size=8, num_workers=0):
        super().__init__()
        self.root, self.batch_size, self.num_workers = Path(root), batch_size, num_workers

    def prepare_data(self):
        images, labels = load_digits(n_class=3, return_X_y=True)
        for i, (image, label) in enumerate(zip(images[:90], labels)):
            folder = self.root / ("train" if i < 60 else "val") / f"digit_{label}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = torch.tensor(image * 15, dtype=torch.uint8).view(1, 8, 8)
            picture = pixels.repeat_interleave(2, 1).repeat_interleave(2, 2).expand(3, -1, -1)
            torchvision.io.write_png(picture.contiguous(), str(folder / f"{i:03}.png"))

    def train_dataloader(self):
        dataset = ImageFolder(self.root / "train", AUGMENT)
        return DataLoader(dataset, self.batch_size, shuffle=True, num_workers=self.num_workers, drop_last=True)

    def val_dataloader(self):
        return DataLoader(ImageFolder(self.root / "val", PLAIN), self.batch_size, num_workers=self.num_workers)


class FineTuned(L.LightningModule):
    def __init__(self, num_classes=3, lr=1e-2):
        super().__init__()
        self.save_hyperparameters()
        resnet = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
        self.backbone = nn.Sequential(*list(resnet.children())[:-1], nn.Flatten())
        self.head = nn.Linear(resnet.fc.in_features, num_classes)
        self.val_acc = MulticlassAccuracy(num_classes)

    def forward(self, x):
        return self.head(self.backbone(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return {"loss": F.cross_entropy(self(x), y)}

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.val_acc(self(x), y)
        self.log("val_acc", self.val_acc, on_epoch=True, prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=self.hparams.lr)


def main():
    L.seed_everything(1)
    checkpoint = ModelCheckpoint(monitor="val_acc", mode="max", save_weights_only=True)
    finetuning = BackboneFinetuning(unfreeze_backbone_at_epoch=1)
    model, data = FineTuned(), Pictures()
    trainer = L.Trainer(max_epochs=2, callbacks=[checkpoint, finetuning], logger=False)
    trainer.fit(model, datamodule=data)
    best = FineTuned.load_from_checkpoint(checkpoint.best_model_path)
    print(trainer.validate(best, data))


if __name__ == "__main__":
    main()
