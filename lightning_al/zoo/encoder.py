"""A LightningModule that makes features of images, by a network without its last layer."""

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lightning_al.checks import Findings, check_count, check_number
from lightning_al.words import shown


def without_last_layer(net: nn.Module) -> tuple[nn.Module, int]:
    """Return a network that gives what its last linear layer would get, and how many numbers that are.

    Args:
        net: Its last layer, as they are registered, is linear, and the last that runs. It is changed in place.

    Raises:
        ValueError: If it has no linear layer, or is one and nothing else.

    Example:
        >>> net, size = without_last_layer(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 10)))
        >>> net(torch.zeros(2, 4)).shape, size
        (torch.Size([2, 3]), 3)
    """
    linear = [(name, layer) for name, layer in net.named_modules() if name and isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(
            f"`net` must end with a linear layer, whose inputs are the features; {type(net).__name__} has none inside."
        )
    name, layer = linear[-1]
    net.set_submodule(name, nn.Identity())
    return net, layer.in_features


class Encoder(LightningModule):
    """Makes features of images, trained elsewhere: ``lightning-al features`` writes those of a whole data set.

    Args:
        net: Images (B, C, H, W) to logits (B, num_classes). Its last linear layer is taken off, and what it would get
            are the features. :class:`ImageBackbone` has any network of torchvision's or timm's, with its weights.
        mean: Of each channel, subtracted from images first. Default: nothing is.
        std: Of each channel, divided by. Default: 1.
        size: Height and width that images are scaled to. Default: they stay as they are.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range, or ``net`` has no linear layer.

    Example:
        >>> from lightning_al.zoo import ResNet18
        >>> encoder = Encoder(ResNet18(width=4), mean=[0.5, 0.5, 0.5], std=[0.2, 0.2, 0.2]).eval()
        >>> encoder(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 32])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__()
        with Findings() as findings:
            for name, values, above in (("mean", mean, None), ("std", std, 0)):
                for value in values or ():
                    findings.of(check_number, name, value, above=above)
            channels = [len(values) for values in (mean, std) if values is not None]
            findings.refuse_if(
                len(set(channels)) > 1,
                f"`mean` and `std` must have one number per channel each, got {shown(mean)} and {shown(std)}.",
            )
            findings.of(check_count, "size", size, optional=True)
        self.net, self.num_features = without_last_layer(net)
        self.size = size
        self.register_buffer("mean", torch.tensor(mean or [0.0]).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std or [1.0]).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to features (B, num_features)."""
        images = (images - self.mean) / self.std
        if self.size is not None:
            size = (self.size, self.size)
            images = nn.functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        features: Tensor = self.net(images)
        return features
