"""A small convolutional network for tests, demos and runs on a CPU."""

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Three convolution blocks, global average pooling, one linear layer.

    A block is a 3x3 convolution, BatchNorm and ReLU; a 2x2 max-pool stands between blocks. Any input of at least
    8x8 pixels will do, a training batch of one image included. 94,000 weights at the default width.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the input: 1 for grey, 3 for colour.
        width: Channels of the first block; the second has twice, the third four times as many.

    Example:
        >>> import torch
        >>> SmallCNN()(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(in_channels, width),
            nn.MaxPool2d(2),
            *_block(width, 2 * width),
            nn.MaxPool2d(2),
            *_block(2 * width, 4 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) to logits (B, num_classes)."""
        logits: Tensor = self.fc(self.features(x))
        return logits


def _block(in_channels: int, out_channels: int) -> list[nn.Module]:
    # No bias: BatchNorm has one.
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]
