"""Which of five shapes a picture contains: any number of them."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MultilabelF1Score

SHAPES = torch.tensor([[[1, 1], [1, 1]], [[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 1], [0, 0]], [[1, 0], [1, 0]]])


class Scenes(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.tags = (torch.rand(n, 5, generator=g) < 0.4).float()
        self.images = 0.2 * torch.randn(n, 1, 12, 12, generator=g)
        for image, tags in zip(self.images, self.tags):
            for kind in tags.nonzero().flatten().tolist():
                r, c = (torch.randint(0, 6, (2,), generator=g) * 2).tolist()
                image[0, r : r + 2, c : c + 2] = SHAPES[kind].float()

    def __len__(self):
        return len(self.tags)

    def __getitem__(self, i):
        return self.images[i], self.tags[i]


class Tagger(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 2, 2), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
            nn.Linear(16, 5),
        )  # fmt: skip
        self.f1 = MultilabelF1Score(num_labels=5)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.binary_cross_entropy_with_logits(self(x), y)
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.f1(self(x).sigmoid(), y.int())
        self.log("val_f1", self.f1)

    def train_dataloader(self):
        return DataLoader(Scenes(100, seed=0), batch_size=10, shuffle=True)

    def val_dataloader(self):
        return DataLoader(Scenes(40, seed=1), batch_size=20)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


if __name__ == "__main__":
    L.seed_everything(0)
    model = Tagger()
    trainer = L.Trainer(max_epochs=3, logger=False, enable_checkpointing=False)
    trainer.fit(model)
