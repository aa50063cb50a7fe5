"""Regions by their definitions: plain loops over single pixels, in float64."""

import math
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.helpers import reference


def window(i, j, shape, radius):
    """The pixels around one, as far as they are in the image."""
    height, width = shape
    return [
        (u, w)
        for u in range(max(i - radius, 0), min(i + radius, height - 1) + 1)
        for w in range(max(j - radius, 0), min(j + radius, width - 1) + 1)
    ]


def over_pixels(function, maps: Tensor) -> Tensor:
    """``function(map, i, j)`` of each pixel of each map, (B, H, W)."""
    b, h, w = maps.shape[0], maps.shape[-2], maps.shape[-1]
    values = [[[function(maps[n], i, j) for j in range(w)] for i in range(h)] for n in range(b)]
    return torch.tensor(values, dtype=torch.float64).reshape(b, h, w)


def shannon(labels) -> float:
    counts = Counter(labels)
    return -sum(n / len(labels) * math.log(n / len(labels)) for n in counts.values())


def window_mean(values: Tensor, radius: int) -> Tensor:
    def mean(image, i, j):
        inside = window(i, j, image.shape, radius)
        return math.fsum(float(image[at]) for at in inside) / len(inside)

    return over_pixels(mean, values)


def impurity(labels: Tensor, radius: int) -> Tensor:
    return over_pixels(
        lambda image, i, j: shannon([int(image[at]) for at in window(i, j, image.shape, radius)]), labels
    )


def of_superpixels(function, maps: Tensor, superpixels: Tensor) -> Tensor:
    """``function(values)`` of each superpixel, at its pixels."""
    return torch.stack(
        [
            over_pixels(lambda m, i, j, s=s: function(m[s == s[i, j]].tolist()), m[None])[0]
            for m, s in zip(maps, superpixels, strict=True)
        ]
    )


def mean(values) -> float:
    return math.fsum(values) / len(values)


def entropies(logits: Tensor) -> Tensor:
    def entropy(z, i, j):
        p = z[:, i, j].double().softmax(0).tolist()
        return -sum(v * math.log(v) for v in p if v > 0)

    return over_pixels(entropy, logits)


def ripu(logits: Tensor, radius: int, region_radius: int) -> Tensor:
    return impurity(logits.argmax(1), radius) * window_mean(entropies(logits), region_radius)


def greedy(scores: Tensor, count: int, reach: int, blocked: Tensor | None = None, by_column: bool = False):
    """Look for the highest free score again and again; ``by_column`` as the authors' code does."""
    height, width = scores.shape
    taken = [[bool(blocked is not None and blocked[i, j]) for j in range(width)] for i in range(height)]
    picks = []
    for _ in range(count):
        free = [(i, j) for i in range(height) for j in range(width) if not taken[i][j]]
        if not free:
            if not by_column:
                break
            i, j = 0, 0
        else:
            i, j = min(free, key=lambda at: (-float(scores[at]), *(at[::-1] if by_column else at)))
        picks.append(i * width + j)
        for u, w in window(i, j, scores.shape, reach):
            taken[u][w] = True
    return picks


def perturbed_pixels(
    model, inputs, rho=0.05, perturbation="sam", p=2.0, score="max", forward=None, target_fn=None, loss_fn=None
):
    """The losses of all pixels, one image after another: its mean's gradient, a step, and the forward pass again."""
    losses_of = loss_fn or (lambda z, y: F.cross_entropy(z, y, reduction="none"))
    maps = []
    for i in range(reference.size(inputs)):
        net, image = reference.evaluated(model), reference.take(inputs, slice(i, i + 1))
        z = reference.outputs(net, image, forward)
        y = target_fn(z) if target_fn else z.argmax(1)
        plain = losses_of(z, y)
        grads = reference.gradient(net, plain.mean())
        weights = reference.trainable(net)
        with torch.no_grad():
            for w, e in zip(weights, reference.epsilon(weights, grads, rho, perturbation, p), strict=True):
                w.add_(e)
            moved = losses_of(reference.outputs(net, image, forward), y)
        maps.append((moved - plain if score == "difference" else moved).detach())
    return torch.cat(maps)


class UNet(nn.Module):
    """A small one with two scales, whose images are halved and brought back."""

    def __init__(self, classes=3, channels=1, norm=False):
        super().__init__()
        self.first = nn.Conv2d(channels, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm else nn.GroupNorm(2, 4)
        self.down, self.up = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(10, 4, 3, padding=1)
        self.head = nn.Conv2d(4, classes, 1)

    def forward(self, x):
        fine = self.norm(self.first(x)).relu()
        coarse = self.down(F.max_pool2d(fine, 2)).relu()
        back = F.interpolate(coarse, fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.head(self.up(torch.cat([fine, back], 1)).tanh())
