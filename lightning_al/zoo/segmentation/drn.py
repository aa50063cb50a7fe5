"""DRN-D-22, a residual network whose last stages are dilated instead of strided."""

from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_al.zoo.resnet import BasicBlock
from lightning_al.zoo.segmentation.unet import resized


class DRN22(nn.Module):
    """DRN-D-22 for segmentation (Yu, Koltun and Funkhouser, CVPR 2017): logits at an eighth of the image, brought back.

    A 7x7 convolution; one 3x3 convolution; one of stride 2; two residual blocks in each of four stages, of which the
    first two are strided and the last two dilated by 2 and 4; two 3x3 convolutions that undo the gridding, dilated by 2
    and 1; a 1x1 convolution to the classes. With ImageNet's 1,000 classes these are 16.4 million weights. Weights have
    the names of the authors' code, and begin as torch's own layers do.

    Where we differ from the authors' code: logits are brought to the image's size by bilinear interpolation, theirs by
    a fixed transposed convolution with bilinear weights, whose logits shrink towards the borders; and images need not
    be multiples of 8.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the image.
        width: Channels of the first layers; the published 16.
        weights: A file: a ``state_dict`` of this network, or of the authors' ImageNet one, whose ``fc`` is left out.

    Raises:
        ValueError: If weights are of another network.

    Example:
        >>> net = DRN22(num_classes=19, width=2).eval()
        >>> net.features(torch.zeros(1, 3, 64, 48)).shape, net(torch.zeros(1, 3, 64, 48)).shape
        (torch.Size([1, 64, 8, 6]), torch.Size([1, 19, 64, 48]))
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 16, weights: str | None = None) -> None:
        super().__init__()
        self.layer0 = _convolution(in_channels, width, size=7)
        self.layer1 = _convolution(width, width)
        self.layer2 = _convolution(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        self.layer5 = _stage(8 * width, 16 * width, dilation=2)
        self.layer6 = _stage(16 * width, 32 * width, dilation=4)
        self.layer7 = _convolution(32 * width, 32 * width, dilation=2)
        self.layer8 = _convolution(32 * width, 32 * width)
        self.classify = nn.Conv2d(32 * width, num_classes, 1)
        if weights is not None:
            self._load(weights)

    def features(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) to maps (B, 32 * width, H / 8, W / 8), rounded up."""
        for number in range(9):
            x = self.get_submodule(f"layer{number}")(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) to logits (B, num_classes, H, W)."""
        return resized(self.classify(self.features(x)), x)

    def _load(self, weights: str) -> None:
        state = torch.load(Path(weights).expanduser(), map_location="cpu", weights_only=True)
        own = self.state_dict()
        # Files of 2017 know nothing of BatchNorm's count of batches.
        needed = [name for name in own if not name.startswith("classify.") and not name.endswith("num_batches_tracked")]
        other = [name for name in needed if name not in state or state[name].shape != own[name].shape]
        if other:
            raise ValueError(
                f"`weights={weights!r}` are of another network: {other[0]!r} is missing, or has another shape."
            )
        fitting = {name: state[name] for name in own if name in state and state[name].shape == own[name].shape}
        self.load_state_dict(own | fitting)


def _convolution(
    in_channels: int, channels: int, *, size: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    around = size // 2 * dilation
    convolution = nn.Conv2d(in_channels, channels, size, stride, padding=around, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _stage(in_channels: int, channels: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride, dilation=dilation)
    return nn.Sequential(first, BasicBlock(channels, channels, dilation=dilation))
