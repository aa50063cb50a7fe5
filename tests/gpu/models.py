"""Small models with weights that are neither initial nor alike, and images of a few classes."""

import copy

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.zoo import ResNet18, SmallCNN, ViT

CLASSES = 4

NETS = {
    "CNN": lambda: SmallCNN(num_classes=CLASSES, width=8),
    "ResNet": lambda: ResNet18(num_classes=CLASSES, in_channels=1, width=8),
    "ViT": lambda: ViT(num_classes=CLASSES, in_channels=1, image_size=16, dim=16, depth=2, heads=2, dropout=0.1),
}


@torch.no_grad()
def settled(net: nn.Module) -> nn.Module:
    """Give a model weights, affines and statistics as after some training, the same everywhere."""
    draws = torch.Generator().manual_seed(3)
    for p in net.parameters():
        drawn = torch.randn(p.shape, generator=draws) * (0.5 if p.ndim < 2 else p[0].numel() ** -0.5)
        p.copy_(drawn + 0.5 * (p.ndim < 2))
    for name, b in net.named_buffers():
        if name.endswith("var"):
            b.copy_(torch.rand(b.shape, generator=draws) + 0.5)
        elif name.endswith("mean"):
            b.copy_(torch.randn(b.shape, generator=draws) * 0.1)
    return net


def images(n: int, *, size: int = 16, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Return images that differ by class, in float64, and their classes."""
    draws = torch.Generator().manual_seed(0)
    y = torch.arange(n) % CLASSES
    of_class = torch.randn(CLASSES, channels, size, size, generator=draws, dtype=torch.float64)
    noise = torch.randn(n, channels, size, size, generator=draws, dtype=torch.float64)
    return noise + 0.7 * of_class[y], y


class Pictures(L.LightningDataModule):
    """A training set of images, which is the pool too, in a precision."""

    def __init__(self, n: int, dtype: torch.dtype = torch.float32, **shape: int) -> None:
        super().__init__()
        x, y = images(n, **shape)
        self.train = TensorDataset(x.to(dtype), y)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=8, shuffle=True)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.train, batch_size=50)

    def pool_dataset(self) -> TensorDataset:
        return self.train


def moved(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return a copy of a model on a device, in a precision."""
    return copy.deepcopy(model).to(device, dtype)


def quiet(accelerator: str, folder: str, **options: object) -> L.Trainer:
    """Return a Trainer on one device that says nothing and leaves nothing behind."""
    return L.Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,  # type: ignore[arg-type]
    )
