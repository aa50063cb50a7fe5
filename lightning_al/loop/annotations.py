"""How people say labels: what a ledger keeps of it, so that they can be told without the project at hand."""

from typing import Any

import numpy as np

from lightning_al.campaign.campaign import Campaign
from lightning_al.data.classes import class_names
from lightning_al.loop.project import Project
from lightning_al.oracle.base import Oracle
from lightning_al.storage.blobs import Blob
from lightning_al.tasks.base import annotation_kind_of
from lightning_al.tasks.mask_png import mask_from_png


def annotations_of(project: Project) -> dict[str, Any]:
    """Return the kind of a project's annotations, the names of its classes, their count, and if labels have prices."""
    data = project.data
    return {
        "kind": annotation_kind_of(project.task),
        "classes": class_names(data.train_set) or class_names(data.pool_set),
        "count": project.task.num_names,
        "priced": type(project.oracle).cost is not Oracle.cost,
    }


def note_annotations(campaign: Campaign, project: Project) -> None:
    """Put on disk how people say labels, where that is new.

    Raises:
        ValueError: If a class that labels are of has another name now, so that they would mean another.
    """
    before = campaign.annotations

    def now() -> dict[str, Any]:
        found = annotations_of(project)
        return {name: before.get(name) if value is None else value for name, value in found.items()}

    annotations = campaign.ranks.first(now)
    _check_names(campaign, before.get("classes"), annotations["classes"])
    if annotations != before:
        campaign.record("named", lambda: {"annotations": annotations})


def _check_names(campaign: Campaign, before: list[str] | None, now: list[str] | None) -> None:
    if before is None or now is None or now[: len(before)] == before:
        return
    for number in {number for label in campaign.labels.values() for number in _classes_in(label, len(before))}:
        name_then = before[number] if number < len(before) else None
        name_now = now[number] if number < len(now) else None
        if name_then is not None and name_then != name_now:
            raise ValueError(
                f"Class {number} is called {name_now!r} now, and was {name_then!r} when the campaign in "
                f"{campaign.dirpath} was last opened: its labels would mean other classes. A folder of a class that "
                "was added or removed gives the others new numbers: put the classes back in their order."
            )


def _classes_in(label: Any, count: int) -> set[int]:
    """Return the classes of a label: of a sample, of several, of boxes or of pixels."""
    if isinstance(label, int):
        return {label}
    if isinstance(label, Blob):
        return set(np.unique(mask_from_png(label.data)).tolist())
    if isinstance(label, dict):
        return set(label.get("labels", ()))
    if isinstance(label, list) and all(isinstance(row, list) for row in label):
        return {number for row in label for number in row if isinstance(number, int)}
    is_multi_hot = isinstance(label, list) and len(label) == count and all(value in (0, 1) for value in label)
    return {number for number, value in enumerate(label) if value} if is_multi_hot else set()
