"""What acquisitions that choose regions must pick: a plain loop over pixels gives the scores, another the picks.

To add a case, list it in ``REGION_REGISTRY`` with what a pixel's region scores, a function of a :class:`Street` and of
*every* option of the constructor by name; ``tests/acquisition/test_contract_of_regions.py`` does the rest.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al import SegmentationTask, acquisition
from lightning_al.distributed.randomness import generator
from tests.helpers import regions_reference as reference
from tests.helpers.regions import CLASSES, HEIGHT, IMAGES, VOID, WIDTH, Pixels, make_images

CANDIDATES = [8, 3, 5, 0, 9, 2, 6]
SEED, ROUND = 3, 1

AREAS = (torch.arange(HEIGHT * WIDTH) ** 1.2 / 30).long().view(HEIGHT, WIDTH) - 1
"""Superpixels of several sizes; the first pixels belong to none."""


def asked_before() -> Tensor:
    """What was asked for in earlier rounds, (N, H, W): squares and superpixels fit."""
    asked = torch.zeros(IMAGES, HEIGHT, WIDTH, dtype=torch.bool)
    asked[5] = AREAS == 3
    asked[2] = AREAS > 0
    return asked


@torch.no_grad()
def prepare(net: Pixels) -> Pixels:
    """Weights by which every class is predicted somewhere, and flags that scoring must neither change nor see."""
    draws = torch.Generator().manual_seed(5)
    for parameter in net.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=draws, dtype=torch.float64))
    net.train()
    net.net[1].eval()
    net.net[0].weight.grad = torch.ones_like(net.net[0].weight)
    return net


@dataclass
class Street:
    """What is looked at: a model, images, and the regions around each pixel."""

    radius: int
    areas: Tensor | None
    net: nn.Module = field(default_factory=lambda: prepare(Pixels()).eval())
    images: Tensor = field(default_factory=lambda: make_images()[0])

    @torch.no_grad()
    def logits(self) -> Tensor:
        return torch.cat([self.net(image[None]) for image in self.images])

    def mean(self, maps: Tensor) -> Tensor:
        if self.areas is None:
            return reference.window_mean(maps, self.radius)
        return reference.of_superpixels(reference.mean, maps, self.areas.expand(maps.shape))

    def impurity(self, radius: int | None) -> Tensor:
        labels = self.logits().argmax(1)
        if self.areas is None:
            return reference.impurity(labels, self.radius if radius is None else radius)
        return reference.of_superpixels(reference.shannon, labels, self.areas.expand(labels.shape))


def of_pixels(score: Callable[[Tensor], float], street: Street, selection: str) -> Tensor:
    return street.mean(reference.over_pixels(lambda z, i, j: score(z[:, i, j].softmax(0)), street.logits()))


def random(street: Street) -> Tensor:
    drawn = [
        torch.rand((HEIGHT, WIDTH), generator=generator(SEED, ROUND, "regions", n), dtype=torch.float64)
        for n in range(IMAGES)
    ]
    if street.areas is None:
        return torch.stack(drawn)
    numbers = street.areas - street.areas.min()  # one draw for each superpixel
    return torch.stack([each.flatten()[numbers] for each in drawn])


def ripu(street: Street, radius: int | None, variant: str) -> Tensor:
    return street.impurity(radius) * street.mean(reference.entropies(street.logits()))


def risaal(street: Street, radius: int | None, variant: str, **options: Any) -> Tensor:
    losses = reference.perturbed_pixels(street.net, street.images, **options)
    return street.impurity(radius) * (losses if street.areas is None else street.mean(losses))


SQUARES, PIXELS = ({"regions": 3}, 3), ({"regions": 1}, 4)
SQUARES_OF_POOL, SHARE = ({"regions": 3, "per_image": False}, 11), ({"regions": 5}, 0.3)
AREAS_OF_EACH, SHARE_OF_POOL = ({"superpixels": 2}, 2), ({"superpixels": 2, "per_image": False}, 0.1)

Asking = tuple[dict[str, Any], int | float]

_BASIC: list[tuple[dict[str, Any], Asking]] = [({}, SQUARES), ({}, PIXELS), ({}, SHARE_OF_POOL)]
_OF_RIPU: list[tuple[dict[str, Any], Asking]] = [
    ({}, SQUARES),
    ({}, SQUARES_OF_POOL),
    ({}, SHARE),
    ({}, AREAS_OF_EACH),
    ({}, SHARE_OF_POOL),
    ({"radius": 2}, PIXELS),
    ({"variant": "code"}, SQUARES),
]

REGION_REGISTRY: dict[str, tuple[Callable[..., Tensor], list[tuple[dict[str, Any], Asking]]]] = {
    "RIPU": (ripu, _OF_RIPU),
    "RISAAL": (
        risaal,
        [
            *_OF_RIPU,
            *(
                ({"rho": 0.9, **some}, SQUARES)
                for some in ({"perturbation": "asam"}, {"p": 3.0}, {"score": "difference"})
            ),
        ],
    ),
    "Entropy": (partial(of_pixels, lambda p: -float((p * p.log()).sum())), _BASIC),
    "LeastConfidence": (partial(of_pixels, lambda p: 1 - float(p.max())), _BASIC),
    "Margin": (partial(of_pixels, lambda p: float(p.sort().values[-2] - p.max())), _BASIC),
    "Random": (random, _BASIC),
}


@dataclass(frozen=True)
class RegionCase:
    """One acquisition with some options, the others at their defaults, and what it is asked for."""

    name: str
    oracle: Callable[..., Tensor]
    options: dict[str, Any]
    asking: Asking

    @property
    def id(self) -> str:
        said = {**self.options, **self.asking[0], "size": self.asking[1]}
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in said.items())})"

    @property
    def defaults(self) -> dict[str, Any]:
        return {name: p.default for name, p in inspect.signature(getattr(acquisition, self.name)).parameters.items()}

    @property
    def task(self) -> SegmentationTask:
        return SegmentationTask(CLASSES, ignore_index=VOID, **self.asking[0])

    def make(self) -> acquisition.Acquisition:
        return getattr(acquisition, self.name)(**self.options)

    def picks(self) -> dict[int, Tensor]:
        """Which pixels of which image are asked for."""
        options, task, size = {**self.defaults, **self.options}, self.task, self.asking[1]
        radius = ((task.regions or 1) - 1) // 2
        maps = self.oracle(Street(radius, None if task.superpixels is None else AREAS), **options)
        found = [
            (-score, place, n, pixels)
            for place, n in enumerate(CANDIDATES)
            for score, pixels in (
                _areas(maps[n], asked_before()[n])
                if task.superpixels is not None
                else _squares(maps[n], asked_before()[n], radius, options)
            )
        ]
        found.sort(key=lambda each: each[:2])
        area = AREAS.numel() if task.superpixels is not None else task.regions**2
        left = {n: size if size >= 1 else -int(-HEIGHT * WIDTH * size // area) for n in CANDIDATES}
        whole = size if size >= 1 else size * IMAGES * HEIGHT * WIDTH
        asked: dict[int, Tensor] = {}
        for _, _, n, pixels in found:
            if (task.per_image and left[n] == 0) or (not task.per_image and whole <= 0):
                continue
            left[n] -= 1
            whole -= 1 if size >= 1 else int(pixels.sum())
            asked[n] = asked.get(n, torch.zeros_like(pixels)) | pixels
        return asked


def _squares(scores: Tensor, asked: Tensor, radius: int, options: dict[str, Any]) -> list[tuple[float, Tensor]]:
    """The squares of an image in the order of the greedy loop, with their scores."""
    spacing = max(radius, options.get("radius") or 0)

    def around(i: int, j: int, reach: int) -> Tensor:
        square = torch.zeros_like(asked)
        for at in reference.window(i, j, asked.shape, reach):
            square[at] = True
        return square

    blocked = torch.zeros_like(asked)
    for i, j in asked.nonzero().tolist():
        blocked |= around(i, j, spacing)
    found = []
    while not blocked.all():
        by_column = options.get("variant") == "code"
        i, j = divmod(reference.greedy(scores, 1, 0, blocked, by_column=by_column)[0], WIDTH)
        found.append((float(scores[i, j]), around(i, j, radius)))
        blocked |= around(i, j, radius + spacing)
    return found


def _areas(scores: Tensor, asked: Tensor) -> list[tuple[float, Tensor]]:
    """The superpixels of which nothing was asked for."""
    areas = [number == AREAS for number in range(int(AREAS.max()) + 1)]
    return [(float(scores[area].mean()), area) for area in areas if not (area & asked).any()]


REGION_CASES = [
    RegionCase(name, oracle, options, asking)
    for name, (oracle, some) in REGION_REGISTRY.items()
    for options, asking in some
]
