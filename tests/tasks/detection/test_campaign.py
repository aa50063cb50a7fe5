"""Campaigns of detection: lists of images, any acquisition, labels that come back as boxes."""

import json
import warnings

import lightning.pytorch as pl
import pytest
import torch

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign, DetectionTask, LabelFiles, NoisyOracle
from lightning_al.acquisition import (
    BADGE,
    BALD,
    RIPU,
    SAAL,
    SRAAL,
    VAAL,
    BatchBALD,
    CoreGCN,
    CoreSet,
    Entropy,
    EntropyGradNorm,
    ExpectedGradNorm,
    LeastConfidence,
    Margin,
    MCDropout,
    ProbCover,
    QueryByCommittee,
    Random,
    TypiClust,
)
from lightning_al.loop.predict import predictions_kept
from tests.helpers.detecting import Detecting, Squares, SquaresData
from tests.helpers.detectors import with_dropout

SIZES = ((64, 64), (48, 80))


def run(acquisition, folder, *, name="ssd", tell=None, **options):
    torch.manual_seed(0)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[acquisition],
        log_every_n_steps=1,
    )
    task = DetectionTask(score_threshold=0.3)
    loop = ActiveLearningLoop(
        Detecting(name),
        SquaresData(8, SIZES),
        task=task,
        initial=3,
        query_size=2,
        rounds=1,
        dirpath=folder,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = loop.run(trainer)
        while loop.status == "waiting":
            waiting = loop.campaign.pool.pending.tolist()
            loop.tell(waiting, [tell] * len(waiting))
            history = loop.run(trainer, resume=True)
    return history, task


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "acquisition",
    [
        Random(),
        Entropy(),
        LeastConfidence(),
        Margin(),
        SAAL(),
        EntropyGradNorm(),
        CoreSet(),
        BADGE(),
        ProbCover(),
        TypiClust(),
    ],
    ids=lambda acquisition: type(acquisition).__name__,
)
def test_a_campaign_runs(acquisition, tmp_path):
    history, task = run(acquisition, tmp_path / "campaign")
    assert [len(each.picked) for each in history] == [2, 0]
    assert task.num_classes == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "acquisition",
    [MCDropout(2, "variation_ratio"), BALD(2), QueryByCommittee(2), CoreGCN(), ExpectedGradNorm()],
    ids=lambda acquisition: type(acquisition).__name__,
)
def test_a_campaign_looks_several_times(acquisition, tmp_path):
    history, _ = run(acquisition, tmp_path / "campaign", name=with_dropout)
    assert [len(each.picked) for each in history] == [2, 0]


@pytest.mark.parametrize(
    ("acquisition", "message"),
    [
        (BatchBALD(2, add_dropout=0.2), r"needs logits of shape \(B, C\), got a list.*Use `BALD`"),
        (SRAAL(), r"needs logits of shape \(B, C\), got a list.*as `Entropy`"),
        (ExpectedGradNorm("expected_loss"), "Use `EntropyGradNorm`"),
        (VAAL(), "reconstructs inputs that are one tensor of images"),
        (RIPU(), "`DetectionTask` asks for whole samples"),
        (SAAL(labels="true"), "which of its boxes is which of the model's is not known"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_what_does_not_go_with_boxes_is_refused_before_training(acquisition, message, tmp_path):
    with pytest.raises((ValueError, TypeError), match=message):
        run(acquisition, tmp_path / "campaign")


def test_labels_come_back_from_the_ledger_as_boxes(tmp_path):
    history, task = run(Random(), tmp_path / "campaign")
    data = SquaresData(8, SIZES).data
    labels = Campaign.load(tmp_path / "campaign").labels
    assert set(history[0].picked) < labels.keys()
    for index, label in labels.items():
        _, target = data[index]
        decoded = task.decode_label(label)
        assert torch.equal(decoded["boxes"], target["boxes"])
        assert torch.equal(decoded["labels"], target["labels"])


def test_people_tell_boxes(tmp_path):
    torch.manual_seed(0)
    told = {"boxes": [[1.0, 2.0, 30.0, 40.0]], "labels": [2]}
    history, task = run(Random(), tmp_path / "campaign", oracle=AwaitTell(), tell=told)
    assert len(history) == 2
    labels = Campaign.load(tmp_path / "campaign").labels
    assert all(task.encode_label(label) == told for label in labels.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["retinanet", "faster_rcnn"])
def test_other_families_are_asked_by_saal(name, tmp_path):
    history, _ = run(SAAL(), tmp_path / "campaign", name=name)
    assert [len(each.picked) for each in history] == [2, 0]


class Frozen(Detecting):
    """Does not learn, so that every number of processes scores the same weights."""

    def __init__(self):
        super().__init__("retinanet", lr=0.0)


class Shown(AwaitTell):
    """People who see what the model says."""

    wants_predictions = True


def test_people_are_shown_the_boxes_that_the_model_keeps(tmp_path):
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[Entropy()]
    )
    task, data, model = DetectionTask(score_threshold=0.3), SquaresData(8), Frozen()
    first = {"task": task, "initial": 3, "query_size": 2, "rounds": 1, "dirpath": tmp_path / "campaign"}
    loop = ActiveLearningLoop(model, data, oracle=Shown(), **first)
    loop.run(trainer)
    waiting = loop.campaign.pool.pending.tolist()
    loop.tell(waiting, [task.encode_label(data.data[index][1]) for index in waiting])
    loop.run(trainer, resume=True)
    says = predictions_kept(loop.campaign, task)
    assert sorted(says) == sorted(loop.campaign.pool.pending.tolist())
    model.eval()
    for index, said in says.items():
        with torch.no_grad():
            (own,) = model([data.data[index][0]])
        torch.testing.assert_close(said.label["boxes"], own["boxes"][own["scores"] > 0.3], atol=1e-3, rtol=1e-3)
        assert said.label["labels"].tolist() == own["labels"][own["scores"] > 0.3].tolist()
        if len(said.label["boxes"]):
            assert 0 <= said.confidence <= 1
        else:  # nothing is said of it
            assert said.confidence is None


class Named(Squares):
    """Squares that have names, as pictures in a folder, and classes."""

    classes = ("background", "red", "green", "blue")

    def sample_key(self, index):
        return f"{index}.jpg"


VOC = """<annotation><filename>{name}</filename><size><width>64</width><height>64</height><depth>3</depth></size>
<object><name>green</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>50</ymax></bndbox></object>
</annotation>"""


def fill(folder, kind):
    if kind == "voc":
        for file in (folder / "to_label_000").glob("*.xml"):
            file.write_text(VOC.format(name=file.stem + ".jpg"))
        return
    (file,) = folder.glob("*.json")
    told = json.loads(file.read_text())
    told["categories"] = [{"id": 7, "name": "green"}]
    told["annotations"] = [
        {"id": n, "image_id": image["id"], "category_id": 7, "bbox": [10, 20, 20, 30], "area": 600, "iscrowd": 0}
        for n, image in enumerate(told["images"])
    ]
    file.write_text(json.dumps(told))


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_boxes_are_told_in_files(kind, tmp_path):
    data, task = SquaresData(1), DetectionTask()
    data.data = Named(6)
    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    trainer = pl.Trainer(max_epochs=1, callbacks=[Random()], **quiet)
    options = {"task": task, "initial": 3, "query_size": 1, "rounds": 1, "dirpath": tmp_path / "campaign"}
    loop = ActiveLearningLoop(Frozen(), data, oracle=LabelFiles(tmp_path / "files", format=kind), **options)
    loop.run(trainer)
    fill(tmp_path / "files", kind)
    loop.run(trainer, resume=True)
    labels = Campaign.load(tmp_path / "campaign").labels
    assert len(labels) == 3
    assert all(task.encode_label(each) == {"boxes": [[10, 20, 30, 50]], "labels": [2]} for each in labels.values())


def test_a_budget_may_count_boxes(tmp_path):
    counts = [len(target["boxes"]) for _, target in SquaresData(8, SIZES).data.samples]
    oracle = NoisyOracle(price=[3 * count for count in counts])
    history, _ = run(Random(), tmp_path / "campaign", oracle=oracle, budget=27)
    labelled = Campaign.load(tmp_path / "campaign").labels
    assert len(labelled) > 3
    assert history[-1].spent == 3 * sum(counts[index] for index in labelled)
    assert history[-1].spent <= 27
