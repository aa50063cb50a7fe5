"""What every acquisition keeps to where samples have many decisions: boxes, pixels, or regions that are asked for."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_al import ActiveLearningLoop, DetectionTask, SegmentationTask, Task, acquisition
from lightning_al.acquisition import Random
from lightning_al.inference.outputs import plain_outputs
from tests.acquisition.test_contract import everything
from tests.helpers import regions
from tests.helpers.boxes_by_hand import saal, value_of
from tests.helpers.detecting import Detecting, Squares, in_lists
from tests.helpers.detectors import with_dropout
from tests.helpers.picking import pick, pick_of_regions
from tests.helpers.processes import fork
from tests.helpers.projects import make_trainer
from tests.helpers.registry import OF_REGIONS, REGISTRY

SIZES = ((64, 64), (48, 80), (56, 56))
SIZE, K = 12, 4
THRESHOLD = 0.999  # that some images have no box above


class Doubles(Dataset):
    """The squares in float64, in which picks are exactly the same."""

    def __init__(self, count: int) -> None:
        self.squares = Squares(count, SIZES)

    def __len__(self) -> int:
        return len(self.squares)

    def __getitem__(self, index: int) -> Any:
        image, target = self.squares[index]
        return image.double(), {"boxes": target["boxes"].double(), "labels": target["labels"]}


class Boxes(L.LightningDataModule):
    def pool_dataset(self) -> Dataset:
        return Doubles(SIZE)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(Doubles(SIZE), 2, collate_fn=in_lists, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Doubles(2), 2, collate_fn=in_lists)


class DetectingNet(Detecting):
    """Does not learn, so that every number of processes scores the same weights."""

    def __init__(self) -> None:
        super().__init__(lambda: with_dropout().double(), lr=0.0)


class Pixels(regions.Pixels):
    def __init__(self) -> None:
        super().__init__()
        self.net.insert(2, torch.nn.Dropout(0.3))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@dataclass(frozen=True)
class Kind:
    """A project whose samples have many decisions."""

    model: Callable[[], L.LightningModule]
    data: Callable[[], L.LightningDataModule]
    task: Callable[[], Task]
    pick: Callable[..., Any] = pick
    said: Callable[[Any], Any] = lambda picked: picked.indices


def images_and_regions(picked):
    return [[index, region.name] for index, region in zip(picked.indices, picked.regions, strict=True)]


KINDS = {
    "boxes": Kind(DetectingNet, Boxes, lambda: DetectionTask(score_threshold=THRESHOLD)),
    "pixels": Kind(
        Pixels, lambda: regions.Images(14), lambda: SegmentationTask(regions.CLASSES, ignore_index=regions.VOID)
    ),
    "regions": Kind(Pixels, lambda: regions.Images(14), regions.region_task, pick_of_regions, images_and_regions),
}

SHORT: dict[str, dict[str, Any]] = {
    "SAAL": {"selection": "top"},
    "MCDropout": {"passes": 3},
    "BALD": {"passes": 3},
    "BatchBALD": {"passes": 3},
    "CoreGCN": {"steps": 4, "hidden": 4},
    "UncertainGCN": {"steps": 4, "hidden": 4},
    "VAAL": {"steps": 2, "width": 4},
    "SRAAL": {"steps": 2, "width": 4},
}

ELSEWHERE = {
    "LearningLoss": "the model learns to predict its loss",
    "LPLGrad": "the model learns to predict its loss",
    "QueryByCommittee": "the model is fitted again",
}
"""Acquisitions that need more than a model that was fitted, and have campaigns of their own in other tests."""

NAMES = [name for name in (*REGISTRY, *OF_REGIONS) if name not in ELSEWHERE]

REFUSED = {
    "boxes": {"BatchBALD", "SRAAL", "VAAL", *OF_REGIONS},
    "pixels": {"BatchBALD", "SRAAL", *OF_REGIONS},
    "regions": set(NAMES) - {"Random", "Entropy", "LeastConfidence", "Margin", *OF_REGIONS},
}

FEW = {"boxes": ("Random", "Entropy", "SAAL", "CoreSet"), "pixels": ("Entropy", "BADGE"), "regions": ("RIPU", "Margin")}


def made(name):
    return getattr(acquisition, name)(**SHORT.get(name, {}))


class Picker(L.Callback):
    """Has acquisitions pick from the same weights, in a campaign that is otherwise Random's."""

    def __init__(self, folder, kind, names, sizes):
        self.folder, self.kind, self.names, self.sizes = folder, kind, names, sizes

    def on_query_start(self, trainer, pl_module, loop):
        picked, changed, refused = {}, [], {}
        pl_module.load_state_dict(self.kind.model().state_dict())  # BatchNorm learns at any rate
        candidates = loop.campaign.pool.unlabelled
        for name in self.names:
            for size in self.sizes:
                mine = made(name)
                loop.datamodule.pool_batch_size = size
                before = everything(trainer, pl_module, mine)
                try:
                    mine.bind(loop.task, loop.oracle)
                    picked[f"{name}, {size}"] = self.kind.pick(loop.session, mine, candidates, K, purpose=("contract",))
                except (ValueError, TypeError) as error:
                    refused[name] = f"{type(error).__name__}: {error}"
                if name not in refused and everything(trainer, pl_module, mine) != before:
                    changed.append(name)
        if trainer.is_global_zero:
            picked = {name: self.kind.said(each) for name, each in picked.items()}
            told = [picked, changed, refused, candidates.tolist()]
            (self.folder / "picked.json").write_text(json.dumps(told))


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """What was picked in a launch of some processes; made once for each."""
    known = {}

    def of(kind, processes, names, sizes=(3,)):
        key = (kind, processes, tuple(names), sizes)
        if key not in known:
            folder = tmp_path_factory.mktemp("decisions")
            strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
            mine = KINDS[kind]
            trainer = make_trainer(
                folder,
                Picker(folder, mine, names, sizes),
                acquisition=Random(),
                strategy=strategy,
                devices=devices,
                max_epochs=1,
                limit_train_batches=1,
            )
            options = {"task": mine.task(), "initial": 4, "query_size": 1, "rounds": 1}
            ActiveLearningLoop(mine.model(), mine.data(), **options).run(trainer)
            known[key] = json.loads((folder / "picked.json").read_text())
        return known[key]

    return of


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", KINDS)
def test_few_pick_the_same_in_batches_of_any_size_and_on_two_processes(launched, kind):
    picked, changed, refused, candidates = launched(kind, 1, FEW[kind], (1, 3))
    on_two = launched(kind, 2, FEW[kind])[0]
    assert len(candidates) >= 2 * K
    for name in FEW[kind]:
        assert picked[f"{name}, 1"] == picked[f"{name}, 3"] == on_two[f"{name}, 3"]
        assert len(picked[f"{name}, 3"]) == (len(candidates) if kind == "regions" else K)
    assert not changed
    assert not refused


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_all_pick_on_any_number_of_processes_what_one_picks(launched, kind, processes):
    names = [name for name in NAMES if name not in REFUSED[kind]]
    alone, changed, refused, _ = launched(kind, 1, names, (1, 3))
    picked, changed_too, refused_too, _ = launched(kind, processes, names)
    assert not [*changed, *changed_too]
    assert not {**refused, **refused_too}
    for name in names:
        assert alone[f"{name}, 1"] == alone[f"{name}, 3"] == picked[f"{name}, 3"], name


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_go_together_is_refused(launched, kind):
    _, changed, refused, _ = launched(kind, 1, sorted(REFUSED[kind]))
    assert refused.keys() == REFUSED[kind]
    assert not changed


def test_boxes_are_picked_by_their_definition(launched):
    """Entropy and SAAL by loops over single images and boxes, in float64; images without a box come last."""
    picked, _, _, candidates = launched("boxes", 1, FEW["boxes"], (1, 3))
    model, task = DetectingNet().detector.eval(), DetectionTask(score_threshold=THRESHOLD)
    scores: dict[str, dict[int, float]] = {"Entropy": {}, "SAAL": {}}
    for index in candidates:
        image = Doubles(SIZE)[index][0]
        (kept,) = plain_outputs(model, [image], task.kept_boxes)
        if len(kept):
            scores["Entropy"][index] = sum(value_of("entropy", z, True) for z in kept.logits)
            how = {"name": "ssd", "rho": 0.05, "reduce": "sum", "threshold": THRESHOLD}
            (scores["SAAL"][index],) = saal(model, [image], **how)
    assert K < len(scores["Entropy"]) < len(candidates)
    for name, of_images in scores.items():
        assert picked[f"{name}, 3"] == sorted(of_images, key=of_images.get, reverse=True)[:K]
