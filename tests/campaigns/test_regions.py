"""Whole campaigns whose questions are regions of images."""

import json

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_al import SKIP, AwaitTell, Campaign, ClassificationTask, DatasetOracle, NoisyOracle, Oracle
from lightning_al.acquisition import BADGE, RIPU, Entropy, Random
from lightning_al.campaign import tell_campaign
from lightning_al.campaign.standing import Standing
from lightning_al.cli.status import status_of, text_of
from lightning_al.oracle import read_labels
from lightning_al.report import load_curves
from lightning_al.tasks.mask_png import mask_to_png
from tests.helpers.marks import slow
from tests.helpers.projects import Data, Net, loop_in, make_trainer
from tests.helpers.regions import (
    HEIGHT,
    IMAGES,
    VOID,
    WIDTH,
    Images,
    Pixels,
    labels_in,
    make_images,
    region_loop,
    region_task,
    regions_asked,
    run_regions,
)

MASKS = make_images()[1].numpy()
VALID = MASKS != VOID


def valid_in(questions):
    """How many pixels of some questions have a class."""
    return sum(int((mask & VALID[n]).sum()) for question in questions for n, mask in question.items())


@pytest.mark.parametrize("task", [region_task(), region_task(per_image=False)])
def test_labels_are_what_was_asked_for_and_training_sees_no_more(tmp_path, task):
    model = Pixels()
    loop = run_regions(tmp_path, model=model, task=task, query_size=3, initial=[4, 1])
    asked = np.zeros(MASKS.shape, dtype=bool)
    asked[[4, 1]] = True
    for question in regions_asked(tmp_path / "c"):
        for n, mask in question.items():
            assert not (asked[n] & mask).any()  # nothing is asked for twice
            asked[n] |= mask
    told = labels_in(loop.campaign)
    assert told.keys() == set(np.flatnonzero((asked & VALID).any((1, 2))).tolist())
    for n, mask in told.items():
        assert (mask == np.where(asked[n], MASKS[n], VOID)).all()
    seen = {tuple(mask.flatten().tolist()) for batch in model.trained_on for mask in batch}
    assert {tuple(mask.flatten().tolist()) for mask in told.values()} <= seen
    assert all((batch != VOID).any() for batch in model.trained_on)


@pytest.mark.few(1)
@pytest.mark.parametrize(("task", "size"), [(region_task(), 7), (region_task(1, per_image=False), 40)])
def test_a_budget_is_of_pixels_and_void_costs_nothing(tmp_path, task, size):
    initial = int(VALID[[4, 1]].sum())
    loop = run_regions(
        tmp_path, Random(), task=task, query_size=size, rounds=None, budget=initial + 100, initial=[4, 1]
    )  # fmt: skip
    questions = regions_asked(tmp_path / "c")
    spent = initial + valid_in(questions)
    assert (
        loop.pool.spent
        == loop.history[-1].spent
        == spent
        == sum((m != VOID).sum() for m in labels_in(loop.campaign).values())
    )
    assert initial + 100 - task.regions**2 < spent <= initial + 100
    assert valid_in(questions) < sum(int(mask.sum()) for question in questions for mask in question.values())
    for before, question in enumerate(questions):  # what is asked for may all have a class
        paid = initial + valid_in(questions[:before])
        assert paid + sum(int(mask.sum()) for mask in question.values()) <= initial + 100


def test_prices_are_of_pixels(tmp_path):
    loop = run_regions(tmp_path, oracle=NoisyOracle(price=0.5), query_size=2, budget=150.0, initial=[4])
    questions = regions_asked(tmp_path / "c")
    assert loop.pool.spent == 0.5 * (int(VALID[4].sum()) + valid_in(questions))
    assert loop.campaign.pool.cost(4) == 45


@pytest.mark.parametrize("task", [region_task(), region_task(per_image=False)])
@pytest.mark.parametrize("made", [Entropy, slow(lambda: RIPU(variant="code"))])
def test_where_all_is_asked_for_the_campaign_ends(tmp_path, task, made):
    options = {"data": Images(4), "initial": [2], "rounds": None}
    loop = run_regions(tmp_path, made(), task=task, query_size=25, subpool_size=2, **options)
    assert (loop.status, loop.history[-1].picked) == ("finished", [])
    assert loop.pool.askable.tolist() == []
    questions = regions_asked(tmp_path / "c")
    for n in (0, 1, 3):
        asked = sum(question[n].astype(int) for question in questions if n in question)
        assert asked.max() == 1
        again = torch.nn.functional.max_pool2d(torch.from_numpy(asked)[None].double(), 3, 1, 1)
        assert bool((again == 1).all())  # no square of 3 x 3 would lie beside what was asked for
    files = len(list((tmp_path / "c" / "ledger").iterdir()))
    again = region_loop(tmp_path, task=task, query_size=25, **options)
    again.run(make_trainer(tmp_path, acquisition=made(), max_epochs=1), resume=True)
    assert (again.status, len(list((tmp_path / "c" / "ledger").iterdir()))) == ("finished", files)


def test_what_is_left_but_blocked_ends_it_too(tmp_path):
    """Another acquisition, whose picks lie farther apart, finds nothing where the first left something."""
    options = {"data": Images(3), "task": region_task(1), "initial": [0]}
    run_regions(tmp_path, Entropy(), query_size=30, rounds=1, **options)
    loop = region_loop(tmp_path, query_size=1, rounds=None, **options)
    trainer = make_trainer(tmp_path, acquisition=RIPU(radius=9), max_epochs=1)
    history = loop.run(trainer, resume=True)
    assert (loop.status, history[-1].picked, len(history)) == ("finished", [], 2)
    assert loop.pool.askable.tolist() == [1, 2]
    assert loop.ask(trainer) == []
    assert loop.status == "finished"


def test_images_that_are_all_void_where_asked_are_not_trained_on(tmp_path):
    class Right(Random):
        """Wants the right edge, which is void."""

        def region_scores(self, model, batch, regions):
            columns = torch.arange(WIDTH, dtype=torch.float64)
            return columns.expand(len(batch[0]), HEIGHT, WIDTH)

    loop = run_regions(tmp_path, Right(), task=region_task(1), query_size=HEIGHT, initial=[4], rounds=3)
    assert [r.spent for r in loop.history] == [90, 90, 90, 90 + 9 * HEIGHT]
    assert [r.labelled for r in loop.history] == [1, 1, 1, IMAGES]
    assert len(regions_asked(tmp_path / "c")) == 3


# --------------------------------------------------------------------------------------------------- people who answer


class Asked(Oracle):
    """Answers with the regions that it was asked for, and notes them."""

    def __init__(self):
        self.seen = []

    def request(self, indices):
        self.regions = {i: indices.region(i) for i in indices}
        self.seen.append(dict(self.regions))

    def poll(self):
        return {i: np.full((HEIGHT, WIDTH), 1) for i in self.regions}


def test_oracles_are_told_which_pixels_are_meant(tmp_path):
    oracle = Asked()
    loop = run_regions(tmp_path, oracle=oracle, initial=[4])
    assert oracle.seen[0] == {4: None}
    for seen, question in zip(oracle.seen[1:], regions_asked(tmp_path / "c"), strict=True):
        assert list(seen) == list(question)
        assert all((seen[n] == question[n]).all() for n in seen)
    told = labels_in(loop.campaign)
    for n in set(told) - {4}:
        asked = np.logical_or.reduce([question[n] for question in oracle.seen[1:] if n in question])
        assert (told[n] == np.where(asked, 1, VOID)).all()


def test_ask_and_tell(tmp_path):
    loop = region_loop(tmp_path, oracle=AwaitTell(), task=region_task(per_image=False), rounds=None)
    trainer = make_trainer(tmp_path, max_epochs=1)
    first = loop.ask(trainer)
    loop.tell(first, [torch.from_numpy(MASKS[n]) for n in first])
    asked = loop.ask(trainer, 3)
    regions = {n: loop.campaign.regions.open(n) for n in asked}
    assert 1 <= len(asked) <= 3
    assert 3 * 4 <= sum(int(mask.sum()) for mask in regions.values()) <= 3 * 9
    more = loop.ask(trainer, 0.1)  # others, while these are not answered
    assert set(more) & set(asked) == set()
    with pytest.raises(TypeError, match=rf"index {asked[0]}: .*The mask is 11 x 9 pixels and the image 12 x 9"):
        loop.tell([asked[0]], [torch.zeros(HEIGHT, WIDTH - 1, dtype=torch.long)])
    loop.tell([asked[0]], [torch.zeros(HEIGHT, WIDTH, dtype=torch.long)])
    told = labels_in(loop.campaign)[asked[0]]
    assert (told == np.where(regions[asked[0]], 0, VOID)).all()
    loop.tell([asked[0]], [torch.ones(HEIGHT, WIDTH, dtype=torch.long)])  # a correction
    assert (labels_in(loop.campaign)[asked[0]] == np.where(regions[asked[0]], 1, VOID)).all()
    with pytest.raises(ValueError, match="`SKIP` cannot take back a label"):
        loop.tell([asked[0]], [SKIP])
    loop.release(more)
    assert loop.pool.pending.tolist() == asked[1:]
    unasked = next(n for n in range(IMAGES) if n in loop.pool.unlabelled.tolist())
    loop.tell([unasked], [torch.from_numpy(MASKS[unasked])])
    assert unasked not in loop.pool.askable.tolist()


def test_noisy_oracles(tmp_path):
    loop = run_regions(tmp_path, oracle=NoisyOracle(abstain=0.5, delay=0), query_size=1, initial=3, rounds=1)
    assert len(loop.pool.skipped) > 0
    assert set(loop.pool.askable.tolist()).isdisjoint(loop.pool.skipped.tolist())
    with pytest.raises(ValueError, match=r"`NoisyOracle\(flip=0.5\)` makes one class index another"):
        run_regions(tmp_path / "2", oracle=NoisyOracle(flip=0.5, classes=3))


def test_another_datasets_masks(tmp_path):
    images, masks = make_images()
    others = DatasetOracle(TensorDataset(images, (masks + 1) % 3))
    loop = run_regions(tmp_path, oracle=others, initial=[4], rounds=1)
    wanted = np.where(regions_asked(tmp_path / "c")[0][0], ((MASKS + 1) % 3)[0], VOID)
    assert (labels_in(loop.campaign)[0] == wanted).all()


class Named(Images):
    """Images that have names."""

    def setup(self, stage):
        super().setup(stage)
        self.train = NamedImages(*self.train.tensors)


class NamedImages(TensorDataset):
    def sample_key(self, index):
        return f"image_{index}.jpg"


def test_masks_in_files_are_told_of_what_was_asked_for(tmp_path):
    loop = region_loop(tmp_path, data=Named(), oracle=AwaitTell(), rounds=None)
    trainer = make_trainer(tmp_path, max_epochs=1)
    first = loop.ask(trainer)
    loop.tell(first, [torch.from_numpy(MASKS[n]) for n in first])
    asked = loop.ask(trainer)
    regions = {n: loop.campaign.regions.open(n) for n in asked}
    folder = tmp_path / "masks"
    folder.mkdir()

    def draw(n, mask):
        (folder / f"image_{n}.png").write_bytes(mask_to_png(mask.astype(np.uint8)))

    for n in asked:
        draw(n, MASKS[n])
    draw(asked[1], np.where(regions[asked[1]], VOID, MASKS[asked[1]]))  # says nothing of what was asked for
    told = tell_campaign(tmp_path / "c", [read_labels(folder)])
    assert (told.labelled, told.blank) == (len(asked) - 1, 1)
    campaign = Campaign.load(tmp_path / "c")
    assert campaign.pool.pending.tolist() == [asked[1]]
    labels = labels_in(campaign)
    for n in set(asked) - {asked[1]}:
        assert (labels[n] == np.where(regions[n], MASKS[n], VOID)).all()
        assert campaign.pool.cost(n) == (regions[n] & VALID[n]).sum()
    files = len(list((tmp_path / "c" / "ledger").iterdir()))
    again = tell_campaign(tmp_path / "c", [read_labels(folder)])
    assert (again.labelled, again.unchanged, again.blank) == (0, len(asked) - 1, 1)
    assert len(list((tmp_path / "c" / "ledger").iterdir())) == files
    more = region_loop(tmp_path, data=Named(), oracle=AwaitTell(), rounds=None)
    second = more.ask(trainer, 1)
    assert asked[1] not in second
    told = tell_campaign(tmp_path / "c", [read_labels(folder)])  # the same masks, in which more is asked for now
    campaign = Campaign.load(tmp_path / "c")
    for n in second:
        assert (labels_in(campaign)[n] == np.where(campaign.regions.all(n), MASKS[n], VOID)).all()
    assert told.labelled == sum(bool((campaign.regions.all(n) & ~regions[n] & VALID[n]).any()) for n in second)


def test_the_best_score_of_each_candidate_is_kept(tmp_path):
    loop = region_loop(tmp_path, oracle=AwaitTell(), initial=[4])
    trainer = make_trainer(tmp_path, max_epochs=1)
    loop.tell(loop.ask(trainer), [torch.from_numpy(MASKS[4])])
    asked = loop.ask(trainer, 1, keep_scores=True)
    kept = loop.scores(0)
    assert sorted(asked) == sorted(np.asarray(kept.index).tolist())
    best = dict(zip(np.asarray(kept.index).tolist(), np.asarray(kept.score).tolist(), strict=True))
    assert loop.history[0].scores == [best[n] for n in asked] == sorted(best.values(), reverse=True)


# ------------------------------------------------------------------------------------------------ what is kept and said


def test_the_ledger_stays_small(tmp_path):
    """A few hundred bytes for each image and round, whatever is asked for in it."""
    shape = (96, 128)
    run_regions(tmp_path, Random(), data=Images(3, shape=shape), query_size=60, initial=[0], rounds=1)
    [event] = [p for p in (tmp_path / "c" / "ledger").glob("*-asked.json") if "regions" in p.read_text()]
    assert event.stat().st_size < 1000
    regions = json.loads(event.read_text())["regions"]
    files = [tmp_path / "c" / "labels" / region["blob"] for region in regions]
    assert all(file.stat().st_size < 96 * 128 / 8 for file in files)


def test_status_standing_and_curves_count_pixels(tmp_path):
    loop = run_regions(tmp_path / "runs" / "ripu", RIPU(), oracle=AwaitTellFirst(), initial=[4])
    dirpath = tmp_path / "runs" / "ripu" / "c"
    asked = loop.pool.pending.tolist()
    assert asked
    standing = Standing(dirpath)
    assert standing.units("pending") == asked
    assert sorted(standing.units("labelled")) == sorted(loop.pool.labelled.tolist())
    status = status_of(dirpath)
    assert (status["spent"], status["labelled"]) == (loop.pool.spent, len(loop.pool.labelled))
    assert f"{int(loop.pool.spent)} pixels" in text_of(status)
    assert f"(of {int(loop.history[-1].amount)} pixels)" in text_of(status)
    [curves] = load_curves(tmp_path / "runs").values()
    assert curves[0].labels == [r.spent for r in loop.history]
    assert curves[0].counts == "pixels"
    assert str(loop.history[0]).startswith("round 0: 90 pixels | ")


class AwaitTellFirst(DatasetOracle):
    """Answers the questions of the first rounds, then no more."""

    def request(self, indices):
        if indices.round < 1:
            super().request(indices)


def test_data_that_moved(tmp_path):
    options = {"oracle": AwaitTellFirst(), "initial": [4]}
    loop = run_regions(tmp_path, rounds=None, **options)
    before = {n: loop.campaign.regions.all(n) for n in range(IMAGES)}
    told = labels_in(loop.campaign)

    class Turned(Images):
        def setup(self, stage):
            super().setup(stage)
            self.train = TensorDataset(*(entries.flip(0) for entries in self.train.tensors))

    again = region_loop(tmp_path, data=Turned(), rounds=2, **{**options, "oracle": DatasetOracle()})
    again.run(make_trainer(tmp_path, max_epochs=1), resume=True)
    for n in range(IMAGES):
        now = again.campaign.regions.all(IMAGES - 1 - n)
        assert (before[n] is None and n == 4) or (now >= before[n]).all()
    for n, mask in told.items():
        now = labels_in(again.campaign)[IMAGES - 1 - n]
        assert (now == mask)[mask != VOID].all()
    assert again.status == "finished"


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": region_task(11)}, r"`regions=11` does not fit into images of 9 × 12 pixels"),
        ({"query_size": 1.5}, r"`query_size` must be .*below 1, got 1.5"),
        ({"query_size": 0.0}, r"`query_size` must be .*above 0.*got 0.0"),
        ({"query_size": 0}, r"`query_size` must be at least 1, got 0|`query_size` must be .*at least 1, got 0"),
        ({"budget": 100, "initial": [4, 1]}, r"`budget=100` counts the initial labels too .*: they cost 180"),
        ({"initial": IMAGES}, r"`initial` asks for all of 10 samples, so that no regions are left"),
    ],
)
@pytest.mark.parametrize("acquisition", [Entropy, Random])
def test_wrong_options(tmp_path, options, words, acquisition):
    with pytest.raises(ValueError, match=words):
        run_regions(tmp_path, acquisition(), **options)
    assert not Campaign.exists(tmp_path / "c")


def test_acquisitions_without_a_score_for_each_pixel(tmp_path):
    with pytest.raises(ValueError, match=r"`BADGE` has no score for each pixel.*Take `RIPU`"):
        run_regions(tmp_path, BADGE())


@pytest.mark.parametrize("task", [ClassificationTask(), region_task(None)])
def test_a_share_where_whole_samples_are_asked_for(tmp_path, task):
    with pytest.raises(ValueError, match=r"`query_size=0.1` is a share of the pixels, and \w+ asks for whole samples"):
        region_loop(tmp_path, task=task, query_size=0.1)
    loop = loop_in(tmp_path, Net(), Data())
    with pytest.raises(ValueError, match=r"`k=0.5` is a share of the pixels, and ClassificationTask asks for whole"):
        loop.ask(make_trainer(tmp_path), 0.5)
