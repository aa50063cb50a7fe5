"""Small convolutional networks for tests, demos and runs on a CPU."""

from torch import Tensor, nn

from lightning_al.checks import check_count


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


class PlainCNN(nn.Sequential):
    """Two convolutions and two linear layers, without BatchNorm: to compare methods on a CPU.

    Trained on batches of ten of a few hundred images, a network with BatchNorm ends anywhere: :class:`SmallCNN` between
    0.36 and 0.64 with the same 220 labels of Fashion-MNIST. Four trainings of this one end within 0.01 of each other,
    so that what lies between two methods can be seen. 106,000 weights with the defaults.

    A 3x3 convolution, ReLU and a 2x2 max-pool, twice, then a hidden layer of four times the width.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the input: 1 for grey, 3 for colour.
        size: Height and width of the images, at least 4.
        width: Channels of the first convolution; the second has twice as many.

    Raises:
        TypeError: If ``size`` is no integer.
        ValueError: If it is less than 4.

    Example:
        >>> import torch
        >>> PlainCNN(size=8)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, size: int = 28, width: int = 16) -> None:
        check_count("size", size, least=4)
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.hidden = nn.Sequential(nn.Linear(2 * width * (size // 4) ** 2, 4 * width), nn.ReLU())
        self.fc = nn.Linear(4 * width, num_classes)


def _block(in_channels: int, out_channels: int) -> list[nn.Module]:
    # No bias: BatchNorm has one.
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]
