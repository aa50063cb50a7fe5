"""What a segmentation task refuses, before anything trains; and small campaigns by every acquisition."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset

from lightning_al import SegmentationTask, acquisition
from lightning_al.acquisition import (
    SAAL,
    SRAAL,
    VAAL,
    BatchBALD,
    CoreGCN,
    CoreSet,
    Entropy,
    ExpectedGradNorm,
    LearningLoss,
    LPLGrad,
    ProbCover,
    QueryByCommittee,
    Random,
    UncertainGCN,
)
from tests.helpers.marks import slow
from tests.helpers.segmenters import VOID, C, LearnsItsLoss, UNet, dataset, images, loop_of, masks

TASK = SegmentationTask(C)

# -- options -----------------------------------------------------------------------------------------------------------

OPTIONS = [
    (TypeError, r"`num_classes` must be an integer of at least 2, got 'x'", {"num_classes": "x"}),
    (ValueError, r"`num_classes` must be at least 2, got 1", {"num_classes": 1}),
    (TypeError, r"`ignore_index` must be an integer or None, got 2.5", {"ignore_index": 2.5}),
    (
        ValueError,
        r"`reduce` must be one of 'mean', 'sum', 'max' or a share above 0 .* got 'median'",
        {"reduce": "median"},
    ),
    (ValueError, r"`reduce` must be above 0 and at most 1, got 0", {"reduce": 0}),
    (ValueError, r"`reduce` must be above 0 and at most 1, got 1.5", {"reduce": 1.5}),
    (TypeError, r"`reduce` must be a number", {"reduce": True}),
    (ValueError, r"`regions` must be odd.*got 4. Take 3 or 5", {"regions": 4}),
    (ValueError, r"`regions` must be at least 1, got 0", {"regions": 0}),
    (TypeError, r"`superpixels` must be the name or position", {"superpixels": [2]}),
    (ValueError, r"`regions=3` asks for squares and `superpixels='areas'`", {"regions": 3, "superpixels": "areas"}),
    (TypeError, r"`per_image` must be True or False", {"per_image": 1}),
]


@pytest.mark.parametrize(("kind", "words", "options"), OPTIONS)
def test_options_out_of_range(kind, words, options):
    with pytest.raises(kind, match=words):
        SegmentationTask(**{"num_classes": C, **options})


def test_what_is_asked_for():
    assert TASK.region_kind is None
    assert SegmentationTask(C, regions=3).region_kind == "squares"
    assert SegmentationTask(C, superpixels=2).region_kind == "superpixels"


# -- models and masks --------------------------------------------------------------------------------------------------

X, Y = images(3), masks(3)


class Half(UNet):
    def forward(self, x):
        return super().forward(x)[..., ::2, ::2]


class Pooled(UNet):
    def forward(self, x):
        return super().forward(x).mean((2, 3))


class Several(UNet):
    def forward(self, x):
        out = super().forward(x)
        return {"out": out, "aux": out[:, :2]}


MODELS = [
    (UNet(), SegmentationTask(5), ValueError, r"num_classes=5.*gives 3 class score"),
    (
        Pooled(),
        TASK,
        ValueError,
        r"class scores for each pixel, \(B, C, H, W\).*shape \(3, 3\).*`output=` or `forward=`",
    ),
    (Half(), TASK, ValueError, r"Logits are 2 × 3 and masks 4 × 6 pixels.*forward=lambda model, x: F.interpolate"),
    (Several(), TASK, TypeError, r"got a dict of 'out', 'aux'.*SegmentationTask\(output='out'\)"),
    (
        UNet(),
        SegmentationTask(C, regions=5),
        ValueError,
        r"`regions=5` does not fit into images of 4 × 6 .*at most 3\.",
    ),
    (
        UNet(),
        SegmentationTask(C, superpixels=2),
        TypeError,
        r"`superpixels=2` is the entry with the map.* of 2: say the positions",
    ),
]


@pytest.mark.parametrize(("model", "task", "kind", "words"), MODELS)
def test_models_it_cannot_work_with(model, task, kind, words):
    with pytest.raises(kind, match=words):
        task.check(model.eval(), [X, Y])


def test_the_ways_out():
    resized = SegmentationTask(C, forward=lambda model, x: F.interpolate(model(x), x.shape[-2:], mode="bilinear"))
    resized.check(Half().eval(), [X, Y])
    SegmentationTask(C, output="out").check(Several().eval(), [X, Y])
    of_one = SegmentationTask(2, forward=lambda model, x: F.pad(model(x)[:, :1], (0, 0, 0, 0, 1, 0)))
    of_one.check(UNet().eval(), [X, Y % 2])
    z = of_one.logits(UNet().eval(), X)
    torch.testing.assert_close(z.softmax(1)[:, 1], UNet().eval()(X)[:, 0].sigmoid())


def with_values(*values):
    y = masks(3)
    y[0, 0, : len(values)] = torch.tensor(values)
    return y


MASKS = [
    (ValueError, r"Masks are 8 × 6 and images 4 × 6 pixels.*nearest neighbour", masks(3, height=8)),
    (ValueError, r"Masks are 6 × 4 and images 4 × 6", masks(3, height=6, width=4)),
    (ValueError, r"Masks hold \[3, 9\], and there are classes 0 to 2 and 255", with_values(3, 9)),
    (ValueError, r"Masks hold \[-100\]", masks(3, ignore_index=-100)),
    (ValueError, r"Masks hold \[3, 9\]", with_values(3, 9).to(torch.uint16)),
    (TypeError, r"integers \(B, H, W\), got torch.float32", masks(3).float()),
    (TypeError, r"got torch.int64 of shape \(3,\).*`target=`", torch.arange(3)),
    (TypeError, r"got torch.int64 of shape \(3, 3, 4, 6\).*colours", torch.zeros(3, 3, 4, 6, dtype=torch.long)),
]


@pytest.mark.parametrize(("kind", "words", "wrong"), MASKS)
def test_masks_that_do_not_belong_to_the_images(kind, words, wrong):
    with pytest.raises(kind, match=words) as refused:
        TASK.check(UNet().eval(), [X, wrong])
    assert len(str(refused.value)) < 500


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ValueError, match=r"(?s)2 things.*Masks are 8 × 6.*`regions=5` does not fit"):
        SegmentationTask(C, regions=5).check(UNet().eval(), [X, masks(3, height=8)])


PLACEHOLDERS = [torch.full((3,), -1), torch.full((3, 4, 6), -1), torch.full((3, 4, 6), VOID)]
UNSIGNED = [torch.uint8, torch.uint16, torch.uint32]


@pytest.mark.parametrize("targets", [*PLACEHOLDERS, Y[:, None], *map(Y.to, UNSIGNED)])
def test_masks_it_takes(targets):
    TASK.check(UNet().eval(), [X, targets])


def test_samples_without_masks():
    TASK.check(UNet().eval(), X)
    with pytest.raises(ValueError, match=r"Logits are 2 × 3 and images 4 × 6 pixels.*of which masks are told: interp"):
        TASK.check(Half().eval(), X)


@pytest.mark.parametrize("dtype", UNSIGNED)
def test_known_masks_without_a_sign(dtype):
    assert TASK.known_targets([X, Y.to(dtype)]).equal(Y)


@pytest.mark.parametrize("options", [{"regions": 3}, {"superpixels": 2}])
def test_regions_need_a_number_for_what_was_not_told(options):
    with pytest.raises(ValueError, match=r"`ignore_index=None` says that every pixel has a class.*`ignore_index=255`"):
        SegmentationTask(C, ignore_index=None, **options)


@pytest.mark.parametrize(
    "areas", [torch.zeros(3, 4, 6), torch.zeros(3, 4, 6) > 0, torch.zeros(3, 2, 3, dtype=torch.long), torch.arange(3)]
)
def test_superpixels_that_are_no_map(areas):
    task = SegmentationTask(C, superpixels=2)
    with pytest.raises(ValueError, match=r"`superpixels=2` must be a map of integers.*\(B, 4, 6\), got"):
        task.check(UNet().eval(), [X, Y, areas])
    whole = torch.zeros(3, 4, 6, dtype=torch.long)
    task.check(UNet().eval(), [X, Y, whole])
    assert task.superpixel_map([X, Y, whole]) is whole
    for dtype in UNSIGNED:
        assert task.superpixel_map([X, Y, whole.to(dtype)[:, None]]).equal(whole)
    with pytest.raises(ValueError, match="numbers no area of 3 images"):
        task.check(UNet().eval(), [X, Y, whole - 1])
    with pytest.raises(TypeError, match="looks for entry 2"):
        task.check(UNet().eval(), [X, Y])


def test_probabilities():
    class Probabilities(UNet):
        def forward(self, x):
            return super().forward(x).softmax(1)

    with pytest.warns(UserWarning, match=r"look like probabilities.*log\(\)"):
        TASK.check(Probabilities().eval(), [X, Y])


@pytest.mark.parametrize("wrong", [[VOID + 1], [-1]])
def test_labels_of_the_dataset_that_are_no_class(wrong):
    y = Y.clone()
    y[0, 0, 0] = wrong[0]
    with pytest.raises(ValueError, match=r"in their mask is no class"):
        TASK.known_targets([X, y])


# -- in a loop ---------------------------------------------------------------------------------------------------------


class OfSizes(Dataset):
    """Every image has another size."""

    def __len__(self):
        return 12

    def __getitem__(self, i):
        return images(1, 4 + 2 * (i % 3), 6)[0], masks(1, 4 + 2 * (i % 3), 6)[0]


REFUSED = [
    (BatchBALD(passes=2), {}, r"`BatchBALD` needs logits of shape \(B, C\).*Use `BALD`"),
    (SRAAL(steps=1, width=4), {}, r"`SRAAL` needs logits of shape \(B, C\).*Use `VAAL`"),
    (ExpectedGradNorm("expected_loss"), {}, r"sum over all labels.*Use `EntropyGradNorm`, or `ExpectedGradNorm\(\)`"),
    (Entropy(), {"model": Half()}, "Logits are 2 × 3 and masks 4 × 6"),
    *(
        (made, {"train": TensorDataset(images(12), torch.full((12, 4, 6), VOID))}, "No pixel of the 6 masks")
        for made in (SAAL(), Random(), CoreSet())
    ),
    *((made, {"model": Half()}, "Logits are 2 × 3 and masks 4 × 6") for made in (Random(), CoreSet())),
    (Random(), {"train": TensorDataset(images(12), masks(12, height=8))}, "Masks are 8 × 6 and images 4 × 6"),
    (Entropy(), {"train": OfSizes(), "task": SegmentationTask(C, regions=3)}, "several sizes"),
    (Entropy(), {"train": TensorDataset(images(12), masks(12, height=8))}, "Masks are 8 × 6 and images 4 × 6"),
    (Entropy(), {"train": TensorDataset(images(12), masks(12) + 5)}, "is no class"),
    (Entropy(), {"train": OfSizes()}, r"several sizes, such as \(3, .*pad them .*`ignore_index`.*`collate_fn`"),
]


@pytest.mark.parametrize(("made", "options", "words"), REFUSED)
def test_nothing_trains(tmp_path, made, options, words):
    loop, trainer = loop_of(tmp_path, made, **options)
    with pytest.raises((ValueError, TypeError, RuntimeError), match=words):
        loop.run(trainer)
    assert trainer.global_step == 0
    assert not (tmp_path / "c").exists()


def test_no_image_is_of_one_class(tmp_path):
    with pytest.raises(ValueError, match=r'"balanced".*`SegmentationTask` has a class for each pixel.*"random"'):
        loop_of(tmp_path, Entropy(), initial_by="balanced")


BRIEF = {
    "VAAL": lambda: VAAL(steps=2, width=4),
    "CoreGCN": lambda: CoreGCN(steps=2),
    "UncertainGCN": lambda: UncertainGCN(steps=2),
    "ProbCover": lambda: ProbCover(delta=0.3),
    "QueryByCommittee": lambda: QueryByCommittee(members=2),
}
SLOW = {"ExpectedGradNorm"}  # 64 label maps, and the plain loop over them once
WHOLE = sorted(set(acquisition.__all__) - {"Acquisition", "BatchBALD", "SRAAL", "RIPU", "RISAAL"})


@pytest.mark.few(1)
@pytest.mark.parametrize("name", [slow(name) if name in SLOW else name for name in WHOLE])
def test_every_acquisition_asks_for_images(tmp_path, name):
    made = BRIEF.get(name, getattr(acquisition, name))()
    model = LearnsItsLoss() if isinstance(made, (LearningLoss, LPLGrad)) else UNet()
    loop, trainer = loop_of(tmp_path, made, model=model, task=SegmentationTask(C, reduce=0.5))
    history = loop.run(trainer)
    assert [r.labelled for r in history] == [6, 10]
    assert len(set(loop.pool.labelled.tolist())) == 10
    for index in loop.pool.labelled.tolist():
        assert torch.equal(loop.task.decode_label(loop.campaign.labels[index]), dataset()[index][1])
