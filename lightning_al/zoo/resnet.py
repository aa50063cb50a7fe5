"""ResNet-18 for small images and volumes."""

from typing import Any

from torch import Tensor, nn

from lightning_al.checks import check_count

_CONVOLUTION: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
_NORM: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL: dict[int, type[nn.Module]] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm beside a shortcut (He et al., CVPR 2016).

    Args:
        in_channels: Channels that come in.
        channels: Channels that go out.
        stride: Of the first convolution and, where shapes change, of the shortcut's.
        dimensions: 1, 2 or 3.
        dilation: Of both convolutions.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, dimensions: int = 2, dilation: int = 1
    ) -> None:
        super().__init__()
        conv, norm = _CONVOLUTION[dimensions], _NORM[dimensions]
        around: dict[str, Any] = {"padding": dilation, "dilation": dilation, "bias": False}
        self.conv1 = conv(in_channels, channels, 3, stride, **around)
        self.bn1 = norm(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv(channels, channels, 3, **around)
        self.bn2 = norm(channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != channels:
            shortcut = conv(in_channels, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, ...) to (B, channels, ...)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        rectified: Tensor = self.relu(out)
        return rectified


class ResNet18(nn.Module):
    """ResNet-18, untrained, with the stem that CIFAR-sized images need.

    The 7x7 stride-2 convolution and the max-pool, which would leave 8x8 of a 32x32 image, are replaced by one 3x3
    convolution of stride 1. Weights have the names of torchvision's ResNet-18. They begin as torch's own
    layers do, as in the code of SAAL, of the gradient norms and of LPLgrad, so that ``reset_parameters`` of the layers
    draws from the same distribution. (torchvision draws convolutions from Kaiming's with fan-out, which makes those of
    3x3 start 2.45 times as wide.)

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the input: 1 for grey, 3 for colour.
        width: Channels of the first stage; each of the three that follow doubles them.
        dimensions: 2 for images, 3 for volumes, 1 for signals.

    Raises:
        ValueError: If ``dimensions`` is none of these.

    Example:
        >>> import torch
        >>> ResNet18(width=8).eval()(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
        >>> ResNet18(num_classes=4, in_channels=1, width=8, dimensions=3).eval()(torch.zeros(1, 1, 8, 8, 8)).shape
        torch.Size([1, 4])
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, width: int = 64, dimensions: int = 2) -> None:
        super().__init__()
        check_count("dimensions", dimensions, most=3)
        self.conv1 = _CONVOLUTION[dimensions](in_channels, width, 3, padding=1, bias=False)
        self.bn1 = _NORM[dimensions](width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(width, width, 1, dimensions)
        self.layer2 = _stage(width, 2 * width, 2, dimensions)
        self.layer3 = _stage(2 * width, 4 * width, 2, dimensions)
        self.layer4 = _stage(4 * width, 8 * width, 2, dimensions)
        self.avgpool = _POOL[dimensions](1)
        self.fc = nn.Linear(8 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W), or volumes, to logits (B, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _stage(in_channels: int, channels: int, stride: int, dimensions: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride, dimensions)
    return nn.Sequential(first, BasicBlock(channels, channels, dimensions=dimensions))
