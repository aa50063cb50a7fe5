"""Regions are picked where the maps are: as by plain loops, on any number of processes, in batches of any size."""

import math

import numpy as np
import pytest
import torch

from lightning_al import Campaign, SegmentationTask
from lightning_al.acquisition import RIPU, Entropy, LeastConfidence, Margin, Random
from lightning_al.distributed import ranks
from lightning_al.oracle import DatasetOracle
from lightning_al.scoring import regions as picking
from tests.helpers.processes import fork
from tests.helpers.regions import (
    CLASSES,
    HEIGHT,
    IMAGES,
    VOID,
    WIDTH,
    Images,
    Pixels,
    make_images,
    region_task,
    regions_asked,
    run_regions,
)


class Frozen(Pixels):
    """Does not learn, so that every number of processes scores the same weights."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def entropy_maps():
    """The entropies of the untrained model in float64, (N, H, W)."""
    with torch.no_grad():
        p = Pixels()(make_images()[0]).softmax(1)
    return -(p * p.log()).sum(1).numpy()


def windows(maps, radius):
    """The mean over each window, in the image."""
    means = np.zeros_like(maps)
    for n, i, j in np.ndindex(maps.shape):
        means[n, i, j] = maps[n, max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1].mean()
    return means


class Plain:
    """The greedy loop over whole maps: one maximum after another, and what is blocked by it."""

    def __init__(self, scores, radius, spacing):
        self.scores, self.radius, self.spacing = scores, radius, spacing
        self.blocked = np.zeros(scores.shape, dtype=bool)
        self.asked = np.zeros(scores.shape, dtype=bool)

    def pick(self, image=None):
        """The next region, of one image or of all; False if all is blocked."""
        free = np.where(self.blocked, -np.inf, self.scores)
        if image is not None:
            free[np.arange(len(free)) != image] = -np.inf
        if not np.isfinite(free).any():
            return None
        n, i, j = np.unravel_index(free.argmax(), free.shape)
        k, wide = self.radius, self.radius + self.spacing
        before = self.asked.copy()
        self.asked[n, max(i - k, 0) : i + k + 1, max(j - k, 0) : j + k + 1] = True
        self.blocked[n, max(i - wide, 0) : i + wide + 1, max(j - wide, 0) : j + wide + 1] = True
        return n, self.asked & ~before


def plain_rounds(scores, *, radius, spacing, count, per_image, images, rounds=2):
    plain = Plain(scores, radius, spacing)
    wanted = []
    for _ in range(rounds):
        asked = np.zeros(scores.shape, dtype=bool)
        for image in images if per_image else [None]:
            for _ in range(count):
                picked = plain.pick(image)
                if picked is not None:
                    asked |= picked[1]
        wanted.append({n: asked[n] for n in range(len(scores)) if asked[n].any()})
    return wanted


def same(one, other):
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all((a[n] == b[n]).all() for n in a) for a, b in zip(one, other, strict=True)
    )


CASES = {
    "squares": (Entropy, region_task(), 2),
    "pixels": (Entropy, region_task(1), 5),
    "share": (Entropy, region_task(), 0.2),
    "pool": (Entropy, region_task(per_image=False), 9),
    "share of the pool": (Entropy, region_task(per_image=False), 0.1),
}


@pytest.mark.few(3)
@pytest.mark.parametrize("name", CASES)
def test_picks_are_those_of_the_plain_greedy_loop(tmp_path, name):
    acquisition, task, size = CASES[name]
    loop = run_regions(tmp_path, acquisition(), model=Frozen(), task=task, query_size=size, initial=[3, 7])
    radius = (task.regions - 1) // 2
    images = [n for n in range(IMAGES) if n not in (3, 7)]
    scores = windows(entropy_maps(), radius)
    scores[[3, 7]] = -np.inf
    whole = 1 if task.per_image else IMAGES
    count = size if size >= 1 else math.ceil(whole * HEIGHT * WIDTH * size / task.regions**2)
    wanted = plain_rounds(
        scores, radius=radius, spacing=radius, count=count, per_image=task.per_image, images=images
    )  # fmt: skip
    assert same(regions_asked(tmp_path / "c"), wanted)
    assert loop.status == "finished"


def test_pixels_far_apart(tmp_path):
    task = region_task(1)
    run_regions(tmp_path, RIPU(radius=2), model=Frozen(), task=task, query_size=3, initial=[0])
    for n in range(1, IMAGES):
        asked = np.argwhere(sum(question[n] for question in regions_asked(tmp_path / "c") if n in question))
        apart = np.abs(asked[:, None] - asked[None]).max(-1)
        assert apart[~np.eye(len(asked), dtype=bool)].min() == 3


AREAS = torch.arange(HEIGHT * WIDTH).view(HEIGHT, WIDTH) // 7


@pytest.mark.parametrize("per_image", [True, False])
def test_superpixels(tmp_path, per_image):
    task = region_task(None, superpixels=2, per_image=per_image)
    run_regions(tmp_path, Entropy(), model=Frozen(), task=task, data=Images(areas=AREAS), query_size=3, initial=[3, 7])
    areas, maps = AREAS.numpy(), entropy_maps()
    means = np.stack([[image[areas == number].mean() for number in range(areas.max() + 1)] for image in maps])
    means[[3, 7]] = -np.inf
    for asked in regions_asked(tmp_path / "c"):
        rows = range(IMAGES) if per_image else [slice(None)]
        wanted = np.zeros(means.shape, dtype=bool)
        for row in rows:
            for _ in range(3):
                here = np.where(wanted, -np.inf, means)[row]
                if np.isfinite(here).any():
                    wanted[row][np.unravel_index(here.argmax(), here.shape)] = True
        means[wanted] = -np.inf
        assert asked.keys() == set(np.flatnonzero(wanted.any(1)).tolist())
        assert all((mask == wanted[n][areas]).all() for n, mask in asked.items())


def test_the_authors_variant_asks_for_nothing_beside_a_square_that_it_just_asked_for(tmp_path):
    """Where all is blocked theirs takes the upper left pixel, which here lies beside the best one."""

    class Corner(RIPU):
        def region_scores(self, model, batch, regions):
            distances = torch.arange(HEIGHT)[:, None] + torch.arange(WIDTH)[None]
            return (10.0 - (distances - 2).abs()).expand(len(batch[0]), HEIGHT, WIDTH)

    loop = run_regions(tmp_path, Corner(variant="code"), query_size=40, initial=[3], rounds=1)
    wanted = Plain(np.zeros((1, HEIGHT, WIDTH)), 1, 1)
    wanted.scores = (10.0 - np.abs(np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) - 2)).T[None]
    wanted.blocked, wanted.asked = (np.zeros((1, WIDTH, HEIGHT), dtype=bool) for _ in range(2))  # column by column
    while wanted.pick(0) is not None:
        pass
    for mask in regions_asked(tmp_path / "c")[0].values():
        assert (mask == wanted.asked[0].T).all()
        assert not mask[0, 0] or not mask[2, 2]
    assert loop.campaign.regions.all(0).sum() == wanted.asked.sum()


class InEntries(Frozen):
    """Takes a list of images, or a dict with other entries before them."""

    def forward(self, x):
        return super().forward(torch.stack(x) if isinstance(x, list) else x["image"] if isinstance(x, dict) else x)


def in_entries(of_images):
    class Task(SegmentationTask):
        def inputs(self, batch):
            return of_images(super().inputs(batch))

    return Task(CLASSES, ignore_index=VOID, regions=3)


@pytest.mark.parametrize("of_images", [list, lambda images: {"file": ["a.jpg"] * len(images), "image": images}])
@pytest.mark.parametrize("acquisition", [Entropy, Random])
def test_images_are_counted_whatever_the_model_is_called_with(acquisition, of_images):
    found = []
    for task in (region_task(), in_entries(of_images)):
        mine = acquisition()
        mine.bind(task, DatasetOracle())
        picker = picking.RegionPicker(
            mine, picking.HowMany(2, per_image=True, images=IMAGES), lambda i: None, seed=0, round=0
        )
        for indices in (torch.tensor([7, 1, 4, 2]), torch.tensor([0, 5])):
            picker.begin_batch(indices)
            with torch.no_grad():
                picker.rows(InEntries(), [entry[indices] for entry in make_images()])
        found.append({name: values.tolist() for name, values in picker.picks().items()})
    assert found[1].pop("score") == pytest.approx(found[0].pop("score"), abs=1e-12)
    assert found[1] == found[0]
    assert sorted(set(found[0]["index"])) == [0, 1, 2, 4, 5, 7]


@pytest.mark.slow
def test_a_campaign_of_a_model_that_is_called_with_a_list_of_images(tmp_path):
    run_regions(tmp_path, model=InEntries(), task=in_entries(list), rounds=1)
    run_regions(tmp_path / "plain", model=Frozen(), rounds=1)
    got, plain = (regions_asked(folder / "c")[0] for folder in (tmp_path, tmp_path / "plain"))
    assert {n: mask.tolist() for n, mask in got.items()} == {n: mask.tolist() for n, mask in plain.items()}


UNEVEN = (torch.arange(HEIGHT * WIDTH) ** 1.4 / 40).long().view(HEIGHT, WIDTH)


@pytest.mark.few(1)
@pytest.mark.parametrize("share", [0.004, 0.1, 0.35])
def test_superpixels_that_are_a_share_of_the_whole_pool(tmp_path, share):
    """The best ones until they have as many pixels, small ones and large ones."""
    task = region_task(None, superpixels=2, per_image=False)
    options = {"model": Frozen(), "data": Images(areas=UNEVEN), "initial": [3, 7], "pool_batch_size": 3}
    run_regions(tmp_path, Entropy(), task=task, query_size=share, **options)
    areas, maps = UNEVEN.numpy(), entropy_maps()
    assert len(np.unique(np.bincount(areas.flatten()))) > 5
    left = [
        (-image[areas == number].mean(), n, number)
        for n, image in enumerate(maps)
        for number in range(areas.max() + 1)
        if n not in (3, 7)
    ]
    left.sort()
    questions = regions_asked(tmp_path / "c")
    assert len(questions) == 2
    for asked in questions:
        wanted, pixels = {}, 0
        while left and pixels < share * IMAGES * HEIGHT * WIDTH:
            _, n, number = left.pop(0)
            wanted[n] = wanted.get(n, np.zeros(areas.shape, dtype=bool)) | (areas == number)
            pixels += (areas == number).sum()
        assert same([asked], [wanted])


# ----------------------------------------------------------------------------- processes, batches, what is gathered

MADE = {
    "Random": (Random, {}),
    "Margin": (Margin, {}),
    "LeastConfidence": (LeastConfidence, {"task": region_task(1), "query_size": 4}),
    "RIPU": (RIPU, {}),
    "RIPU, pool": (RIPU, {"task": region_task(per_image=False), "query_size": 11}),
    "Entropy, sub-pool": (Entropy, {"subpool_size": 5, "query_size": 0.1}),
    "Margin, superpixels, share of the pool": (
        Margin,
        {"task": region_task(None, superpixels=2, per_image=False), "data": Images(areas=UNEVEN), "query_size": 0.1},
    ),
    "Random, superpixels": (Random, {"task": region_task(None, superpixels=2), "data": Images(areas=AREAS)}),
}


def asked_on(folder, processes, made, **options):
    strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
    launch = {"strategy": strategy, "devices": devices}
    run_regions(folder, made(), launch, **{"model": Frozen(), **options})
    return regions_asked(folder / "c"), [r.scores for r in Campaign.load(folder / "c").rounds]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MADE))
def test_the_same_on_one_two_and_three_processes_and_in_other_batches(tmp_path, name):
    made, options = MADE[name]
    one, scores = asked_on(tmp_path / "1", 1, made, **options)
    assert one[0]
    for processes, batch in ((1, 3), (2, 4), (3, 4)):
        again, others = asked_on(tmp_path / f"{processes}-{batch}", processes, made, **options, pool_batch_size=batch)
        assert same(again, one)
        assert others == scores


@pytest.mark.slow
def test_fewer_images_than_processes(tmp_path):
    options = {"data": Images(3), "initial": [1], "query_size": 2}
    one = asked_on(tmp_path / "1", 1, RIPU, **options)
    assert all(question.keys() == {0, 2} for question in one[0])
    three = asked_on(tmp_path / "3", 3, RIPU, **options)
    assert same(three[0], one[0])


@pytest.mark.parametrize(("task", "size"), [(region_task(), 2), (region_task(per_image=False), 8)])
def test_nothing_of_the_size_of_maps_is_gathered(tmp_path, monkeypatch, task, size):
    """What leaves a process: a few numbers for each image, and a few for each pick and one more of each image."""
    numbers = []

    def counting(rows, device, *, keep=True):
        numbers.append({name: values.numel() for name, values in rows.items()})
        return gather(rows, device, keep=keep)

    gather = ranks.gather_rows
    monkeypatch.setattr(picking, "gather_rows", counting)
    stored = []
    rows = picking.RegionPicker.rows

    def kept(self, model, batch):
        made = rows(self, model, batch)
        stored.append(sum(values.numel() for values in made.values()))
        picks = sum(len(each["score"]) for each in self._picks.values())
        assert picks <= (3 * len(self._picks) if task.per_image else 2 * size + 4 * (size + 1))
        return made

    monkeypatch.setattr(picking.RegionPicker, "rows", kept)
    run_regions(tmp_path, task=task, query_size=size, rounds=1, initial=[0])
    assert sum(stored[-3:]) == 5 * (IMAGES - 1)  # a pass in batches of four
    bound = (size + 1) * (IMAGES - 1) if task.per_image else 2 * size
    assert len(numbers) == 1
    assert all(count <= bound for count in numbers[0].values())
    assert 5 * bound < IMAGES * HEIGHT * WIDTH


# ----------------------------------------------------------------------------------------------------- what is refused


def test_scores_that_are_not_finite_are_named(tmp_path):
    class Wild(Entropy):
        def pixel_scores(self, model, batch):
            return super().pixel_scores(model, batch) / 0

    with pytest.raises(ValueError, match=r"`Wild` gave NaN or infinite scores for \d+ of \d+ samples"):
        run_regions(tmp_path, Wild())


def test_scores_of_another_shape_are_refused(tmp_path):
    class Flat(Entropy):
        def region_scores(self, model, batch, regions):
            return super().region_scores(model, batch, regions).flatten(1)

    with pytest.raises(ValueError, match=r"`Flat.region_scores` must give a score for each pixel of \d images"):
        run_regions(tmp_path, Flat())

    class Forgot(Entropy):
        def region_scores(self, model, batch, regions):
            super().region_scores(model, batch, regions)

    with pytest.raises(TypeError, match=r"`Forgot.region_scores` must give a score .* got NoneType"):
        run_regions(tmp_path, Forgot())


def test_a_share_of_a_pool_of_several_sizes_is_refused():
    how_many = picking.HowMany(0.1, per_image=False, images=4)
    with pytest.raises(ValueError, match=r"several sizes, 3 × 4 and 5 × 6: give a count of regions"):
        how_many.check_one_size([(3, 4), (5, 6)])
    picking.HowMany(0.1, per_image=True, images=4).check_one_size([(3, 4), (5, 6)])


@pytest.mark.parametrize(
    ("size", "per_image", "wanted"),
    [
        (1e-9, True, 1),
        (3, True, 3),
        (0.5, True, 6),
        (0.022 / 5, True, 1),
        (0.01, False, 9),
        (1 / 9, True, 2),
        (0.1, False, 82),
    ],
)
def test_how_many(size, per_image, wanted):
    """⌈108 · share / 9⌉ of images of 9 × 12 pixels and squares of 3 × 3; of the pool of 68 images at once."""
    assert picking.HowMany(size, per_image, images=68).of(108, 9.0) == wanted


def test_the_published_number():
    """RIPU's: ⌈2048 · 1024 · 0.022 / 5 / 9⌉."""
    assert picking.HowMany(0.022 / 5, True, images=2975).of(2048 * 1024, 9.0) == 1026
