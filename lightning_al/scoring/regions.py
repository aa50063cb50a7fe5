"""Regions of candidates picked: each process turns its own maps of scores into picks, and these alone are gathered."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.query import Rows
from lightning_al.acquisition.regions import Regions, check_maps
from lightning_al.campaign.regions import region_blob
from lightning_al.distributed.randomness import generator
from lightning_al.distributed.ranks import Ranks, gather_rows
from lightning_al.functional.selection.regions import (
    asked_pixels,
    asked_superpixels,
    blocked_centres,
    free_squares,
    pick_superpixels,
)
from lightning_al.scoring.pick import Candidates, in_words
from lightning_al.scoring.pool_pass import rows_of
from lightning_al.scoring.subject import Subject
from lightning_al.stages import stage
from lightning_al.storage.blobs import Blob

Asked = Callable[[int], np.ndarray | None]
"""Gives the pixels of a sample that were asked for before, by dataset index."""


@dataclass(frozen=True)
class HowMany:
    """How many regions are picked.

    Args:
        size: A count, or a number below 1: that share of the pixels.
        per_image: Whether that is of each image, or of the whole pool.
        images: How many the pool has.
    """

    size: int | float
    per_image: bool
    images: int

    def of(self, pixels: int, area: float) -> int:
        """Return how many regions of an image are picked at most, with so many pixels, of regions of this area."""
        if self.size >= 1:
            return int(self.size)
        images = 1 if self.per_image else self.images
        return max(math.ceil(round(images * pixels * self.size / area, 6)), 1)

    def check_one_size(self, sizes: Sequence[Sequence[int]]) -> None:
        """Refuse images of several sizes where a share of the whole pool's pixels is asked for.

        Raises:
            ValueError: With two of the sizes.
        """
        if self.size < 1 and not self.per_image and len(sizes) > 1:
            one, other = (" × ".join(map(str, size)) for size in sizes[:2])
            raise ValueError(
                f"`query_size={self.size}` is a share of the pool's pixels, and images are of several sizes, {one} and "
                f"{other}: give a count of regions, or ask for a share of each image (`per_image=True`)."
            )


class RegionPicker(Acquisition):
    """Picks regions of each image of a pass by another acquisition's scores, and keeps the picks, never a map.

    Args:
        acquisition: Bound to its task, which says of what kind regions are.
        how_many: To pick. One more is, to know whether there are others.
        asked: What was asked for before.
        seed: Of the campaign.
        round: With the seed and an image's dataset index it decides what is drawn for the image.
    """

    def __init__(self, acquisition: Acquisition, how_many: HowMany, asked: Asked, *, seed: int, round: int) -> None:
        super().__init__()
        self.acquisition = acquisition
        self.how_many = how_many
        self.asked = asked
        self.seed = seed
        self.round = round
        self.requires = acquisition.requires | {"outputs"}  # so that the task looks whether regions fit
        self.looks_inside = acquisition.looks_inside  # type: ignore[misc]
        self._task = acquisition.task
        self._radius = ((self.task.regions or 1) - 1) // 2
        self._spacing = acquisition.region_spacing(self._radius)
        self.begin_pass(torch.empty(0, dtype=torch.long))

    @property
    def batch_multiple(self) -> int:
        """As the other acquisition."""
        return self.acquisition.batch_multiple

    @property
    def name_in_errors(self) -> str:
        """As the other acquisition."""
        return self.acquisition.name_in_errors

    def begin_pass(self, indices: Tensor) -> None:
        """Forget all picks."""
        self._here: list[int] = []
        self._picks: dict[int, dict[str, np.ndarray]] = {}
        self._size: tuple[int, int] | None = None
        self.acquisition.begin_pass(indices)

    def begin_batch(self, indices: Tensor) -> None:
        """Take note of which images come."""
        self._here = indices.tolist()
        self.acquisition.begin_batch(indices)

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Pick regions of a batch; of each image return the best score, how many picks there are, and its size."""
        superpixels = None
        if self.task.region_kind == "superpixels":
            superpixels = self.task.superpixel_map(batch)
        here = self._here
        draws = [generator(self.seed, self.round, "regions", index) for index in here]
        regions = Regions(self._radius, superpixels, draws)
        maps = self.acquisition.region_scores(model, batch, regions)
        check_maps(f"{self.name_in_errors}.region_scores", maps, len(here))
        height, width = maps.shape[1:]
        self._size = (height, width) if self._size is None else self._size
        self.how_many.check_one_size(list({self._size, (height, width)}))
        maps = maps.detach().cpu()
        areas = [None] * len(here) if superpixels is None else list(superpixels.cpu())
        wanted = [self.how_many.of(height * width, self._area(height * width, area)) for area in areas]
        best = [self._pick(*of_image) for of_image in zip(here, maps, areas, wanted, strict=True)]
        found = [len(self._picks[index]["score"]) for index in here]
        if not self.how_many.per_image:
            self._leave_best(max(wanted))
        return {
            "score": torch.tensor(best, dtype=torch.float64),
            "found": torch.tensor(found),
            "wanted": torch.tensor(wanted),
            "height": torch.full((len(here),), height),
            "width": torch.full((len(here),), width),
        }

    @property
    def counts_pixels(self) -> bool:
        """Whether as many are picked as have so many pixels: a share of the pool, and regions are of many areas."""
        return self.task.region_kind == "superpixels" and not self.how_many.per_image and self.how_many.size < 1

    def _area(self, pixels: int, superpixels: Tensor | None) -> float:
        """Return how many pixels a region has, of superpixels on average; 1 where pixels are counted."""
        if superpixels is None:
            return float((2 * self._radius + 1) ** 2)
        return 1.0 if self.counts_pixels else pixels / max(len(superpixels[superpixels >= 0].unique()), 1)

    def _pick(self, index: int, scores: Tensor, superpixels: Tensor | None, wanted: int) -> float:
        """Pick regions of an image, and return the best score: NaN if a free one is not finite, 0 if none is free.

        One more than is wanted is picked, to know whether something is left after them.
        """
        asked = self.asked(index)
        if asked is not None and asked.shape != tuple(scores.shape):
            was, now = (" × ".join(map(str, shape)) for shape in (asked.shape, scores.shape))
            raise ValueError(
                f"Sample {index} was asked for in a map of {was} pixels and is scored in one of {now}: images must "
                "keep their size in a campaign that asks for regions."
            )
        blocked = torch.zeros(scores.shape, dtype=torch.bool)
        if asked is not None:
            blocked = torch.from_numpy(asked)
            blocked = blocked if superpixels is not None else blocked_centres(blocked, self._spacing)
        if bool((~torch.isfinite(scores) & ~blocked).any()):
            self._picks[index] = _no_picks()
            return math.nan
        count = min(wanted + 1, scores.numel())
        if superpixels is None:
            positions = free_squares(
                scores,
                count,
                radius=self._radius,
                spacing=self._spacing,
                blocked=blocked,
                variant=self.acquisition.region_variant,
            ).numpy()
            values = scores.flatten()[positions].numpy()
            sizes = square_sizes(positions, (scores.shape[0], scores.shape[1]), self._radius)
        else:
            positions = pick_superpixels(scores, superpixels, count, blocked=blocked).numpy()
            names, areas = np.unique(superpixels.numpy(), return_inverse=True)
            at, areas = np.searchsorted(names, positions), areas.reshape(-1)
            sizes = np.bincount(areas)[at]
            values = np.bincount(areas, weights=scores.flatten().double().numpy())[at] / sizes
        self._picks[index] = {"position": positions, "score": values.astype(np.float64), "pixels": sizes}
        return float(values[0]) if len(values) else 0.0

    def _leave_best(self, wanted: int) -> None:
        """Drop what is not among the best picks of this process that are enough, once there are twice as many."""
        picks = {name: np.concatenate([each[name] for each in self._picks.values()]) for name in ("score", "pixels")}
        if self.weights(picks["pixels"]).sum() <= 2 * wanted:
            return
        order = np.argsort(-picks["score"], kind="stable")
        enough = first_enough(self.weights(picks["pixels"][order]), wanted)
        least = picks["score"][order[enough - 1]]
        for index, mine in self._picks.items():
            stay = mine["score"] >= least  # of a greedy sequence the first ones
            self._picks[index] = {name: values[stay] for name, values in mine.items()}

    def weights(self, pixels: np.ndarray) -> np.ndarray:
        """Return what each pick counts, by how many pixels it has."""
        return pixels if self.counts_pixels else np.ones_like(pixels)

    def pixels_of(self, subject: Subject, index: int, positions: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Return which pixels of an image some picks are, booleans (H, W)."""
        if self.task.region_kind == "squares":
            return asked_pixels(torch.from_numpy(positions), shape, self._radius).numpy()
        areas = self.task.superpixel_map(subject.data.pool_set[index])
        areas = torch.from_numpy(np.asarray(areas).astype(np.int64)).reshape(shape)
        return asked_superpixels(torch.from_numpy(positions), areas).numpy()

    def picks(self) -> dict[str, Tensor]:
        """Return this process's picks, a row for each, best first in each image: ``index``, ``position`` and so on."""
        rows = [
            {"index": np.full(len(picks["score"]), index), **picks, "place": np.arange(len(picks["score"]))}
            for index, picks in self._picks.items()
        ]
        return {
            name: torch.from_numpy(np.concatenate([row[name] for row in rows] or [empty]))
            for name, empty in {"index": np.empty(0, dtype=np.int64), **_no_picks(), "place": _NONE}.items()
        }


_NONE = np.empty(0, dtype=np.int64)


def _no_picks() -> dict[str, np.ndarray]:
    return {"position": _NONE, "score": np.empty(0), "pixels": _NONE}


def first_enough(weights: np.ndarray, wanted: int) -> int:
    """Return how many of these, from the first on, weigh as much as is wanted; all where they do not.

    Example:
        >>> first_enough(np.array([4, 1, 3]), 5), first_enough(np.array([4, 1, 3]), 6)
        (2, 3)
    """
    return min(int(np.searchsorted(weights.cumsum(), wanted)) + 1, len(weights))


def square_sizes(positions: np.ndarray, shape: tuple[int, int], radius: int) -> np.ndarray:
    """Return how many pixels of an image there are in the squares around these places, (n,).

    Example:
        >>> square_sizes(np.array([0, 4]), (3, 3), 1)
        array([4, 9])
    """
    sizes = np.ones(len(positions), dtype=np.int64)
    for place, length in zip(np.divmod(positions, shape[1]), shape, strict=True):
        sizes *= np.minimum(place + radius, length - 1) - np.maximum(place - radius, 0) + 1
    return sizes


@dataclass(frozen=True)
class RegionPick:
    """Regions that were picked, image by image, the one with the best region first.

    Args:
        indices: Dataset indices.
        scores: Of the best region of each.
        regions: Which pixels of each, as a ledger keeps them.
        pixels: How many these are.
        sizes: Width and height of each image's map.
        last: The images of which nothing more is left to ask for.
        seconds: What it took to ``score`` and ``select``.
        all_scores: The best score of each candidate in their order, 0 where nothing is left to ask for; on the first
            rank, None on others.
    """

    indices: list[int]
    scores: list[float]
    regions: list[Blob]
    pixels: list[int]
    sizes: list[tuple[int, int]]
    last: list[int]
    seconds: Mapping[str, float]
    all_scores: Tensor | None = None


Payable = Callable[[Sequence[int], Sequence[int]], int]
"""Says how many regions, from the first on, can be paid, by their images' dataset indices and their pixels."""


def pick_regions(
    subject: Subject, ranks: Ranks, picker: RegionPicker, candidates: Candidates, payable: Payable
) -> RegionPick:
    """Score candidates and pick regions of them, where the acquisition has learnt what it needs.

    An image's picks are those of the plain greedy loop over its map. They are put together by their scores, equal ones
    in the order of the candidates: of the whole pool, these are the picks of the greedy loop over all maps.

    Args:
        subject: What is scored.
        ranks: Of the launch.
        picker: Has the acquisition.
        candidates: What to pick from.
        payable: Cuts off what the budget does not cover.

    Returns:
        The picks; the same on every rank.
    """
    start = time.perf_counter()
    with stage(f"scoring with {in_words(picker.acquisition)}"):
        rows = rows_of(subject, picker, candidates.indices, seed=candidates.scoring_seed)
    picks = gather_rows(picker.picks(), subject.trainer.strategy.root_device, keep=ranks.is_first)
    scored = time.perf_counter()

    def select() -> RegionPick:
        begin = time.perf_counter()
        place_of = {index: place for place, index in enumerate(rows["index"].tolist())}
        found = {name: values.numpy() for name, values in picks.items()}
        rank = np.array([place_of[index] for index in found["index"].tolist()], dtype=np.int64)
        best = _best(found, rank, picker, rows)
        best = best[: payable(found["index"][best].tolist(), found["pixels"][best].tolist())]
        of_image: dict[int, list[int]] = {}
        for row, index in zip(best.tolist(), found["index"][best].tolist(), strict=True):
            of_image.setdefault(index, []).append(row)
        shapes = {index: (int(rows["height"][at]), int(rows["width"][at])) for index, at in place_of.items()}
        return RegionPick(
            indices=list(of_image),
            scores=[float(found["score"][mine[0]]) for mine in of_image.values()],
            regions=[
                region_blob(picker.pixels_of(subject, index, found["position"][mine], shapes[index]))
                for index, mine in of_image.items()
            ],
            pixels=[int(found["pixels"][mine].sum()) for mine in of_image.values()],
            sizes=[(shapes[index][1], shapes[index][0]) for index in of_image],
            last=[i for i, mine in of_image.items() if len(mine) >= int(rows["found"][place_of[i]])],
            seconds={"score": scored - start, "select": time.perf_counter() - begin},
        )

    picked = ranks.first(select)
    return replace(picked, all_scores=rows["score"]) if ranks.is_first else picked


def _best(picks: dict[str, np.ndarray], rank: np.ndarray, picker: RegionPicker, rows: Rows) -> np.ndarray:
    """Return which rows of the picks are asked for, best first: of each image as many as are wanted, or of all.

    Args:
        picks: Of all processes; one that several made is there several times.
        rank: The place of each one's image among the candidates.
        picker: Knows how many are.
        rows: Of the candidates.
    """
    how_many, wanted = picker.how_many, rows["wanted"].numpy()
    sizes = torch.stack([rows["height"], rows["width"]], dim=1).unique(dim=0).tolist()
    if not how_many.per_image and len(sizes) > 1:
        how_many.check_one_size(sizes)
    _, once = np.unique(np.stack([rank, picks["place"]]), axis=1, return_index=True)
    if how_many.per_image:
        once = once[picks["place"][once] < wanted[rank[once]]]
    order = np.lexsort((picks["place"][once], rank[once], -picks["score"][once]))
    best: np.ndarray = once[order]
    if how_many.per_image:
        return best
    return best[: first_enough(picker.weights(picks["pixels"][best]), int(wanted.max(initial=0)))]
