"""Picks by features, from their definitions: a plain loop over single samples, in float64."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from sklearn.cluster import KMeans

from tests.helpers import gcn_reference
from tests.helpers.by_scores import drawn, gradients, top
from tests.helpers.scene import LABELLED, SIZE, Scene, encoder, features_of, model_features


def feature_rows(scene: Scene, indices: Sequence[int], layer: str | None, given: Any) -> list[list[float]]:
    if given is None:
        return model_features(scene, indices, layer)
    return features_of(encoder().eval(), scene.x(indices)).tolist()


def units(rows: list[list[float]]) -> list[list[float]]:
    return [[v / math.hypot(*row) for v in row] for row in rows]


def badge(scene: Scene, *, features: str | None, encoder: Any) -> list[int]:
    if encoder is not None:
        return scene.named(drawn(feature_rows(scene, scene.candidates, None, encoder), scene))
    return scene.named(drawn(gradients(scene, features), scene))


def core_set(scene: Scene, *, features: str | None, encoder: Any) -> list[int]:
    rows, centres = both(scene, features, encoder)
    return scene.named(farthest(rows, centres, [], scene.k))


def both(scene: Scene, layer: str | None, given: Any) -> tuple[list[list[float]], list[list[float]]]:
    return feature_rows(scene, scene.candidates, layer, given), feature_rows(scene, LABELLED, layer, given)


def farthest(rows: list[list[float]], centres: list[list[float]], picks: list[int], k: int) -> list[int]:
    picks = list(picks)
    while len(picks) < k:
        taken = centres + [rows[p] for p in picks]
        free = [i for i in range(len(rows)) if i not in picks]
        picks.append(max(free, key=lambda i: min(math.dist(rows[i], c) for c in taken)))
    return picks


def clusters_of(rows: list[list[float]], count: int, generator: torch.Generator) -> list[int]:
    seed = int(torch.randint(2**31, (), generator=generator))
    count = min(count, len(rows))
    return KMeans(count, n_init=10, random_state=seed).fit_predict(rows).tolist() if count > 1 else [0] * len(rows)


def prob_cover(
    scene: Scene, *, delta: float | str, purity: float, clusters: int | None, features: str | None, encoder: Any
) -> list[int]:
    rows, centres = map(units, both(scene, features, encoder))
    if isinstance(delta, str):
        rest = units(feature_rows(scene, range(SIZE), features, encoder))  # of the whole dataset
        labels = KMeans(3 if clusters is None else clusters, n_init=10, random_state=0).fit_predict(rest).tolist()
        rooms = [
            min((math.dist(a, b) for b, other in zip(rest, labels, strict=True) if other != own), default=3.0)
            for a, own in zip(rest, labels, strict=True)
        ]
        delta = sorted(rooms, reverse=True)[math.ceil(purity * len(rest) - 1e-9) - 1]
    everyone = range(len(rows))
    covered = {j for j in everyone if any(math.dist(rows[j], c) < delta for c in centres)}
    picks: list[int] = []
    while len(picks) < scene.k:
        balls = [{j for j in everyone if math.dist(rows[i], rows[j]) < delta} - covered for i in everyone]
        best = max(everyone, key=lambda i: (len(balls[i]), -i))
        if not balls[best]:
            break
        picks.append(best)
        covered |= balls[best]
    return scene.named(farthest(rows, centres, picks, scene.k))


def typiclust(
    scene: Scene, *, max_clusters: int, neighbours: int, variant: str, features: str | None, encoder: Any
) -> list[int]:
    rows, centres = map(units, both(scene, features, encoder))
    everyone = rows + centres
    labels = clusters_of(everyone, min(len(centres) + scene.k, max_clusters), scene.generator())
    members = {c: [i for i, label in enumerate(labels) if label == c] for c in set(labels)}

    def spread(i: int) -> float:
        others = [math.dist(everyone[i], everyone[j]) for j in members[labels[i]] if j != i]
        nearest = sorted(others)[:neighbours]
        return sum(nearest) / len(nearest) if nearest else 0.0

    done = set(range(len(rows), len(everyone)))
    if variant == "code":
        return scene.named(typiclust_code(everyone, members, done, scene.k, neighbours))
    picks: list[int] = []
    while len(picks) < scene.k:
        left = [c for c, who in members.items() if set(who) - done]
        cluster = min(left, key=lambda c: (len(members[c]) < 5, len(done & set(members[c])), -len(members[c]), c))
        picks.append(min((i for i in members[cluster] if i not in done), key=lambda i: (spread(i), i)))
        done.add(picks[-1])
    return scene.named(picks)


def gcn_nodes(scene: Scene, features: str | None, encoder: Any, training: Any) -> tuple[list[list[float]], list[float]]:
    """What a graph network makes of candidates and labelled samples: hidden layer and logit, and the probability."""
    rows, centres = both(scene, features, encoder)
    hidden, logits = gcn_reference.train(rows, centres, generator=scene.generator(), **training)
    return [[*h, z] for h, z in zip(hidden.tolist(), logits.tolist(), strict=True)], logits.sigmoid().tolist()


def uncertain_gcn(scene: Scene, *, margin: float, features: str | None, encoder: Any, **training: Any) -> list[int]:
    _, s = gcn_nodes(scene, features, encoder, training)
    return scene.named(top([-abs(v - margin) for v in s[: len(scene.candidates)]], scene))


def core_gcn(scene: Scene, *, features: str | None, encoder: Any, **training: Any) -> list[int]:
    nodes, _ = gcn_nodes(scene, features, encoder, training)
    n = len(scene.candidates)
    return scene.named(farthest(nodes[:n], nodes[n:], [], scene.k))


def typiclust_code(
    rows: list[list[float]], members: dict[int, list[int]], done: set[int], k: int, neighbours: int
) -> list[int]:
    """As the authors wrote it, passing by clusters that ran dry, with the small ones at the end."""
    order = sorted(members, key=lambda c: (len(done & set(members[c])), -len(members[c]), c))
    done, picks = set(done), []
    for some in ([c for c in order if len(members[c]) > 5], [c for c in order if len(members[c]) <= 5]):
        turn = 0
        while len(picks) < k and any(set(members[c]) - done for c in some):
            left = [i for i in members[some[turn % len(some)]] if i not in done]
            turn += 1
            if left:
                count = min(neighbours, len(left) // 2)
                spread = {
                    i: sum(sorted(math.dist(rows[i], rows[j]) ** 2 for j in left if j != i)[:count]) for i in left
                }
                picks.append(min(left, key=lambda i: (spread[i], i)))
                done.add(picks[-1])
    return picks
