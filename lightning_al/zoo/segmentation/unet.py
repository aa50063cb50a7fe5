"""A small U-Net without BatchNorm, for runs on a CPU."""

import torch
from torch import Tensor, nn

from lightning_al.checks import check_that


class SmallUNet(nn.Module):
    """Three scales, halved, quartered and at an eighth of the image; logits are brought back to the image's size.

    Each of the seven 3x3 convolutions has GroupNorm and ReLU behind it, no BatchNorm: a small labelled set moves
    BatchNorm's statistics more than the labels do. Per-sample gradients are cheap and exact for all its layers. 0.43
    million weights at the default width; seen to learn CamVid at 240x180 in some hundred steps.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the image.
        width: Channels of the finest scale, a multiple of ``groups``; each coarser one has twice as many.
        groups: Of the GroupNorms.

    Raises:
        ValueError: If ``width`` cannot be divided into ``groups``.

    Example:
        >>> SmallUNet(num_classes=11)(torch.zeros(2, 3, 30, 45)).shape
        torch.Size([2, 11, 30, 45])
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 32, groups: int = 8) -> None:
        super().__init__()
        check_that(width % groups == 0, "width", width, f"a multiple of `groups={groups}`")
        fine, middle, coarse = width, 2 * width, 4 * width
        self.fine = nn.Sequential(_block(in_channels, fine, groups, stride=2), _block(fine, fine, groups))
        self.middle = nn.Sequential(_block(fine, middle, groups, stride=2), _block(middle, middle, groups))
        self.coarse = nn.Sequential(_block(middle, coarse, groups, stride=2), _block(coarse, coarse, groups))
        self.up_to_middle = _block(coarse + middle, middle, groups)
        self.up_to_fine = _block(middle + fine, fine, groups)
        self.classify = nn.Conv2d(fine, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W), of any size, to logits (B, num_classes, H, W)."""
        fine = self.fine(x)
        middle = self.middle(fine)
        up = self.up_to_middle(torch.cat([resized(self.coarse(middle), middle), middle], 1))
        up = self.up_to_fine(torch.cat([resized(up, fine), fine], 1))
        return resized(self.classify(up), x)


def resized(maps: Tensor, like: Tensor) -> Tensor:
    """Return maps (B, C, ...) at the height and width of other ones, bilinear."""
    return nn.functional.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)


def _block(in_channels: int, channels: int, groups: int, stride: int = 1) -> nn.Sequential:
    # No bias: GroupNorm has one.
    convolution = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(groups, channels), nn.ReLU())
