"""What a notebook offers after a dot is what users need: a new public attribute must be meant."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import BasePredictionWriter

from lightning_al import Campaign, Pool, RoundResult, Scores, acquisition, tasks
from lightning_al.campaign import History
from tests.helpers.projects import loop_in

TASK = """annotation_kind check check_label completed decode_label encode_label entropy features
    from_annotation gives held inputs key known_targets logits loss loss_of_known num_classes outputs
    per_image placed pseudo_targets reduce regions residuals score score_of_several targets
    to_annotation with_label without_decisions"""
ACQUISITION = """batch_multiple last_layer_rows learn pixel_scores region_scores requires rows score_batch select
    selection task uses_labelled"""
OF_FEATURES = "encoder features"
OF_DROPOUT = "passes"
OF_GCN = f"{OF_FEATURES} dropout hidden lr steps unlabelled_weight weight_decay"
OF_VAE = "batch_size beta inputs latent lr reduction seconds steps vae_steps width"


def names(text):
    return set(text.split())


def offered(thing, *bases):
    """Names without an underscore, but for those of bases that are not this project's."""
    return {name for name in dir(thing) if not name.startswith("_") and not any(hasattr(b, name) for b in bases)}


def test_a_loop_a_campaign_and_what_they_give(tmp_path):
    loop = loop_in(tmp_path)
    assert offered(loop) == names(
        """ask budget cache_gb campaign campaign_step datamodule dirpath evaluate history initial
        initial_by keep_weights known_share model oracle pool pool_precision query_size race release
        reset round_step rounds run scores seed status stop subpool_size task tell weights"""
    )
    assert loop.session is None  # what is left out works as ever
    assert offered(loop.datamodule, pl.LightningDataModule()) == names("datamodule pool task")
    Campaign.create(tmp_path / "c", size=5, options={})
    assert offered(Campaign.load(tmp_path / "c")) == names(
        """dirpath exists forget keys known labels load options plot pool regions rounds sizes states
        to_frame"""
    )
    assert offered(RoundResult(0, 0, [], [], {}, {})) == names(
        "acquisition amount counts labelled metrics picked round scores seconds spent"
    )
    assert offered(History(), list) == {"plot", "rows", "to_csv", "to_frame"}


def test_pools_and_scores():
    assert offered(Pool(3)) == names(
        """ask candidates counts forget is_labelled is_pending known label labelled pending release skip
        skipped spent unlabelled"""
    )
    scores = Scores(torch.arange(2), ["a", "b"], torch.zeros(2), [])
    assert offered(scores) == names("index key order picks read_csv rows score to_csv to_frame unreadable")


@pytest.mark.parametrize(
    ("make", "more"),
    [
        (acquisition.Random, ""),
        (acquisition.Entropy, ""),
        (acquisition.SAAL, "group_size labels lowest p perturbation rho score"),
        (acquisition.ExpectedGradNorm, "loss norm"),
        (acquisition.LPLGrad, "norm"),
        (acquisition.BALD, OF_DROPOUT),
        (acquisition.MCDropout, f"{OF_DROPOUT} score"),
        (acquisition.CoreSet, OF_FEATURES),
        (acquisition.TypiClust, f"{OF_FEATURES} max_clusters neighbours variant"),
        (acquisition.ProbCover, f"{OF_FEATURES} clusters delta purity"),
        (acquisition.CoreGCN, OF_GCN),
        (acquisition.VAAL, f"{OF_VAE} adversarial"),
        (acquisition.QueryByCommittee, "members on_query_end on_round_start score source"),
        (acquisition.RIPU, "radius variant"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_acquisitions(make, more):
    assert offered(make(), BasePredictionWriter) == names(f"{ACQUISITION} {more}")


@pytest.mark.parametrize(
    ("task", "more"),
    [
        (tasks.ClassificationTask(), ""),
        (tasks.RegressionTask(), "scale"),
        (tasks.DetectionTask(), "kept_boxes score_threshold"),
        (tasks.SegmentationTask(num_classes=3), "ignore_index superpixels"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tasks(task, more):
    assert offered(task) == names(f"{TASK} {more}")
