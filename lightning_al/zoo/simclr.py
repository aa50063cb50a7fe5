"""SimCLR (Chen et al., ICML 2020): an encoder that learns from images without labels."""

import math
from collections.abc import Callable, Sequence, Sized
from typing import Any, cast

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.utils.data import Dataset

from lightning_al.checks import Findings, check_count, check_number
from lightning_al.extras import needs
from lightning_al.functional import nt_xent_loss
from lightning_al.tasks.classification import ClassificationTask
from lightning_al.zoo.encoder import Encoder

Augmentation = Callable[[Tensor], Tensor]


def simclr_augmentation(size: Sequence[int], smallest_crop: float = 0.08, colour: float = 0.5) -> Augmentation:
    """Return SimCLR's augmentation of small images (App. A, B.9): a part scaled up, mirrored, other colours; no blur.

    Args:
        size: Height and width of the images, which they keep.
        smallest_crop: The least share of the image's area that is left.
        colour: How far brightness, contrast, saturation and hue move: by 0.8, 0.8, 0.8 and 0.2 of this, in four of
            five views. One in five is grey. 0: colours stay.

    Returns:
        Images (C, H, W) of pixels from 0 to 1 to images like them. Draws from torch's global generator.

    Raises:
        ImportError: If torchvision is missing.
    """
    with needs("SimCLR's augmentation", "torchvision", "vision"):
        from torchvision.transforms import v2
    jitter = v2.ColorJitter(0.8 * colour, 0.8 * colour, 0.8 * colour, 0.2 * colour)
    colours = [v2.RandomApply([jitter], p=0.8), v2.RandomGrayscale(p=0.2)] if colour > 0 else []
    crop = v2.RandomResizedCrop(list(size), scale=(smallest_crop, 1.0), antialias=True)
    augmentation: Augmentation = v2.Compose([crop, v2.RandomHorizontalFlip(), *colours])
    return augmentation


class TwoViews(Dataset[tuple[Tensor, Tensor]]):
    """Two views of each image.

    Args:
        samples: Images (C, H, W) of pixels from 0 to 1, or tuples and the like of which they are the inputs.
        augmentation: Image to view, called twice.

    Raises:
        ValueError: If the first image has other pixels.
    """

    def __init__(self, samples: Dataset[Any], augmentation: Augmentation) -> None:
        self.samples = samples
        self.augmentation = augmentation
        image = image_of(samples, 0)
        least, most = float(image.min()), float(image.max())
        if least < 0 or most > 1:
            raise ValueError(
                f"Colours are changed in pixels from 0 to 1, and those of the first image go from {least:.3g} to "
                f"{most:.3g}. Have the data give them as they are (`mean: [0, 0, 0]` and `std: [1, 1, 1]` of the "
                "zoo's), and the model normalise them (`mean` and `std` of `SimCLR`)."
            )

    def __len__(self) -> int:
        return len(cast("Sized", self.samples))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = image_of(self.samples, index)
        return self.augmentation(image), self.augmentation(image)


def image_of(samples: Dataset[Any], index: int) -> Tensor:
    """Return an image (C, H, W) without its label."""
    image: Tensor = ClassificationTask().inputs(samples[index])
    return image


class SimCLR(Encoder):
    r"""An encoder that learns without labels that two views of an image are alike (Chen et al., ICML 2020).

    Features go through a projection head, Linear, ReLU, Linear, into
    :func:`~lightning_al.functional.nt_xent_loss`; features before it are what is used afterwards. The learning rate
    rises in ``warmup_epochs`` and then falls along a cosine, to 0 at the end, after each step. Logs ``train_loss``.

    Train it by ``lightning-al features``, or with loaders over :meth:`views`. ``training_step`` takes pairs of views;
    negatives are those of a process's own batch.

    The defaults are those of the features that ProbCover and TypiClust were published with (the code of Van Gansbeke
    et al., ECCV 2020, for CIFAR-10, but for its rate's end at a thousandth). Chen et al. train ResNet-50 with LARS, the
    temperature 0.5 and parts from 8 % of the area on.

    Args:
        net: As of :class:`Encoder`; its last layer is taken off.
        temperature: :math:`\tau`, above 0.
        projection: Numbers of a projection. The layer before it is as wide as the features.
        smallest_crop: As of :func:`simclr_augmentation`.
        colour: The same.
        warmup_epochs: Epochs in which the learning rate rises.
        optimizer: Weights to optimizer. Default: SGD with 0.4, momentum 0.9 and weight decay 1e-4, for batches of 512.
        **options: ``mean``, ``std`` and ``size`` of :class:`Encoder`.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.

    Example:
        >>> from lightning_al.zoo import ResNet18
        >>> model = SimCLR(ResNet18(width=4), projection=8)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 32])
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        temperature: float = 0.1,
        projection: int = 128,
        smallest_crop: float = 0.2,
        colour: float = 0.5,
        warmup_epochs: int = 0,
        # A lambda, since jsonargparse reads its source.
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(params, lr=0.4, momentum=0.9, weight_decay=1e-4),
        **options: Any,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(net, **options)
            findings.of(check_number, "temperature", temperature, above=0)
            findings.of(check_count, "projection", projection)
            findings.of(check_number, "smallest_crop", smallest_crop, above=0, most=1)
            findings.of(check_number, "colour", colour, least=0, most=2.5)
            findings.of(check_count, "warmup_epochs", warmup_epochs, 0)
        self.temperature = temperature
        self.smallest_crop = smallest_crop
        self.colour = colour
        self.warmup_epochs = warmup_epochs
        self.optimizer = optimizer
        d = self.num_features
        self.project = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, projection))

    def views(self, samples: Dataset[Any]) -> TwoViews:
        """Return what is trained on, of samples without augmentation: two views of each image."""
        size = image_of(samples, 0).shape[-2:]
        return TwoViews(samples, simclr_augmentation(size, self.smallest_crop, self.colour))

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch of pairs of views."""
        first, second = self.project(self(torch.cat(list(batch)))).chunk(2)
        loss = nt_xent_loss(first, second, temperature=self.temperature)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(first), prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """The optimizer, and a schedule over the steps of the fit."""
        total = self.trainer.estimated_stepping_batches
        if not math.isfinite(total) or self.trainer.max_epochs is None:
            raise MisconfigurationException(
                "The learning rate of `SimCLR` falls to 0 at the end, and "
                f"Trainer(max_epochs={self.trainer.max_epochs}) has none. Say how many epochs there are."
            )
        warmup = round(total * self.warmup_epochs / max(self.trainer.max_epochs, 1))
        optimizer = self.optimizer(self.parameters())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, warmup, int(total)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rate(step: int, warmup: int, total: int) -> float:
    """Return the share of the learning rate at a step: it rises linearly to 1, then falls along a cosine to 0.

    Example:
        >>> [round(rate(step, warmup=2, total=6), 3) for step in range(7)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
