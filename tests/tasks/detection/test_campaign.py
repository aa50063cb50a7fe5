"""Campaigns of detection: lists of images, any acquisition, labels that come back as boxes."""

import warnings

import lightning.pytorch as pl
import pytest
import torch

from lightning_al import ActiveLearningLoop, Campaign, DetectionTask
from lightning_al.acquisition import (
    BADGE,
    SAAL,
    CoreSet,
    Entropy,
    EntropyGradNorm,
    LeastConfidence,
    Margin,
    ProbCover,
    Random,
    TypiClust,
)
from tests.helpers.detecting import Detecting, SquaresData

SIZES = ((64, 64), (48, 80))


def run(acquisition, folder, *, name="ssd", sizes=SIZES, **options):
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
        SquaresData(sizes=sizes),
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
    return history, task


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
