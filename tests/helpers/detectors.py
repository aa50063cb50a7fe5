"""Small detectors of torchvision's families, whose weights are drawn so that they keep boxes of every class."""

import copy
import functools
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import MultiScaleRoIAlign

CLASSES = 4


class Maps(nn.Module):
    """A backbone of three convolutions, the last two of which are maps."""

    def __init__(self, out_channels: int | list[int] = 32) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.stem = nn.Conv2d(3, 32, 3, 4, 1)
        self.fine = nn.Sequential(nn.Conv2d(32, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.coarse = nn.Conv2d(32, 32, 3, 2, 1)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        fine = self.fine(self.stem(images).relu())
        return OrderedDict([("0", fine), ("1", self.coarse(fine).relu())])


def ssd() -> SSD:
    return SSD(Maps([32, 32]), DefaultBoxGenerator([[2]] * 2, scales=[0.2, 0.4, 0.6]), (64, 64), CLASSES)


def ssdlite() -> SSD:
    boxes = DefaultBoxGenerator([[2]] * 2, scales=[0.2, 0.4, 0.6])
    head = SSDLiteHead([32, 32], boxes.num_anchors_per_location(), CLASSES, nn.BatchNorm2d)
    return SSD(
        Maps([32, 32]), boxes, (64, 64), CLASSES, head=head, score_thresh=0.001, nms_thresh=0.55, topk_candidates=300
    )


def _anchors(sizes: tuple[int, ...], ratios: tuple[float, ...] = (0.5, 1.0)) -> AnchorGenerator:
    return AnchorGenerator(tuple((size,) for size in sizes), (ratios,) * len(sizes))


def retinanet() -> RetinaNet:
    return RetinaNet(Maps(), CLASSES, 64, 96, anchor_generator=_anchors((16, 32)), topk_candidates=50)


def fcos() -> FCOS:
    return FCOS(Maps(), CLASSES, 64, 96, anchor_generator=_anchors((8, 16), (1.0,)), topk_candidates=50)


def faster_rcnn() -> FasterRCNN:
    return FasterRCNN(
        Maps(),
        None,
        64,
        96,
        rpn_anchor_generator=_anchors((16, 32)),
        rpn_post_nms_top_n_test=20,
        box_roi_pool=MultiScaleRoIAlign(["0", "1"], 3, 2),
        box_head=nn.Sequential(nn.Flatten(), nn.Linear(288, 16), nn.ReLU()),
        box_predictor=FastRCNNPredictor(16, CLASSES),
    )


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "ssd": ssd,
    "ssdlite": ssdlite,
    "retinanet": retinanet,
    "fcos": fcos,
    "faster_rcnn": faster_rcnn,
}


def detector(name: str, seed: int = 0) -> nn.Module:
    """Return a detector in eval() whose class scores are spread over 0 to 1."""
    return copy.deepcopy(_made(name, seed))


@functools.cache
def _made(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = FAMILIES[name]().eval()
    generator = torch.Generator().manual_seed(seed)
    spread(model, images((64, 96), (80, 64), generator=generator))
    return model


def with_dropout() -> nn.Module:
    """Return the small SSD with a dropout between its maps."""
    model = detector("ssd")
    model.backbone.fine.append(nn.Dropout(0.2))
    return model


def spread(model: nn.Module, examples: list[Tensor]) -> None:
    """Scale the weights of the layers that give class scores, so that logits are of deviation 2."""
    layers = [m for n, m in model.named_modules() if _gives_classes(n, m)]
    seen: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers}
    hooks = [layer.register_forward_hook(lambda m, _, y: seen[m].append(y.detach())) for layer in layers]
    with torch.no_grad():
        model(examples)
        for hook in hooks:
            hook.remove()
        for layer, outputs in seen.items():
            layer.weight.mul_(2 / outputs[0].transpose(0, 1).flatten(1).std(1).mean())
            if layer.bias is not None:
                layer.bias.copy_(torch.randn(len(layer.bias), generator=torch.Generator().manual_seed(1)) - 1)


def _gives_classes(name: str, module: nn.Module) -> bool:
    is_last = name.endswith(("cls_logits", "cls_score")) or "classification_head.module_list" in name
    return is_last and isinstance(module, (nn.Conv2d, nn.Linear)) and getattr(module, "groups", 1) == 1


def images(*sizes: tuple[int, int], generator: torch.Generator | None = None) -> list[Tensor]:
    """Return images of these sizes, smooth and unlike each other."""
    generator = generator or torch.Generator().manual_seed(0)
    made = [torch.rand(1, 3, 6, 6, generator=generator) for _ in sizes]
    return [nn.functional.interpolate(m, size, mode="bilinear")[0] for m, size in zip(made, sizes, strict=True)]
