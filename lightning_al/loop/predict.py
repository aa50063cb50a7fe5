"""What the model says of the samples that it picked, for people to look at before they answer."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.states import State, state_file
from lightning_al.distributed.ranks import gather_objects
from lightning_al.functional.scores.uncertainty import least_confidences
from lightning_al.loop.project import Project
from lightning_al.loop.question import Question
from lightning_al.oracle.question import Prediction
from lightning_al.scoring.pool_pass import rows_of
from lightning_al.stages import stage
from lightning_al.storage.blobs import Blob, from_json, to_json
from lightning_al.tasks.base import Task

_NAME = "predictions"
_UNKNOWN = -1.0  # how sure a model of real values is


def keep_predictions(project: Project, campaign: Campaign, question: Question, *, seed: int) -> None:
    """Put in the campaign's folder what the fitted model says of samples, before they are asked for.

    Args:
        project: Of the launch.
        campaign: The ledger.
        question: Next; the same on every rank.
        seed: Of what draws in the pass over its samples.
    """
    says = predict(project, question.indices, seed=seed)
    names = dict(zip(question.indices, question.keys, strict=True))
    blobs = {blob.name: _tensor_of(blob) for _, label, _ in says for blob in to_json(label)[1]}
    rows = [(_name(index, names), to_json(label)[0], sure) for index, label, sure in says]
    campaign.states.save(campaign.round_file(_NAME), {"predictions": rows, "blobs": blobs})


def _name(index: int, keys: Mapping[int, str | None]) -> str | int:
    """Return what a sample is called wherever it is later: its key, or the index that it is known by alone."""
    key = keys.get(index)
    return index if key is None else str(key)  # of any kind of text: it is read back as plain state


def files_of_predictions(campaign: Campaign) -> list[str]:
    """Return the files with predictions of the questions that are open, the oldest first."""
    pending = set(campaign.pool.pending.tolist())
    files = []
    for result in campaign.rounds:
        fits = [fit for fit in campaign.fits if fit["round"] <= result.round]  # the last of them was of that question
        if fits and not pending.isdisjoint(result.picked):
            files.append(state_file(_NAME, {"round": result.round, "digest": fits[-1]["digest"]}))
    return files


def predictions_kept(campaign: Campaign, task: Task) -> Mapping[int, Prediction]:
    """Return the predictions of the samples that are asked for, by dataset index."""
    states = [campaign.states.load(name) for name in files_of_predictions(campaign)]
    return _Kept([state for state in states if state is not None], campaign, task)


class _Kept(Mapping[int, Prediction]):
    """Predictions as they were kept, each decoded when it is looked at: masks of many images are large."""

    def __init__(self, states: list[State], campaign: Campaign, task: Task) -> None:
        self._blobs = {name: blob for state in states for name, blob in state.get("blobs", {}).items()}
        self._task = task
        said = {name: (label, sure) for state in states for name, label, sure in state["predictions"]}
        names = {index: _name(index, campaign.keys) for index in campaign.pool.pending.tolist()}
        self._rows = {index: said[name] for index, name in names.items() if name in said}

    def __getitem__(self, index: int) -> Prediction:
        label, sure = self._rows[index]
        return Prediction(self._task.decode_label(from_json(label, self._blob)), sure)

    def _blob(self, name: str) -> Blob:
        return Blob(self._blobs[name].numpy().tobytes(), PurePath(name).suffix)

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _tensor_of(blob: Blob) -> Tensor:
    return torch.frombuffer(bytearray(blob.data), dtype=torch.uint8)


def predict(project: Project, indices: list[int], *, seed: int) -> list[tuple[int, Any, float | None]]:
    """Return index, encoded label and confidence of what the model says of samples, in their order.

    Every rank must call this; the first one has them.
    """
    says = _Says()
    says.bind(project.task, project.oracle)
    with stage("predicting what was picked"):
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
        self.labels: list[Any] = []

    @property
    def has_region_scores(self) -> bool:  # it picks nothing, so that any question will do
        return True

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        task, inputs = self.task, self.task.inputs(batch)
        labels = task.predicted(model, inputs)
        start, sure = len(self.labels), torch.full((len(labels),), _UNKNOWN)
        if "logits" in task.gives:
            scores = task.score(model, inputs, least_confidences)
            without = task.without_decisions(model, inputs, scores)
            sure = 1 - scores.clamp(0, 1)  # a sum over boxes may be more
            sure = sure if without is None else sure.masked_fill(without, _UNKNOWN)
        self.labels += [task.encode_label(label) for label in labels]
        place = torch.arange(start, len(self.labels))
        rank = torch.full_like(place, model.global_rank)
        return {"score": sure.detach(), "rank": rank, "place": place}
