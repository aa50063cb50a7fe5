"""DeepLab on torchvision's ResNets, with its second or its third head."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.checks import Findings, check_choice, check_count
from lightning_al.extras import needs
from lightning_al.zoo.backbone import load_but_for_the_head, torchvision_weights, weights_in_file
from lightning_al.zoo.parts import check_size
from lightning_al.zoo.segmentation.unet import resized

_RATES = (6, 12, 18, 24)
"""Dilations of DeepLab-v2's head."""

_FEATURES = 2048


class DeepLab(nn.Module):
    """A dilated ResNet, at an eighth of the image, and a head; logits are brought back to the image's size.

    ``head="v3"`` is torchvision's ``deeplabv3_resnet101`` without its auxiliary head, with the same names of weights.
    ``head="v2"`` is what RIPU's figures were had with (Chen et al., TPAMI 2018): four dilated 3x3 convolutions to the
    classes, by 6, 12, 18 and 24, added up; no BatchNorm, no pooling. (v2 of the original weights the backbone as Caffe
    does; this one, and that of RIPU's code, is torchvision's.)

    Args:
        num_classes: Number of logits.
        backbone: ``"resnet101"`` or ``"resnet50"``, as torchvision has them.
        head: ``"v3"`` or ``"v2"``.
        weights: Of the backbone. None: it begins at random. A file: a ``state_dict`` of torchvision's classifier.
            Otherwise the name of torchvision's (``IMAGENET1K_V1``), downloaded where they are not on this machine yet.
        frozen_batch_norm: The backbone's BatchNorms are constants: what ``weights`` say, or, at random, nothing.
        working_size: Height and width that images are brought to before the backbone, bilinear; logits come back at the
            size of the image that was given. So masks stay as they are while the network works on fewer pixels. None:
            the image as it is.

    Raises:
        ImportError: If torchvision is missing.
        ValueError: If an option is none of these, or weights are of another network.

    Example:
        >>> net = DeepLab(num_classes=5, backbone="resnet50", head="v2", working_size=(32, 64)).eval()
        >>> net(torch.zeros(1, 3, 40, 80)).shape
        torch.Size([1, 5, 40, 80])
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet101",
        head: str = "v3",
        weights: str | None = None,
        frozen_batch_norm: bool = False,
        working_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        with Findings() as findings:
            findings.of(check_count, "num_classes", num_classes, 2)
            findings.of(check_choice, "backbone", backbone, ("resnet101", "resnet50"))
            findings.of(check_choice, "head", head, ("v3", "v2"))
            if working_size is not None:
                findings.of(check_size, working_size, "working_size")
        with needs("`DeepLab`", "torchvision", "vision"):
            from torchvision import models
            from torchvision.models.segmentation.deeplabv3 import DeepLabHead
            from torchvision.ops import FrozenBatchNorm2d
        # A file that is not there is said before anything is made.
        state = None if weights is None else weights_in_file(weights)
        norm: Any = FrozenBatchNorm2d if frozen_batch_norm else nn.BatchNorm2d
        resnet = models.get_model(
            backbone, weights=None, replace_stride_with_dilation=[False, True, True], norm_layer=norm
        )
        if weights is not None:
            state = torchvision_weights(backbone, weights) if state is None else state
            load_but_for_the_head(resnet, state, of=f"`weights={weights!r}`")
        layers = [(name, layer) for name, layer in resnet.named_children() if name not in ("avgpool", "fc")]
        self.backbone = nn.Sequential(OrderedDict(layers))
        self.classifier = DeepLabHead(_FEATURES, num_classes) if head == "v3" else SummedHead(_FEATURES, num_classes)
        self.working_size = None if working_size is None else tuple(working_size)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, num_classes, H, W)."""
        small = x
        if self.working_size is not None:
            small = nn.functional.interpolate(x, self.working_size, mode="bilinear", align_corners=False)
        return resized(self.classifier(self.backbone(small)), x)


class SummedHead(nn.Module):
    """DeepLab-v2's head: the sum of dilated convolutions to the classes.

    Weights begin as in RIPU's code, normal with a deviation of 0.01.

    Args:
        in_channels: Channels of the features.
        num_classes: Number of logits.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(in_channels, num_classes, 3, padding=rate, dilation=rate) for rate in _RATES
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew; biases as torch does."""
        for convolution in self.convolutions:
            convolution.reset_parameters()  # type: ignore[operator]
            nn.init.normal_(convolution.weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, in_channels, H, W) to logits (B, num_classes, H, W)."""
        return torch.stack([convolution(x) for convolution in self.convolutions]).sum(0)
