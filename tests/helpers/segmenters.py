"""A tiny U-Net, images and masks, and a project of them."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop, Loaders, SegmentationTask
from lightning_al.training import LossPredictionMixin
from tests.helpers.decisions import Project
from tests.helpers.projects import make_trainer

C = 3
VOID = 255


class UNet(Project):
    """Two scales; up by a transposed convolution or by interpolation, joined with what came before."""

    def __init__(self, up="transposed", seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.fine = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.GroupNorm(2, 6), nn.ReLU())
        self.drop = nn.Dropout(0.3)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2) if up == "transposed" else nn.Conv2d(6, 4, 1)
        self.head = nn.Conv2d(8, C, 1)
        for module in self.modules():
            if isinstance(module, nn.GroupNorm):  # as after some training
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
        self.double()

    def joined(self, x):
        """What the last layer gets."""
        fine = self.fine(x)
        up = self.up(self.drop(self.coarse(fine)))
        if up.shape[-2:] != fine.shape[-2:]:
            up = F.interpolate(up, fine.shape[-2:], mode="bilinear")
        return torch.cat([fine, up], 1)

    def forward(self, x):
        return 3 * self.head(self.joined(x))

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1], ignore_index=VOID)


class LearnsItsLoss(LossPredictionMixin, UNet):
    pass


def images(n, height=4, width=6, seed=0):
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masks(n, height=4, width=6, void=0.3, ignore_index=VOID, seed=1):
    """Random classes; a share of the pixels, and all of the second mask, have none."""
    draws = torch.Generator().manual_seed(seed)
    y = torch.randint(C, (n, height, width), generator=draws)
    y[torch.rand(y.shape, generator=draws) < void] = ignore_index
    y[1:2] = ignore_index
    return y


def dataset(n=20, **options):
    x = images(n, **options)
    y = x.argmax(1)
    y[:, 0] = VOID
    return TensorDataset(x, y)


def loop_of(folder, acquisition, *, model=None, task=None, train=None, **options):
    """Return a loop and its trainer."""
    train = train or dataset()
    loaders = Loaders(DataLoader(train, batch_size=4), DataLoader(dataset(8), batch_size=6), pool=train)
    task = task or SegmentationTask(C)
    options = {"initial": 6, "query_size": 4, "rounds": 1, "task": task, "dirpath": folder / "c", **options}
    return ActiveLearningLoop(model or UNet(), loaders, **options), make_trainer(folder, acquisition=acquisition)
