"""Residual networks for images and volumes."""

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from lightning_al.checks import Findings, check_choice, check_count

_CONVOLUTION: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
_NORM: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_MAX_POOL: dict[int, type[nn.MaxPool1d] | type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {
    1: nn.MaxPool1d,
    2: nn.MaxPool2d,
    3: nn.MaxPool3d,
}
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

    expansion = 1

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
        self.downsample = _shortcut(in_channels, channels, stride, dimensions)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, ...) to (B, channels, ...)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        rectified: Tensor = self.relu(out)
        return rectified


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 with BatchNorm beside a shortcut (He et al., CVPR 2016).

    The stride is in the 3x3 convolution, as in torchvision's and in kuangliu/pytorch-cifar.

    Args:
        in_channels: Channels that come in.
        channels: Channels of the 3x3 convolution; four times as many go out.
        stride: Of it and, where shapes change, of the shortcut's.
        dimensions: 1, 2 or 3.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1, dimensions: int = 2) -> None:
        super().__init__()
        conv, norm = _CONVOLUTION[dimensions], _NORM[dimensions]
        out_channels = self.expansion * channels
        self.conv1 = conv(in_channels, channels, 1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = norm(channels)
        self.conv3 = conv(channels, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels, stride, dimensions)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, ...) to (B, 4 * channels, ...)."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        out += identity
        rectified: Tensor = self.relu(out)
        return rectified


def _shortcut(in_channels: int, channels: int, stride: int, dimensions: int) -> nn.Module | None:
    if stride == 1 and in_channels == channels:
        return None
    shortcut = _CONVOLUTION[dimensions](in_channels, channels, 1, stride, bias=False)
    return nn.Sequential(shortcut, _NORM[dimensions](channels))


_Block = type[BasicBlock] | type[Bottleneck]


def _stage(
    block: _Block, in_channels: int, channels: int, *, depth: int, stride: int, dimensions: int
) -> nn.Sequential:
    first = block(in_channels, channels, stride, dimensions)
    others = [block(block.expansion * channels, channels, dimensions=dimensions) for _ in range(depth - 1)]
    return nn.Sequential(first, *others)


class ResNet18(nn.Module):
    """ResNet-18 (He et al., CVPR 2016), untrained.

    Weights have the names of torchvision's ResNet-18. They begin as torch's own layers do, as in the code of SAAL, of
    the gradient norms and of LPLgrad, so that ``reset_parameters`` of the layers draws from the same distribution.
    (torchvision draws convolutions from Kaiming's with fan-out, which makes those of 3x3 start 2.45 times as wide.)

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the input: 1 for grey, 3 for colour.
        width: Channels of the first stage; each of the three that follow doubles them.
        dimensions: 2 for images, 3 for volumes, 1 for signals.
        stem: ``"3x3"``, for images of CIFAR's size: one convolution of stride 1. ``"7x7"``, the original, for
            photographs: a convolution of stride 2 and a max-pool, which would leave 8x8 of a 32x32 image.

    Raises:
        ValueError: If ``dimensions`` or ``stem`` is none of these.

    Example:
        >>> import torch
        >>> ResNet18(width=8).eval()(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
        >>> ResNet18(num_classes=4, in_channels=1, width=8, dimensions=3).eval()(torch.zeros(1, 1, 8, 8, 8)).shape
        torch.Size([1, 4])
    """

    block: ClassVar[_Block] = BasicBlock
    depths: ClassVar[tuple[int, int, int, int]] = (2, 2, 2, 2)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 64,
        dimensions: int = 2,
        stem: Literal["3x3", "7x7"] = "3x3",
    ) -> None:
        super().__init__()
        with Findings() as findings:
            findings.of(check_count, "dimensions", dimensions, most=3)
            findings.of(check_choice, "stem", stem, ("3x3", "7x7"))
        kernel, stride = (3, 1) if stem == "3x3" else (7, 2)
        self.conv1 = _CONVOLUTION[dimensions](in_channels, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = _NORM[dimensions](width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if stem == "3x3" else _MAX_POOL[dimensions](3, 2, padding=1)
        out, depths = self.block.expansion * width, self.depths
        self.layer1 = _stage(self.block, width, width, depth=depths[0], stride=1, dimensions=dimensions)
        self.layer2 = _stage(self.block, out, 2 * width, depth=depths[1], stride=2, dimensions=dimensions)
        self.layer3 = _stage(self.block, 2 * out, 4 * width, depth=depths[2], stride=2, dimensions=dimensions)
        self.layer4 = _stage(self.block, 4 * out, 8 * width, depth=depths[3], stride=2, dimensions=dimensions)
        self.avgpool = _POOL[dimensions](1)
        self.fc = nn.Linear(8 * out, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W), or volumes, to logits (B, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


class ResNet50(ResNet18):
    """ResNet-50 (He et al., CVPR 2016), untrained: bottlenecks, 3, 4, 6 and 3 of them; else as :class:`ResNet18`.

    Weights have the names of torchvision's ResNet-50. To predict losses from its stages, name them
    (``loss_layers=["net.layer1", "net.layer2", "net.layer3", "net.layer4"]``): a stage's first convolution still runs
    at the resolution of the one before.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the input.
        width: Channels of the 3x3 convolutions of the first stage.
        dimensions: As of :class:`ResNet18`.
        stem: As there.

    Example:
        >>> import torch
        >>> ResNet50(num_classes=5, width=4, stem="7x7").eval()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 5])
    """

    block: ClassVar[_Block] = Bottleneck
    depths: ClassVar[tuple[int, int, int, int]] = (3, 4, 6, 3)
