"""What the model says of the samples that it picked, for people to look at before they answer."""

import json
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.states import state_file
from lightning_al.distributed.ranks import gather_objects
from lightning_al.functional.scores.uncertainty import least_confidences
from lightning_al.loop.project import Project
from lightning_al.oracle.question import Prediction
from lightning_al.scoring.pool_pass import rows_of
from lightning_al.tasks.base import Task

_NAME = "predictions"
_UNKNOWN = -1.0  # how sure a model of real values is


def keep_predictions(project: Project, campaign: Campaign, indices: list[int], *, seed: int) -> None:
    """Put in the campaign's folder what the fitted model says of samples, before they are asked for.

    Args:
        project: Of the launch.
        campaign: The ledger.
        indices: Dataset indices; the same on every rank.
        seed: Of what draws in the pass over them.
    """
    campaign.states.keep(campaign.round_file(_NAME), lambda: {"predictions": predict(project, indices, seed=seed)})


def predictions_kept(campaign: Campaign, task: Task) -> Mapping[int, Prediction]:
    """Return the predictions of the last question's samples, by dataset index as they were then."""
    fit = campaign.last_fit
    state = None if fit is None else campaign.states.load(state_file(_NAME, fit))
    if state is None:
        return {}
    return {
        index: Prediction(task.decode_label(json.loads(label)), confidence)
        for index, label, confidence in state["predictions"]
    }


def predict(project: Project, indices: list[int], *, seed: int) -> list[tuple[int, str, float | None]]:
    """Return index, encoded label as JSON, and confidence of what the model says of samples, in their order.

    Every rank must call this; the first one has them.
    """
    says = _Says()
    says.bind(project.task, project.oracle)
    rows = rows_of(project, says, torch.tensor(indices), seed=seed)
    of_ranks = gather_objects(says.labels)
    if "rank" not in rows:
        return []
    where = zip(indices, rows["rank"].tolist(), rows["place"].tolist(), rows["score"].tolist(), strict=True)
    return [(index, of_ranks[rank][place], None if sure == _UNKNOWN else sure) for index, rank, place, sure in where]


class _Says(Acquisition):
    """Notes each sample's pseudo-label, and where in these notes it is: labels may be of different sizes."""

    requires = frozenset({"outputs"})

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[str] = []

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        task, inputs = self.task, self.task.inputs(batch)
        outputs = task.outputs(model, inputs)
        targets = task.pseudo_targets(outputs)
        start, count = len(self.labels), len(pytree.tree_leaves(outputs)[0])
        sure = torch.full((count,), _UNKNOWN)
        if "logits" in task.gives:
            sure = 1 - task.score(model, inputs, least_confidences)
        for row in range(count):
            self.labels.append(json.dumps(task.encode_label(_row(targets, row))))
        place = torch.arange(start, len(self.labels))
        rank = torch.full_like(place, model.global_rank)
        return {"score": sure.detach(), "rank": rank, "place": place}


def _row(targets: Any, row: int) -> Any:
    """Return what the targets of a batch say of one of its samples."""
    if isinstance(targets, (list, tuple)):  # one for each, such as boxes
        return targets[row]
    return pytree.tree_map_only(Tensor, lambda each: each[row], targets)
