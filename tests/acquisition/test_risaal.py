import pytest
import torch

from lightning_al import AwaitTell
from lightning_al.acquisition import RISAAL
from lightning_al.acquisition.regions import Regions
from lightning_al.tasks import SegmentationTask
from tests.helpers import reference as plain
from tests.helpers import regions_reference as reference
from tests.helpers.segmenting import CLASSES, Segmenting, areas

EXACT = {"rtol": 1e-9, "atol": 1e-10}
OPTIONS = {
    "defaults": {},
    "rho": {"rho": 0.4},
    "asam": {"rho": 0.7, "perturbation": "asam"},
    "p": {"rho": 0.3, "p": 3.0},
    "difference": {"score": "difference"},
}


@pytest.mark.few(3)
@pytest.mark.parametrize("option", OPTIONS)
def test_impurity_times_the_perturbed_loss_of_the_pixel(option):
    scene, options = Segmenting(), OPTIONS[option]
    losses = reference.perturbed_pixels(scene.model, scene.images, **options)
    got = scene.bind(RISAAL(**options), regions=3).pixel_scores(scene.model, scene.batch())
    torch.testing.assert_close(got, losses, **EXACT)
    labels = scene.logits().argmax(1)
    assert len(labels.unique()) == CLASSES
    got = scene.scores(RISAAL(**options), Regions(1), regions=3)
    torch.testing.assert_close(got, reference.impurity(labels, 1) * losses, **EXACT)
    got = scene.scores(RISAAL(radius=3, **options), Regions(0), regions=1)
    torch.testing.assert_close(got, reference.impurity(labels, 3) * losses, **EXACT)


def test_superpixels_have_the_mean():
    scene = Segmenting()
    losses = reference.perturbed_pixels(scene.model, scene.images)
    impurity = reference.of_superpixels(reference.shannon, scene.logits().argmax(1), areas())
    got = scene.scores(RISAAL(), Regions(0, areas()), superpixels=2)
    torch.testing.assert_close(got, impurity * reference.of_superpixels(reference.mean, losses, areas()), **EXACT)


def test_the_reduction_of_whole_images_plays_no_part():
    """The perturbation is of the mean over pixels, however the task makes one score of an image's."""
    scene = Segmenting()
    want = scene.scores(RISAAL(), Regions(1), regions=3)
    assert torch.equal(scene.scores(RISAAL(), Regions(1), regions=3, reduce="max"), want)


def test_a_class_that_stands_for_none_is_never_the_pseudo_label():
    scene = Segmenting()

    def taught(z):
        return torch.where(torch.arange(CLASSES).view(-1, 1, 1) > 0, z, -torch.inf).argmax(1)

    losses = reference.perturbed_pixels(scene.model, scene.images, target_fn=taught)
    want = reference.impurity(taught(scene.logits()), 1) * losses
    torch.testing.assert_close(scene.scores(RISAAL(), Regions(1), regions=3, ignore_index=0), want, **EXACT)


def test_how_it_picks():
    assert RISAAL(variant="code").region_variant == "code"
    assert RISAAL().region_variant == "exact"
    assert RISAAL(radius=32).region_spacing(0) == 32
    assert RISAAL().region_spacing(1) == 1


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ({}, {}, "`RISAAL` chooses regions of images"),
        ({"regions": 1}, {}, r"`RISAAL\(radius=32\)`"),
        ({"superpixels": 2}, {"radius": 3}, r"`RISAAL\(radius=3\)` is of squares"),
    ],
)
def test_tasks_that_are_refused(task, options, message):
    with pytest.raises(ValueError, match=message):
        RISAAL(**options).bind(SegmentationTask(CLASSES, **task), AwaitTell())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rho": -1}, ValueError, "`rho`"),
        ({"perturbation": "asam", "p": 3.0}, ValueError, "p = 3"),
        ({"score": "mean", "variant": "text"}, ValueError, "2 things"),
        ({"radius": "wide"}, TypeError, "`radius` must be an integer"),
    ],
)
def test_options_that_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        RISAAL(**options)


def test_nothing_is_left_behind():
    scene = Segmenting()
    scene.model.train()
    before = plain.snapshot(scene.model)
    scene.scores(RISAAL(), Regions(1), regions=3)
    assert plain.snapshot(scene.model) == before
