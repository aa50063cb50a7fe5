"""torchvision's detectors by name."""

from typing import Any

from torch import nn

from lightning_al.checks import check_choice
from lightning_al.extras import needs


class TorchvisionDetector(nn.Module):
    """A detector of torchvision's, by its name there.

    Args:
        num_classes: With the background, which is class 0.
        name: ``"ssd300_vgg16"``, ``"ssdlite320_mobilenet_v3_large"``, ``"retinanet_resnet50_fpn"`` (also ``_v2``),
            ``"fcos_resnet50_fpn"``, ``"fasterrcnn_resnet50_fpn"`` (also ``_v2``) and so on.
        weights_backbone: None: weights begin at random, and nothing is downloaded. Otherwise the name of torchvision's
            weights for the backbone, ``"IMAGENET1K_FEATURES"`` of SSD300's VGG-16, ``"IMAGENET1K_V1"`` of others, which
            are downloaded where they are not on this machine yet.
        options: Further ones of torchvision's, such as ``{"score_thresh": 0.05, "trainable_backbone_layers": 5}``.

    Raises:
        ImportError: If torchvision is missing.
        ValueError: If there is no such detector.

    Example:
        >>> import torch
        >>> model = TorchvisionDetector(num_classes=4, name="ssdlite320_mobilenet_v3_large").eval()
        >>> sorted(model([torch.zeros(3, 120, 160)])[0])
        ['boxes', 'labels', 'scores']
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "ssd300_vgg16",
        weights_backbone: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        with needs("`TorchvisionDetector`", "torchvision", "detection"):
            from torchvision.models import detection, get_model, list_models
        check_choice("name", name, list_models(module=detection))
        self.detector = get_model(
            name, weights=None, weights_backbone=weights_backbone, num_classes=num_classes, **(options or {})
        )

    def forward(self, images: Any, targets: Any = None) -> Any:
        """Images to detections, or, in ``train()``, with targets to a dict of losses: as torchvision's detectors."""
        return self.detector(images, targets)
