"""Images in which no box counts have their place, whichever acquisition scores boxes; too many of them are refused."""

import warnings

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_al import DetectionTask, score
from lightning_al.acquisition import (
    BALD,
    SAAL,
    Acquisition,
    Entropy,
    EntropyGradNorm,
    ExpectedGradNorm,
    LeastConfidence,
    Margin,
    MCDropout,
    Random,
)
from lightning_al.tasks.detection.without_boxes import scores_with_places
from tests.helpers.detecting import Detecting, Squares, in_lists
from tests.helpers.detectors import with_dropout
from tests.helpers.marks import slow
from tests.helpers.projects import make_trainer

IMAGES = 16


class Sure(Acquisition):
    """Of a stranger: scores may be negative."""

    def score_batch(self, model, batch):
        return -self.task.score(model, self.task.inputs(batch), lambda logits: logits.amax(1))


@pytest.fixture(scope="module")
def model():
    return Detecting(with_dropout).eval()


@pytest.fixture(scope="module")
def best(model):
    """The best score of a box of each image, by torchvision's own detections."""
    with torch.no_grad():
        return torch.stack([model([image])[0]["scores"].max() for image, _ in Squares(IMAGES).samples])


def scored(model, acquisition, folder, **options):
    trainer = make_trainer(folder, acquisition=acquisition)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return score(
            model,
            DataLoader(Squares(IMAGES), 6, collate_fn=in_lists),
            acquisition,
            IMAGES,
            task=DetectionTask(**options),
            trainer=trainer,
        )


@pytest.mark.few(2)
@pytest.mark.parametrize("empty", ["last", "first", "random"])
@pytest.mark.parametrize(
    "acquisition",
    [
        Entropy(),
        LeastConfidence(),
        Margin(),
        SAAL(selection="top"),
        SAAL(score="difference", selection="top"),
        SAAL(lowest=True, selection="top"),
        EntropyGradNorm(),
        EntropyGradNorm("tensor_sum"),
        slow(MCDropout(2)),
        slow(BALD(2)),
        Sure(),
        slow(ExpectedGradNorm()),
    ],
    ids=lambda made: made if isinstance(made, str) else f"{type(made).__name__} {getattr(made, 'score', '')}",
)
def test_images_without_a_box_have_a_place(model, best, acquisition, empty, tmp_path):
    threshold = float(best.sort().values[IMAGES // 3 : IMAGES // 3 + 2].mean())
    without = best <= threshold
    found = scored(model, acquisition, tmp_path, score_threshold=threshold, empty=empty)
    scores = torch.empty(IMAGES, dtype=torch.float64)
    scores[torch.as_tensor(found.index)] = torch.as_tensor(found.score).double()
    rank = torch.empty(IMAGES, dtype=torch.long)
    rank[torch.as_tensor(found.picks)] = torch.arange(IMAGES)
    n = int(without.sum())
    assert n == IMAGES // 3 + 1
    if empty == "last":
        assert int(rank[without].min()) == IMAGES - n
        assert bool((scores[without] < scores[~without].min()).all())
    elif empty == "first":
        assert int(rank[without].max()) == n - 1
        assert bool((scores[without] > scores[~without].max()).all())
    else:
        assert set(scores[without].tolist()) <= set(scores[~without].tolist())
        assert n - 1 < int(rank[without].max()) or int(rank[without].min()) < IMAGES - n
        assert len(scores[without].unique()) > 2


def test_a_random_place_follows_from_the_seed():
    scores, without = torch.rand(400, dtype=torch.float64), torch.arange(400) % 2 == 0
    draws = torch.rand(400)
    placed = scores_with_places(scores, without, "random", draws)
    others = sorted(scores[~without].tolist())
    for n in range(400):
        expected = others[int(draws[n] * 200)] if without[n] else scores[n]
        assert float(placed[n]) == float(expected)
    assert 0.4 < float(placed[without].mean()) < 0.6


@pytest.mark.parametrize("place", ["last", "first", "random"])
def test_where_there_is_nothing_to_place_scores_stay(place):
    scores = torch.rand(5)
    for without in (torch.zeros(5, dtype=torch.bool), torch.ones(5, dtype=torch.bool)):
        assert torch.equal(scores_with_places(scores, without, place, torch.rand(5)), scores)


def test_scores_that_are_never_negative_stay_so():
    scores, without = torch.tensor([0.0, 0.0, 2.0]), torch.tensor([True, False, False])
    assert scores_with_places(scores, without, "last", torch.zeros(3)).tolist() == [0.0, 0.0, 2.0]


@pytest.mark.parametrize("acquisition", [Entropy(), slow(SAAL()), slow(EntropyGradNorm())])
def test_candidates_without_any_box_are_refused_with_the_way_out(model, best, acquisition, tmp_path):
    said = r"None of 16 candidates has a box that scores more than `score_threshold=0\.9999999` \(the best seen: "
    said += f"{float(best.max()):.3g}".replace(".", r"\.") + r"\).*lower threshold.*`DetectionTask\(empty=\"random\"\)`"
    with pytest.raises(ValueError, match=said):
        scored(model, acquisition, tmp_path, score_threshold=0.9999999)


def test_they_are_taken_at_random_where_that_is_said(model, tmp_path):
    found = scored(model, Entropy(), tmp_path, score_threshold=0.9999999, empty="random")
    assert sorted(found.picks) == list(range(IMAGES))
    assert len(scored(model, Random(), tmp_path, score_threshold=0.9999999).picks) == IMAGES


def test_it_is_said_once_if_most_images_have_no_box(recwarn):
    task = DetectionTask(score_threshold=0.7)
    scores, without = torch.rand(20), torch.arange(20) < 11
    for _ in range(3):
        task.placed(scores, without, torch.rand(20))
    task.placed(scores[5:], without[5:], torch.rand(15))
    said = [str(each.message) for each in recwarn if "score_threshold" in str(each.message)]
    assert len(said) == 1
    assert "no box that scores more than `score_threshold=0.7`" in said[0]
    assert said[0].startswith("11 of 20 candidates")
    quiet = DetectionTask()
    quiet.placed(scores, torch.arange(20) < 10, torch.rand(20))
    quiet.placed(scores[:15], torch.ones(15, dtype=torch.bool), torch.rand(15))  # too few to tell
    assert len([each for each in recwarn if "score_threshold" in str(each.message)]) == 1
