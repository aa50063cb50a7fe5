"""Regions as acquisitions see them, and the scores of those that have one for each pixel."""

import inspect

import pytest
import torch

from lightning_al import AwaitTell, acquisition
from lightning_al.acquisition import Acquisition, Entropy, LeastConfidence, Margin, Random
from lightning_al.acquisition.regions import Regions, map_size
from lightning_al.tasks import SegmentationTask
from tests.helpers import regions_reference as reference
from tests.helpers.models import randn
from tests.helpers.segmenting import CLASSES, SHAPE, Segmenting, areas, draws

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def least_confidence(p):
    return 1 - p.max()


def margin(p):
    low, high = p.sort().values[-2:]
    return low - high


def entropy(p):
    return -(p * p.log()).sum()


METHODS = {Entropy: entropy, LeastConfidence: least_confidence, Margin: margin}


@pytest.mark.parametrize("cls", METHODS)
def test_pixels_and_their_means_equal_the_loop(cls):
    scene = Segmenting()
    pixels = reference.over_pixels(lambda z, i, j: METHODS[cls](z[:, i, j].softmax(0)).item(), scene.logits())
    got = scene.bind(cls(), regions=3).pixel_scores(scene.model, scene.batch())
    torch.testing.assert_close(got, pixels, **EXACT)
    got = scene.scores(cls(), Regions(2), regions=5)
    torch.testing.assert_close(got, reference.window_mean(pixels, 2), **EXACT)
    got = scene.scores(cls(), Regions(0), regions=1)
    torch.testing.assert_close(got, pixels, **EXACT)
    got = scene.scores(cls(), Regions(0, areas()), superpixels=2)
    torch.testing.assert_close(got, reference.of_superpixels(reference.mean, pixels, areas()), **EXACT)


@pytest.mark.parametrize("cls", METHODS)
def test_in_full_precision_under_autocast(cls):
    scene = Segmenting()
    scene.model, scene.images = scene.model.float(), scene.images.float()
    plain = scene.scores(cls(), Regions(1), regions=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(scene.scores(cls(), Regions(1), regions=3), plain)


class Refusing(torch.nn.Module):
    def forward(self, x):
        raise AssertionError("the model must not run")


@pytest.mark.parametrize("regions", [Regions(1, draws=draws()), Regions(0, areas(), draws())])
def test_random_draws_for_each_image_by_its_own_generator(regions):
    scene = Segmenting(model=Refusing())
    task = {"regions": 3} if regions.superpixels is None else {"superpixels": 2}
    bound = scene.bind(Random(), **task)
    whole = bound.region_scores(scene.model, scene.batch(), regions)
    assert whole.shape == SHAPE
    assert whole.dtype == torch.float64
    assert len({tuple(m.flatten().tolist()) for m in whole}) == 3
    for i in range(3):
        part = regions.superpixels[i : i + 1] if regions.superpixels is not None else None
        one = Regions(regions.radius, part, draws(i, 1))
        assert torch.equal(bound.region_scores(scene.model, [b[i : i + 1] for b in scene.batch()], one)[0], whole[i])


def test_random_gives_all_of_a_superpixel_one_number_whatever_its_size():
    small = torch.zeros(1, 20, 20, dtype=torch.long)
    small[0, 0, 0] = 1  # a mean over its pixels would put it above or below all of a large one's
    seeds = range(400)
    first = [Regions(0, small, draws(seed, 1)).uniform((20, 20)) for seed in seeds]
    assert all(len(drawn.unique()) == 2 for drawn in first)
    others = torch.tensor([float(drawn[0, 1, 1]) for drawn in first])
    assert others.min() < 0.1
    assert others.max() > 0.9
    wins = sum(float(drawn[0, 0, 0]) > float(drawn[0, 1, 1]) for drawn in first)
    assert 140 < wins < 260


def test_the_size_of_maps_is_of_superpixels_masks_or_images():
    task = SegmentationTask(CLASSES, regions=3)
    images, masks = randn(2, 1, 8, 7), torch.zeros(2, 16, 14)
    assert map_size(task, [images, masks], Regions(1)) == (16, 14)
    assert map_size(task, [images, torch.tensor([-1, -1])], Regions(1)) == (8, 7)
    assert map_size(task, [images], Regions(1)) == (8, 7)
    assert map_size(task, [images, masks], Regions(1, torch.zeros(2, 4, 5))) == (4, 5)
    with pytest.raises(ValueError, match="Regions are parts of images"):
        map_size(task, [torch.zeros(2, 5)], Regions(1))


HAVING = {"RIPU", "RISAAL", "Entropy", "Margin", "LeastConfidence", "Random"}


@pytest.mark.parametrize("name", [name for name in acquisition.__all__ if name != "Acquisition"])
def test_who_has_no_score_for_pixels_is_refused_where_regions_are_asked_for(name):
    cls = getattr(acquisition, name)
    assert cls().has_region_scores == (name in HAVING)
    if name in HAVING:
        return
    try:
        cls().bind(SegmentationTask(CLASSES, regions=3), AwaitTell())
    except ValueError as error:
        text = str(error)
        assert name in text
        if "for each pixel" in text:  # some are refused for other reasons before
            assert all(f"`{other}`" in text for other in HAVING)
            assert "squares" in text
    else:
        pytest.fail(f"{name} was taken")


def test_an_acquisition_of_one_s_own_with_a_score_for_each_pixel():
    class Brightness(Acquisition):
        def pixel_scores(self, model, batch):
            return self.task.inputs(batch)[:, 0]

    scene = Segmenting()
    got = scene.scores(Brightness(), Regions(1), regions=3)
    torch.testing.assert_close(got, reference.window_mean(scene.images[:, 0], 1), **EXACT)
    assert Brightness().region_spacing(4) == 4
    assert Brightness().region_variant == "exact"
    with pytest.raises(NotImplementedError, match="Acquisition has no score for each pixel"):
        Acquisition().pixel_scores(scene.model, scene.batch())


@pytest.mark.parametrize(
    ("made", "error", "seen"),
    [
        (
            lambda images: images[:, :1],
            ValueError,
            r"a score for each pixel of 3 images, .* got shape \(3, 1, 8",
        ),
        (lambda images: images[:2, 0], ValueError, r"a score for each pixel of 3 images, .* got shape \(2, 8, 7\)"),
        (lambda images: None, TypeError, "a score for each pixel of 3 images, .* got NoneType"),
        (lambda images: images[:, 0].long(), TypeError, "floating-point numbers, got torch.int64"),
    ],
)
def test_scores_that_are_not_one_for_each_pixel_are_refused_by_the_name_of_the_method(made, error, seen):
    class Mine(Acquisition):
        def pixel_scores(self, model, batch):
            return made(self.task.inputs(batch))

    scene = Segmenting()
    squares, superpixels = (
        (Regions(1, draws=draws()), {"regions": 3}),
        (Regions(0, areas(), draws()), {"superpixels": 2}),
    )
    for regions, task in (squares, superpixels):
        with pytest.raises(error, match=rf"`Mine\.pixel_scores` must give {seen}"):
            scene.scores(Mine(), regions, **task)


@pytest.mark.parametrize("name", sorted(HAVING - {"RIPU", "RISAAL"}))
def test_squares_of_others_may_touch(name):
    assert getattr(acquisition, name)().region_spacing(2) == 2


def test_options_of_those_with_regions_are_documented():
    for name in ("RIPU", "RISAAL"):
        cls = getattr(acquisition, name)
        for option in inspect.signature(cls).parameters:
            assert f"        {option}: " in cls.__doc__
