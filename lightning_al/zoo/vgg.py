"""VGG-16, convolutions in a row without shortcuts."""

from typing import Literal

from torch import Tensor, nn

from lightning_al.checks import check_choice


class VGG16(nn.Module):
    """VGG-16 (Simonyan and Zisserman, ICLR 2015), untrained: thirteen 3x3 convolutions, three linear layers.

    138 million weights with a thousand classes. They have the names of torchvision's VGG-16, with ``batch_norm`` of its
    ``vgg16_bn``.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the input.
        width: Channels of the first two convolutions; the deeper ones have 2, 4 and 8 times as many.
        hidden: Outputs of the first two linear layers.
        dropout: Probability of dropout after each of them.
        batch_norm: Whether BatchNorm stands behind every convolution, as in later code.
        initial: ``"torch"``: weights begin as torch's own layers do, as those of the zoo's other networks. Without
            BatchNorm activations then shrink on the way, until the logits of two images differ by 1e-7 (at width 32),
            and the network hardly begins to learn.
            ``"kaiming"``: as torchvision's, convolutions from Kaiming's normal distribution with fan-out, linear
            layers with deviation 0.01, biases 0.

    Raises:
        ValueError: If ``initial`` is neither.

    Example:
        >>> import torch
        >>> VGG16(num_classes=5, width=4, hidden=8).eval()(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        hidden: int = 4096,
        dropout: float = 0.5,
        batch_norm: bool = False,
        initial: Literal["torch", "kaiming"] = "torch",
    ) -> None:
        super().__init__()
        check_choice("initial", initial, ("torch", "kaiming"))
        self.initial = initial
        layers: list[nn.Module] = []
        channels = in_channels
        for depth, factor in ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8)):
            for _ in range(depth):
                layers.append(nn.Conv2d(channels, factor * width, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(factor * width))
                layers.append(nn.ReLU(inplace=True))
                channels = factor * width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            *(nn.Linear(49 * channels, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            nn.Linear(hidden, num_classes),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Kaiming's weights, if these are asked for; the layers have drawn their own."""
        if self.initial == "torch":
            return
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0, 0.01)
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W), at least 32x32, to logits (B, num_classes)."""
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits
