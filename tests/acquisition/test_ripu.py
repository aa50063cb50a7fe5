import pytest
import torch

from lightning_al import AwaitTell, ClassificationTask
from lightning_al.acquisition import RIPU
from lightning_al.acquisition.regions import Regions
from lightning_al.tasks import SegmentationTask
from tests.helpers import regions_reference as reference
from tests.helpers.segmenting import CLASSES, Segmenting, areas

EXACT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.parametrize(
    ("radius", "own"), [(None, 1), (3, 1), (None, 2), (3, 0), (1, 3)], ids=["RA", "wider", "5 x 5", "PA", "narrower"]
)
def test_squares_equal_the_loop(radius, own):
    scene = Segmenting()
    got = scene.scores(RIPU(radius=radius), Regions(own), regions=2 * own + 1)
    want = reference.ripu(scene.logits(), own if radius is None else radius, own)
    assert want.unique().numel() > 20
    torch.testing.assert_close(got, want, **EXACT)


def test_superpixels_equal_the_loop():
    scene = Segmenting()
    z = scene.logits()
    got = scene.scores(RIPU(), Regions(0, areas()), superpixels=2)
    impurity = reference.of_superpixels(reference.shannon, z.argmax(1), areas())
    uncertainty = reference.of_superpixels(reference.mean, reference.entropies(z), areas())
    torch.testing.assert_close(got, impurity * uncertainty, **EXACT)


def test_labels_are_those_that_the_task_gives():
    """A class that stands for none is never predicted."""
    scene = Segmenting()
    z = scene.logits()
    taught = z.clone()
    taught[:, 0] = -torch.inf
    assert not torch.equal(z.argmax(1), taught.argmax(1))
    got = scene.scores(RIPU(), Regions(1), regions=3, ignore_index=0)
    want = reference.impurity(taught.argmax(1), 1) * reference.window_mean(reference.entropies(z), 1)
    torch.testing.assert_close(got, want, **EXACT)


def test_how_it_picks():
    assert RIPU().region_variant == "exact"
    assert RIPU(variant="code").region_variant == "code"
    assert [RIPU().region_spacing(k) for k in (0, 1, 4)] == [0, 1, 4]
    assert [RIPU(radius=32).region_spacing(k) for k in (0, 1, 40)] == [32, 32, 40]


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (ClassificationTask(), {}, "`RIPU` chooses regions .*`ClassificationTask` asks for whole samples.*`regions=3`"),
        (SegmentationTask(CLASSES), {}, "asks for whole samples"),
        (SegmentationTask(CLASSES, regions=1), {}, r"`regions=1`, say how far.*`RIPU\(radius=32\)`"),
        (SegmentationTask(CLASSES, superpixels=2), {"radius": 3}, r"`RIPU\(radius=3\)` is of squares"),
    ],
)
def test_tasks_that_are_refused(task, options, message):
    with pytest.raises(ValueError, match=message):
        RIPU(**options).bind(task, AwaitTell())


def test_tasks_that_are_taken():
    for options, task in (({}, {"regions": 3}), ({"radius": 32}, {"regions": 1}), ({}, {"superpixels": 2})):
        Segmenting().bind(RIPU(**options), **task)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"radius": 0}, ValueError, "`radius` must be at least 1, got 0"),
        ({"radius": 1.5}, TypeError, "`radius` must be an integer of at least 1 or None"),
        ({"variant": "exact"}, ValueError, "'paper', 'code', got 'exact'"),
        ({"variant": None, "radius": -1}, ValueError, "2 things"),
    ],
)
def test_options_that_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        RIPU(**options)


def test_nothing_is_left_behind():
    scene = Segmenting()
    scene.model.train()
    want = reference.ripu(scene.logits(), 1, 1)
    torch.testing.assert_close(scene.scores(RIPU(), Regions(1), regions=3), want, **EXACT)
    assert scene.model.training
