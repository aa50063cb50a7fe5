"""Times kept boxes, with the numbers of their anchors, beside torchvision's own detections of the same images.

    python tests/benchmarks/kept_boxes.py        # on a CPU, minutes

For each family of detectors: the whole detector on a batch (``eval()``, ``no_grad``), which ends in torchvision's
post-processing, and the same images' outputs and kept boxes by ``DetectionTask``. The ratio is ours over torchvision's,
the median of single rounds in which both are measured one after the other; seconds are this process's own. Weights are
random: as many boxes are kept as may be, or none.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from torch import nn

from lightning_al.tasks import DetectionTask

SMALL = {"min_size": 320, "max_size": 320}
DETECTORS: dict[str, dict[str, int]] = {
    "ssdlite320_mobilenet_v3_large": {},
    "ssd300_vgg16": {},
    "retinanet_resnet50_fpn": SMALL,
    "fcos_resnet50_fpn": SMALL,
    "fasterrcnn_mobilenet_v3_large_320_fpn": {},
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    build = getattr(torchvision.models.detection, name)
    model = build(weights=None, weights_backbone=None, num_classes=21, **DETECTORS[name]).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(0.3)
    return model


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


@torch.no_grad()
def measure(name: str, rounds: int, batch: int) -> None:
    model, task = made(name), DetectionTask(score_threshold=0.05)
    images = list(torch.rand(batch, 3, 320, 320))

    def ours() -> None:
        task.kept_boxes(model, images)

    theirs = model(images)
    kept = [len(each["scores"]) for each in theirs]
    ours()
    ratios = []
    for _ in range(rounds):
        own = seconds(lambda: model(images))
        ratios.append(seconds(ours) / own)
    print(
        f"{name:40s} boxes {sum(kept) / len(kept):6.1f}   ours / torchvision {statistics.median(ratios):.3f}   "
        f"({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in DETECTORS:
        measure(name, options.rounds, options.batch)
