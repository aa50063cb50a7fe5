"""ResNet-18 for small images."""

from torch import Tensor, nn


class ResNet18(nn.Module):
    """torchvision's ResNet-18, untrained, with the stem that CIFAR-sized images need.

    The 7x7 stride-2 convolution and the max-pool, which would leave 8x8 of a 32x32 image, are replaced by one 3x3
    convolution of stride 1.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the input: 1 for grey, 3 for colour.

    Raises:
        ImportError: If torchvision is missing.

    Example:
        >>> import torch
        >>> ResNet18().eval()(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        try:
            from torchvision.models import resnet18
        except ImportError as error:
            raise ImportError("ResNet18 needs torchvision: `pip install lightning-al[vision]`.") from error
        net = resnet18(weights=None, num_classes=num_classes)
        self.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own stem
        self.bn1 = net.bn1
        self.relu = net.relu
        self.layer1 = net.layer1
        self.layer2 = net.layer2
        self.layer3 = net.layer3
        self.layer4 = net.layer4
        self.avgpool = net.avgpool
        self.fc = net.fc

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) to logits (B, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits
