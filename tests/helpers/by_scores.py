"""Picks by scores, from their definitions: a plain loop over single samples, in float64."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.distributed.randomness import Race, derive_seed, generator
from tests.helpers import adversarial_reference, reference
from tests.helpers.greedy import brute_force
from tests.helpers.projects import Net, make_data
from tests.helpers.scene import KEPT, LABELLED, MEMBERS, SIZE, SNAPSHOT, Scene, features_of, learner, model_features


def passes_of(scene: Scene, passes: int, add_dropout: float | None) -> list[list[list[float]]]:
    """Probabilities of each sample in each pass: one sample at a time, masks put on by hand."""
    seed = derive_seed(0, "contract", scene.seed, "learn")
    *first, _, last = scene.net.net
    found = []
    for i in scene.candidates:
        with torch.no_grad():
            h = nn.Sequential(*first)(scene.x([i]))[0]
        found.append([])
        for t in range(passes):
            kept = h * (torch.rand(8, generator=generator(seed, "net.3", 0, t)) >= 0.3) / 0.7
            if add_dropout is not None:
                drawn = torch.rand(8, generator=generator(seed, "net.4 (input)", 0, t))
                kept = kept * (drawn >= add_dropout) / (1 - add_dropout)
            found[-1].append(last(kept).softmax(0).tolist())
    return found


def entropy_of(p: Iterable[float]) -> float:
    return -sum(q * math.log(q) for q in p if q > 0)


def mean_of(rows: list[list[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def mc_dropout(scene: Scene, *, passes: int, score: str, add_dropout: float | None) -> Tensor:
    scores = []
    for rows in passes_of(scene, passes, add_dropout):
        votes = [row.index(max(row)) for row in rows]
        most = max(votes.count(c) for c in votes)
        scores.append(entropy_of(mean_of(rows)) if score == "entropy" else 1 - most / passes)
    return torch.tensor(scores, dtype=torch.float64)


def bald(scene: Scene, *, passes: int, add_dropout: float | None) -> Tensor:
    found = passes_of(scene, passes, add_dropout)
    scores = [entropy_of(mean_of(rows)) - sum(map(entropy_of, rows)) / passes for rows in found]
    return torch.tensor(scores, dtype=torch.float64)


def batch_bald(scene: Scene, *, passes: int, configurations: int, add_dropout: float | None) -> list[int]:
    p = torch.tensor(passes_of(scene, passes, add_dropout), dtype=torch.float64)
    seed = int(torch.randint(-(2**63), 2**63 - 1, (), generator=scene.generator()))
    expected = [sum(map(entropy_of, rows.tolist())) / passes for rows in p]
    picks: list[int] = []
    while len(picks) < scene.k:
        labels = list(itertools.product(range(3), repeat=len(picks))) if 3 ** len(picks) <= configurations else None
        drawn = drawn_labels(p[picks], configurations, seed) if labels is None else labels
        joint = torch.ones(len(drawn), passes, dtype=torch.float64)
        for pick, column in zip(picks, zip(*drawn, strict=True), strict=True):
            joint *= p[pick][:, list(column)].T

        def gain(i: int, joint: Tensor = joint, exact: bool = labels is not None) -> float:
            if exact:
                return entropy_of((joint @ p[i] / passes).flatten().tolist()) - expected[i]
            told = joint / joint.sum(1, keepdim=True)
            each = -torch.special.xlogy(told @ p[i], told @ p[i]).sum(1)
            return float((each - told @ -torch.special.xlogy(p[i], p[i]).sum(1)).mean())

        free = [i for i in range(len(p)) if i not in picks]
        picks.append(max(free, key=lambda i: (round(gain(i), 11), -i)))
    return scene.named(picks)


def drawn_labels(p: Tensor, count: int, seed: int) -> list[list[int]]:
    """A label of each of some samples, (n, T, C), drawn from pass 0, 1, ..., T - 1, 0, ..."""
    passes = p.shape[1]
    count = math.ceil(count / passes) * passes
    columns = []
    for number, rows in enumerate(p.tolist()):
        draws = torch.rand(count, generator=generator(seed, "label", number), dtype=torch.float64).tolist()
        upto = [list(itertools.accumulate(row)) for row in rows]
        columns.append([next(c for c, v in enumerate(upto[m % passes]) if v > u) for m, u in enumerate(draws)])
    return [list(row) for row in zip(*columns, strict=True)]


def top(scores: list[float], scene: Scene) -> list[int]:
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))[: scene.k]


def kmeans_plusplus(scores: list[float], scene: Scene) -> list[int]:
    first = scores.index(max(scores))
    return brute_force(scores, scene.k, scene.generator(), first=first, ids=scene.candidates)


def drawn(points: list[list[float]], scene: Scene) -> list[int]:
    """k-means++ from the longest."""
    race = Race(scene.generator(), torch.tensor(scene.candidates))
    picks = [max(range(len(points)), key=lambda i: math.hypot(*points[i]))]
    while len(picks) < scene.k:
        times = race.exponentials(len(picks)).tolist()
        nearest = [min(math.dist(p, points[c]) for c in picks) for p in points]
        picks.append(max(range(len(points)), key=lambda i: nearest[i] ** 2 / times[i]))
    return picks


def gradients(scene: Scene, layer: str | None = None) -> list[list[float]]:
    """Of the cross-entropy under the model's own label, towards the last layer's weights, by definition."""
    made = []
    for z, h in zip(scene.logits(), model_features(scene, scene.candidates, layer), strict=True):
        p = z.softmax(0).tolist()
        residual = [q - (c == p.index(max(p))) for c, q in enumerate(p)]
        made.append([r * v for r in residual for v in h])
    return made


def weighted(scores: list[float], scene: Scene) -> list[int]:
    return drawn([[s * v for v in g] for s, g in zip(scores, gradients(scene), strict=True)], scene)


SELECTIONS = {"top": top, "kmeans++": kmeans_plusplus, "badge": weighted}


def scored(score: Callable[..., Tensor]) -> Callable[..., list[int]]:
    """The oracle of an acquisition that is a score and a selection."""

    def picks(scene: Scene, *, selection: str, **options: Any) -> list[int]:
        return scene.named(SELECTIONS[selection](score(scene, **options).tolist(), scene))

    return picks


def saal(scene: Scene, *, lowest: bool, labels: str, **options: Any) -> Tensor:
    targets = scene.y(scene.candidates) if labels == "true" else None
    scores = reference.saal(scene.net, scene.x(scene.candidates), targets=targets, **options)
    return -scores if lowest else scores


def entropy_norm(scene: Scene, *, norm: str) -> Tensor:
    return reference.gradient_norm(scene.net, scene.x(scene.candidates), "entropy", norm)


def predicted_loss(scene: Scene) -> Tensor:
    """The module's two layers by their weights, on what the last linear layer gets."""
    weights = {name.replace("maps./net/3", "first"): w.tolist() for name, w in learner().state_dict().items()}

    def predict(h: list[float]) -> float:
        rows = zip(weights["loss_prediction.first.weight"], weights["loss_prediction.first.bias"], strict=True)
        hidden = [max(0.0, sum(w * v for w, v in zip(row, h, strict=True)) + b) for row, b in rows]
        [out], [b] = weights["loss_prediction.head.weight"], weights["loss_prediction.head.bias"]
        return sum(w * v for w, v in zip(out, hidden, strict=True)) + b

    return torch.tensor([predict(h) for h in model_features(scene, scene.candidates)], dtype=torch.float64)


def expected_norm(scene: Scene, *, loss: str, norm: str) -> Tensor:
    return reference.gradient_norm(scene.net, scene.x(scene.candidates), loss, norm)


def vaal(scene: Scene, **options: Any) -> Tensor:
    return adversarial_scores(scene, None, **options)


def sraal(scene: Scene, **options: Any) -> Tensor:
    return adversarial_scores(scene, features_of(scene.net, make_data(SIZE)[0]).softmax(1), **options)


def adversarial_scores(scene: Scene, probabilities: Tensor | None, **options: Any) -> Tensor:
    seed = derive_seed(0, "contract", scene.seed, "learn")
    x, y = make_data(SIZE)
    return adversarial_reference.scores(seed, x, y, LABELLED, list(scene.candidates), probabilities, **options)


def committee(scene: Scene, *, members: int, source: str, score: str, redraw: bool) -> Tensor:
    nets = [scene.net] if source == "fits" else []
    for i in range(len(nets), members):
        nets.append(Net(batch_norm=True, dropout=0.3).eval())
        nets[-1].load_state_dict(KEPT[(MEMBERS[redraw] if source == "fits" else SNAPSHOT).format(i)])
    logits = [features_of(net, scene.x(scene.candidates)).tolist() for net in nets]
    scores = [reference.committee(score, list(own)) for own in zip(*logits, strict=True)]
    return torch.tensor(scores, dtype=torch.float64)


def random(scene: Scene) -> list[int]:
    draws = torch.rand(len(scene.candidates), generator=scene.generator(), dtype=torch.float64).tolist()
    return scene.named(top(draws, scene))
