"""A small SSD, for runs on a CPU."""

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from lightning_al.checks import Findings, check_count
from lightning_al.extras import needs
from lightning_al.zoo.parts import check_size


class SmallSSD(nn.Module):
    """torchvision's ``SSD`` on ten convolutions: boxes at an eighth, a 16th and a 32nd of a small square image.

    Each 3x3 convolution has BatchNorm and ReLU behind it. Three maps, with boxes of 7, 16 and 30 % of the image, and of
    half and double width. 0.55 million weights for 4 classes; seen to learn blood cells (BCCD) at 160 x 160 in some
    hundred steps, a minute of one CPU core.

    Args:
        num_classes: With the background, which is class 0.
        size: Height and width that images are brought to.
        width: Channels of the first convolution.
        score_thresh: Boxes are kept that score more, ...
        nms_thresh: ... and overlap a better one of their class by no more than this, ...
        detections_per_img: ... and of them so many of an image.

    Raises:
        TypeError: If ``size`` is no pair.
        ValueError: If a number is out of range.
        ImportError: If torchvision is missing.

    Example:
        >>> import torch
        >>> model = SmallSSD(num_classes=4).eval()
        >>> sorted(model([torch.zeros(3, 120, 160)])[0])
        ['boxes', 'labels', 'scores']
    """

    def __init__(
        self,
        num_classes: int,
        size: tuple[int, int] = (160, 160),
        width: int = 16,
        score_thresh: float = 0.01,
        nms_thresh: float = 0.45,
        detections_per_img: int = 200,
    ) -> None:
        super().__init__()
        with needs("`SmallSSD`", "torchvision", "detection"):
            from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
            from torchvision.models.detection.ssd import SSD

        with Findings() as findings:
            findings.of(check_count, "num_classes", num_classes, 2)
            findings.of(check_count, "width", width)
            findings.of(check_size, size)
        self.detector = SSD(
            _Maps(width),
            DefaultBoxGenerator([[2]] * 3, scales=[0.07, 0.16, 0.30, 0.5]),
            (size[0], size[1]),
            num_classes,
            score_thresh=score_thresh,
            nms_thresh=nms_thresh,
            detections_per_img=detections_per_img,
        )

    def forward(self, images: Any, targets: Any = None) -> Any:
        """Images to detections, or, in ``train()``, with targets to a dict of losses: as torchvision's detectors."""
        return self.detector(images, targets)


class _Maps(nn.Module):
    """The convolutions; their maps are taken at three places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_channels = [4 * width, 6 * width, 8 * width]
        self.fine = nn.Sequential(
            _block(3, width, 2),
            _block(width, 2 * width, 2),
            _block(2 * width, 2 * width),
            _block(2 * width, 4 * width, 2),
            _block(4 * width, 4 * width),
        )
        self.middle = nn.Sequential(_block(4 * width, 6 * width, 2), _block(6 * width, 6 * width))
        self.coarse = nn.Sequential(_block(6 * width, 8 * width, 2), _block(8 * width, 8 * width))

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        fine = self.fine(images)
        middle = self.middle(fine)
        return OrderedDict([("fine", fine), ("middle", middle), ("coarse", self.coarse(middle))])


def _block(in_channels: int, channels: int, stride: int = 1) -> nn.Sequential:
    # No bias: BatchNorm has one.
    convolution = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())
