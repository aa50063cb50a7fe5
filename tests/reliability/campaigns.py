"""Small campaigns of many kinds, in which optimizer, schedule, BatchNorm and random state all matter."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy

from lightning_al import SKIP, ActiveLearningLoop, Campaign, DetectionTask, Oracle, SegmentationTask
from lightning_al.acquisition import (
    BADGE,
    SAAL,
    VAAL,
    Acquisition,
    CoreGCN,
    Entropy,
    LeastConfidence,
    LPLGrad,
    Margin,
    QueryByCommittee,
)
from lightning_al.acquisition.ripu import RIPU
from lightning_al.campaign.regions import region_blob
from lightning_al.fitting import RepeatedFit
from lightning_al.storage.blobs import Blob
from lightning_al.training import LossPredictionMixin, SAMMixin
from tests.helpers import detecting, maps, regions
from tests.helpers.projects import Data, Net, make_data, make_trainer

LABELS = [int(y) for y in make_data()[1]]


class Scheduled(Net):
    """With momentum, BatchNorm, dropout (which draws from the global generator) and a falling learning rate."""

    def __init__(self) -> None:
        super().__init__(batch_norm=True, dropout=0.2)

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("val_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]), sync_dist=True)

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)]


class Predicting(LossPredictionMixin, Scheduled):
    loss_width = 6


class Sharp(SAMMixin, Scheduled):
    pass


class Bureau(Oracle):
    """People who label, err, decline, and write down in a file of their own whatever they are asked.

    Args:
        path: Their file, outside the campaign's folder: one line a request.
        at_most: How many answers come at a time.
    """

    annotator = "bureau"

    def __init__(self, path: Path, at_most: int | None = None) -> None:
        self.path = path
        self.at_most = at_most
        self.asked: list[int] = []

    def request(self, indices):
        self.asked = list(indices)
        regions = {i: indices.region(i) for i in indices}
        asked = [_question(i, None if region is None else region_blob(region)) for i, region in regions.items()]
        with self.path.open("a") as file:
            file.write(json.dumps(asked) + "\n")

    def poll(self):
        return {i: self.answer(i) for i in self.asked[: self.at_most]}

    @staticmethod
    def answer(index: int) -> Any:
        """Not the data set's own label everywhere, so that it can come from the ledger only."""
        if index % 11 == 5:
            return SKIP
        return (LABELS[index] + (index % 7 == 0)) % 3


class Painters(Bureau):
    """People who paint masks."""

    @staticmethod
    def answer(index: int) -> Any:
        """Another mask than the data set's, which is hidden."""
        return SKIP if index % 11 == 5 else maps.told(index)


MASKS = regions.make_images()[1]
SIZES = ((64, 64), (48, 80))
SQUARES = detecting.Squares(24, SIZES)


class Markers(Bureau):
    """People who mark regions, in masks of whole images; some pixels have no class."""

    @staticmethod
    def answer(index: int) -> Any:
        """Another mask than the data set's."""
        mask = MASKS[index % len(MASKS)]
        return SKIP if index % 11 == 5 else torch.where(mask == regions.VOID, mask, (mask + 1) % regions.CLASSES)


class Pictures(maps.MapData):
    """Images whose masks are told."""

    def __init__(self, num_workers: int) -> None:
        super().__init__(maps.Maps(hidden=True), num_workers=num_workers)

    def pool_dataset(self) -> Any:
        return self.train


def of_classes(batch_size: int, num_workers: int) -> dict[str, Any]:
    return {"datamodule": Data(batch_size=batch_size, num_workers=num_workers), "oracle": Bureau}


def of_masks(batch_size: int, num_workers: int) -> dict[str, Any]:
    return {"datamodule": Pictures(num_workers), "oracle": Painters, "task": SegmentationTask(maps.CLASSES)}


class Boxers(Bureau):
    """People who draw boxes."""

    @staticmethod
    def answer(index: int) -> Any:
        """One box more than the data set has."""
        if index % 11 == 5:
            return SKIP
        own = SQUARES[index][1]
        return {
            "boxes": torch.cat([own["boxes"], torch.tensor([[1.0, 2.0, 20.0, 30.0]])]),
            "labels": torch.cat([own["labels"], torch.tensor([1 + index % 3])]),
        }


def of_boxes(batch_size: int, num_workers: int) -> dict[str, Any]:
    task = DetectionTask(score_threshold=0.3, empty="random")
    return {"datamodule": detecting.SquaresData(len(SQUARES), SIZES), "oracle": Boxers, "task": task}


def of_regions(batch_size: int, num_workers: int, per_image: bool = True) -> dict[str, Any]:
    task = regions.region_task(per_image=per_image)
    return {"datamodule": regions.Images(16, batch_size), "oracle": Markers, "task": task}


Made = tuple[Callable[[], Net], Callable[[], Acquisition], dict[str, Any]]

EVERY_EPOCH = {"checkpoint_every": 0.0}  # else once a minute, hence never: a killed fit starts over

KINDS: dict[str, Made] = {
    "Entropy": (Scheduled, Entropy, {"reset": "continue", "at_most": 3, **EVERY_EPOCH}),
    "BADGE": (Scheduled, BADGE, {"reset": "warm"}),
    "LPLGrad": (Predicting, LPLGrad, EVERY_EPOCH),
    "SAAL, SAM": (Sharp, SAAL, {"reset": "continue", **EVERY_EPOCH}),
    "QueryByCommittee": (Scheduled, lambda: QueryByCommittee(members=3), {"reset": "fresh", **EVERY_EPOCH}),
    "Margin, best weights": (Scheduled, Margin, {"reset": "warm", "weights": "best", **EVERY_EPOCH}),
    "LeastConfidence, workers": (Scheduled, LeastConfidence, {"num_workers": 1, **EVERY_EPOCH}),
    "VAAL": (Scheduled, lambda: VAAL(steps=6, width=4, latent=2, batch_size=4), {}),
    "CoreGCN": (Scheduled, lambda: CoreGCN(steps=8, hidden=8), {"reset": "warm", "keep_weights": True}),
    "Entropy of masks": (maps.MapNet, Entropy, {"reset": "continue", "at_most": 3, "brings": of_masks, **EVERY_EPOCH}),
    "SAAL of boxes": (
        detecting.Detecting,
        SAAL,
        {"reset": "continue", "at_most": 3, "brings": of_boxes, **EVERY_EPOCH},
    ),
    "RIPU": (regions.Pixels, RIPU, {"reset": "continue", "at_most": 3, "brings": of_regions, **EVERY_EPOCH}),
    "RIPU of the pool, 2 processes": (
        regions.Pixels,
        RIPU,
        {"reset": "warm", "processes": 2, "brings": partial(of_regions, per_image=False), **EVERY_EPOCH},
    ),
    "Entropy, 2 processes": (
        Scheduled,
        Entropy,
        {"reset": "continue", "processes": 2, "keep_weights": True, **EVERY_EPOCH},
    ),
}


def run(kind: str, folder: Path) -> None:
    """Begin the campaign in ``folder / "campaign"``, or go on with it, to its end; leave what it ended with."""
    make_model, make_acquisition, options = KINDS[kind]
    options = {
        "at_most": None,
        "processes": 1,
        "checkpoint_every": 60.0,
        "num_workers": 0,
        "brings": of_classes,
        **options,
    }
    project = options.pop("brings")(batch_size=3, num_workers=options.pop("num_workers"))
    at_most, processes = options.pop("at_most"), options.pop("processes")
    RepeatedFit.checkpoint_every_seconds = options.pop("checkpoint_every")
    launched = {}
    if processes > 1:
        strategy = DDPStrategy(start_method="fork", timeout=timedelta(seconds=30))
        launched = {"strategy": strategy, "devices": processes}
    callbacks = []
    if options.get("weights") == "best":
        callbacks = [EarlyStopping("val_loss", patience=1), ModelCheckpoint(monitor="val_loss")]
    model = make_model()
    loop = ActiveLearningLoop(
        model,
        project["datamodule"],
        initial=6,
        query_size=4,
        rounds=3,
        subpool_size=30,
        pool_batch_size=10,
        seed=3,
        dirpath=folder / "campaign",
        oracle=project["oracle"](folder / "asked.jsonl", at_most),
        task=project.get("task"),
        **options,
    )
    trainer = make_trainer(
        folder,
        *callbacks,
        acquisition=make_acquisition(),
        max_epochs=3,
        enable_checkpointing=bool(callbacks),
        **launched,
    )
    while loop.status != "finished":
        loop.run(trainer, resume=True)
    torch.save({"weights": model.state_dict(), "steps": trainer.global_step}, folder / "end.pt")


def outcome(folder: Path) -> dict[str, Any]:
    """All that must be the same, whatever happened on the way, in a form that compares bit by bit."""
    events = Campaign.read_events(folder / "campaign")
    for event in events:
        event.pop("time")
        event.pop("seconds", None)
    campaign = Campaign.load(folder / "campaign")
    # Of the user's own checkpoints, those of a fit that was killed stay beside those of the fit that took its place.
    files = sorted(p for p in (folder / "campaign").rglob("*") if p.parent.name not in ("ledger", "checkpoints"))
    kept = [*(path for path in files if path.suffix == ".ckpt"), *folder.glob("end.pt")]
    return {
        "history": [(r.round, r.labelled, r.picked, r.scores, r.metrics) for r in campaign.rounds],
        "events": [event for event in events if event["kind"] != "reported"],
        "reported": sorted(event["round"] for event in events if event["kind"] == "reported"),
        "files": [str(path.relative_to(folder)) for path in files],
        "states": {path.name: plain(torch.load(path, weights_only=True)) for path in kept},
    }


def plain(state: Any) -> Any:
    """Tensors as dtype, shape and bytes."""
    if isinstance(state, torch.Tensor):
        return str(state.dtype), tuple(state.shape), state.contiguous().numpy().tobytes()
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    return [plain(value) for value in state] if isinstance(state, (list, tuple)) else state


def answered(folder: Path) -> set[str]:
    """The questions whose answer is on disk."""
    if not Campaign.exists(folder / "campaign"):
        return set()
    pending = Campaign.load(folder / "campaign").pool.pending.tolist()
    questions: dict[int, list[str]] = {}
    for event in Campaign.read_events(folder / "campaign"):
        if event["kind"] == "asked":
            parts = event.get("regions", [None] * len(event["indices"]))
            for index, part in zip(event["indices"], parts, strict=True):
                questions.setdefault(index, []).append(_question(index, part))
    return {each for i, asked in questions.items() for each in (asked[:-1] if i in pending else asked)}


def _question(index: int, part: Blob | None) -> str:
    return str(index) if part is None else f"{index} {part.name}"


def requests(folder: Path) -> list[list[str]]:
    """What the bureau was asked, request by request."""
    path = folder / "asked.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


__all__ = ["KINDS", "Bureau", "answered", "outcome", "plain", "requests", "run"]
