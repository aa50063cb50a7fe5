"""A project of detection: coloured squares on noise, and a small SSD that learns them."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tests.helpers.detectors import detector

Sample = tuple[Tensor, dict[str, Tensor]]


class Squares(Dataset):
    """Images of up to three squares, of a colour for each of three classes; the first has none."""

    def __init__(self, count: int = 12, sizes: tuple[tuple[int, int], ...] = ((64, 64),), seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.samples = [_drawn(sizes[i % len(sizes)], i % 4, generator) for i in range(count)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        image, target = self.samples[index]
        return image.clone(), {name: part.clone() for name, part in target.items()}


def _drawn(size: tuple[int, int], count: int, generator: torch.Generator) -> Sample:
    image = torch.rand(3, *size, generator=generator) * 0.3
    boxes, labels = torch.zeros(count, 4), torch.randint(1, 4, (count,), generator=generator)
    for n, label in enumerate(labels):
        left, top = (int(torch.randint(0, each - 24, (1,), generator=generator)) for each in (size[1], size[0]))
        side = int(torch.randint(12, 24, (1,), generator=generator))
        image[label - 1, top : top + side, left : left + side] = 1.0
        boxes[n] = torch.tensor([left, top, left + side, top + side])
    return image, {"boxes": boxes, "labels": labels}


def in_lists(samples: list[Sample]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Collate samples of any sizes."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


class SquaresData(pl.LightningDataModule):
    """The squares in lists."""

    def __init__(self, count: int = 12, sizes: tuple[tuple[int, int], ...] = ((64, 64),)) -> None:
        super().__init__()
        self.data = Squares(count, sizes)
        self.held_out = Squares(4, sizes, seed=1)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.data, 2, shuffle=True, collate_fn=in_lists)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.held_out, 2, collate_fn=in_lists)


class Detecting(pl.LightningModule):
    """Trains one of torchvision's detectors."""

    def __init__(self, make: str | Callable[[], nn.Module] = "ssd", lr: float = 1e-3) -> None:
        super().__init__()
        self.detector = detector(make) if isinstance(make, str) else make()
        self.lr = lr

    def forward(self, images: Any) -> Any:
        return self.detector(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.detector.train()
        return torch.stack(list(self.detector(*batch).values())).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        found = self.detector(batch[0])
        self.log("boxes", float(sum(len(each["boxes"]) for each in found)), batch_size=len(found))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.lr)
