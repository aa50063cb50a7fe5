"""The average precision of detections, over all classes and of each."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

_BACKENDS = ("faster_coco_eval", "pycocotools")
"""Packages that match boxes for torchmetrics, by the names of their modules; the first takes a tenth of the time."""


def mean_ap() -> Any:
    """Return torchmetrics' ``MeanAveragePrecision``, as COCO's: IoU from 0.50 to 0.95, the 100 best of an image.

    Raises:
        ImportError: If torchvision, or what it computes with, is missing.
    """
    backend = next((name for name in _BACKENDS if find_spec(name) is not None), None)
    if backend is None or find_spec("torchvision") is None:
        raise ImportError(
            "The average precision of boxes needs torchvision, and `faster-coco-eval` (or `pycocotools`): "
            "`pip install 'lightning-al[detection]'`."
        )
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(backend=backend, extended_summary=True)  # type: ignore[arg-type]
    metric.warn_on_many_detections = False
    return metric


def precisions(metric: Any, classes: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Return values of what a :func:`mean_ap` has seen: ``"map"``, ``"map_50"``, of a class ``"map_cat"`` and so on.

    Means over classes are of those that occur in the targets; a class that does not has no value and is left out. With
    no targets at all they are 0.

    Args:
        metric: Updated with detections and targets.
        classes: Names of the classes from 1 on. None: values of each are left out.
    """
    summary = metric.compute()
    # (IoU, recall, class, area, most detections), -1 where a class has no target
    precision = summary.get("precision")  # there is none where nothing was seen
    seen = [] if precision is None else [int(label) for label in summary["classes"].reshape(-1)]
    values = {name: summary[name].clamp(min=0) for name in ("map", "map_50")}
    for place, label in enumerate(seen):
        own = precision[:, :, place, 0, -1]
        if classes is not None and 0 < label <= len(classes) and bool((own > -1).any()):
            values[f"map_{classes[label - 1]}"] = own.mean()
            values[f"map_50_{classes[label - 1]}"] = own[0].mean()
    return {name: torch.as_tensor(value, dtype=torch.float32) for name, value in values.items()}
