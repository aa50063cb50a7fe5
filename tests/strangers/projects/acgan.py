"""An auxiliary-classifier GAN: the discriminator also says which class a picture is of."""

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

CLASSES, LATENT = 4, 8


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, LATENT)
        self.net = nn.Sequential(nn.Linear(LATENT, 32), nn.LeakyReLU(0.2), nn.Linear(32, 64), nn.Sigmoid())

    def forward(self, z, y):
        return self.net(z * self.embedding(y)).view(-1, 1, 8, 8)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128, 32), nn.ReLU()
        )
        self.real, self.kind = nn.Linear(32, 1), nn.Linear(32, CLASSES)

    def forward(self, x):
        h = self.body(x)
        return self.real(h), self.kind(h)


class ACGAN(L.LightningModule):
    def __init__(self, lr=5e-3):
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator, self.discriminator = Generator(), Discriminator()

    def forward(self, z, y):
        return self.generator(z, y)

    def training_step(self, batch, batch_idx):
        x, y = batch
        opt_g, opt_d = self.optimizers()
        z = torch.randn(len(x), LATENT, device=self.device)

        self.toggle_optimizer(opt_g)
        real, kind = self.discriminator(self(z, y))
        g_loss = F.binary_cross_entropy_with_logits(real, torch.ones_like(real)) + F.cross_entropy(kind, y)
        opt_g.zero_grad()
        self.manual_backward(g_loss)
        opt_g.step()
        self.untoggle_optimizer(opt_g)

        self.toggle_optimizer(opt_d)
        real, kind = self.discriminator(x)
        fake, _ = self.discriminator(self(z, y).detach())
        d_loss = (
            F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
            + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
            + F.cross_entropy(kind, y)
        )
        opt_d.zero_grad()
        self.manual_backward(d_loss)
        self.clip_gradients(opt_d, gradient_clip_val=1.0)
        opt_d.step()
        self.untoggle_optimizer(opt_d)
        self.log_dict({"g_loss": g_loss, "d_loss": d_loss}, prog_bar=True)

    def on_train_epoch_end(self):
        for scheduler in self.lr_schedulers():
            scheduler.step()

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self.discriminator(x)[1].argmax(1) == y).float().mean())

    def configure_optimizers(self):
        optimizers = [
            torch.optim.Adam(net.parameters(), self.hparams.lr) for net in (self.generator, self.discriminator)
        ]
        return optimizers, [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5) for optimizer in optimizers]


class Digits(L.LightningDataModule):
    def setup(self, stage):
        x, y = load_digits(n_class=CLASSES, return_X_y=True)
        data = TensorDataset(torch.tensor(x / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y))
        self.train, self.val = random_split(data, [0.7, 0.3], generator=torch.Generator().manual_seed(0))

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=8, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=64)


if __name__ == "__main__":
    L.seed_everything(0)
    model = ACGAN()
    digits = Digits()
    trainer = L.Trainer(max_epochs=2, logger=False, enable_checkpointing=False)
    trainer.fit(model, digits)
