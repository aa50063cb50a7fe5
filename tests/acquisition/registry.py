"""Every acquisition, with what it must pick by its definition: a plain loop over single samples, in float64.

To add one: write its oracle, a function of a :class:`Scene` and of *every* option of the constructor by name, which
returns the dataset indices to pick, in order; and list it in ``REGISTRY`` with options such that each is set to
something else than its default at least once. ``test_contract.py`` does the rest.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from functional import reference
from functional.test_selection import brute_force
from sklearn.cluster import KMeans
from torch import Tensor, nn

from lightning_al import acquisition
from lightning_al.randomness import Race, generator
from tests.projects import Net, make_data

SIZE = 36
LABELLED = [4, 33, 17, 8, 25, 12, 1, 30, 21]
POOL = [i for i in torch.randperm(SIZE, generator=torch.Generator().manual_seed(1)).tolist() if i not in LABELLED]


def prepare(net: Net) -> Net:
    """Weights, buffers and all else that scoring must neither change nor be misled by, the same everywhere."""
    g = torch.Generator().manual_seed(5)
    state = {name: torch.randn(t.shape, generator=g, dtype=torch.float64) for name, t in net.state_dict().items()}
    state["net.1.running_var"] = state["net.1.running_var"].square() + 0.1
    state["net.1.num_batches_tracked"] = torch.tensor(3)
    net.load_state_dict(state)
    net.train()
    net.net[2].eval()  # a flag of the user's own
    net.net[0].weight.grad = torch.ones_like(net.net[0].weight)
    net.net[1].bias.requires_grad_(False)
    return net


def encoder() -> nn.Module:
    """Trained elsewhere; would draw random numbers if it were not put in ``eval()``."""
    layers = [nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.5)]
    made = nn.Sequential(*layers).double()
    g = torch.Generator().manual_seed(6)
    for p in made.parameters():
        nn.init.normal_(p, generator=g)
    return made


@dataclass(frozen=True)
class Table:
    """The encoder's features, in the file of this kind that :func:`write_tables` writes."""

    suffix: str


def write_tables(folder: Path) -> None:
    """Before there are several processes, which map these files into memory."""
    table = features_of(encoder().eval(), make_data(SIZE)[0])
    np.save(folder / "features.npy", table.numpy())
    torch.save(table, folder / "features.pt")


@dataclass(frozen=True)
class Scene:
    """What is to be picked from, and how many."""

    candidates: Sequence[int]
    k: int
    seed: int = 0
    net: Net = field(default_factory=lambda: prepare(Net(batch_norm=True, dropout=0.3)).eval())

    def x(self, indices: Sequence[int]) -> Tensor:
        return make_data(SIZE)[0][list(indices)]

    def y(self, indices: Sequence[int]) -> Tensor:
        return make_data(SIZE)[1][list(indices)]

    def generator(self) -> torch.Generator:
        return generator(0, "contract", self.seed)

    def logits(self) -> Tensor:
        return features_of(self.net, self.x(self.candidates))

    def named(self, positions: Sequence[int]) -> list[int]:
        return [self.candidates[p] for p in positions]


def features_of(module: nn.Module, x: Tensor) -> Tensor:
    """One sample at a time."""
    with torch.no_grad():
        return torch.cat([module(x[i : i + 1]) for i in range(len(x))]) if len(x) else torch.zeros(0, 1)


# ------------------------------------------------------------------------------------------------------- from scores


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


def expected_norm(scene: Scene, *, loss: str, norm: str) -> Tensor:
    return reference.gradient_norm(scene.net, scene.x(scene.candidates), loss, norm)


# ----------------------------------------------------------------------------------------------------- from features


def model_features(scene: Scene, indices: Sequence[int], layer: str | None = None) -> list[list[float]]:
    depth = 4 if layer is None else int(layer.removeprefix("net.")) + 1  # what the last linear layer gets
    return features_of(scene.net.net[:depth], scene.x(indices)).tolist()


def feature_rows(scene: Scene, indices: Sequence[int], layer: str | None, given: Any) -> list[list[float]]:
    if given is None:
        return model_features(scene, indices, layer)
    return features_of(encoder().eval(), scene.x(indices)).tolist()


def units(rows: list[list[float]]) -> list[list[float]]:
    return [[v / math.hypot(*row) for v in row] for row in rows]


def random(scene: Scene) -> list[int]:
    draws = torch.rand(len(scene.candidates), generator=scene.generator(), dtype=torch.float64).tolist()
    return scene.named(top(draws, scene))


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
        rest = rows + centres
        labels = clusters_of(rest, 3 if clusters is None else clusters, scene.generator())
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


# --------------------------------------------------------------------------------------------------------- the registry


@dataclass(frozen=True)
class Case:
    """One acquisition with some options, the others at their defaults."""

    name: str
    oracle: Callable[..., list[int]]
    options: dict[str, Any]

    @property
    def id(self) -> str:
        said = {k: v.suffix if isinstance(v, Table) else getattr(v, "__name__", v) for k, v in self.options.items()}
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in said.items())})"

    @property
    def defaults(self) -> dict[str, Any]:
        return {name: p.default for name, p in inspect.signature(getattr(acquisition, self.name)).parameters.items()}

    def make(self, folder: Path) -> acquisition.Acquisition:
        made = dict(self.options)
        if isinstance(made.get("encoder"), Table):
            made["encoder"] = folder / f"features{made['encoder'].suffix}"
        elif "encoder" in made:
            made["encoder"] = made["encoder"]()
        return getattr(acquisition, self.name)(**made)

    def picks(self, scene: Scene) -> list[int]:
        return self.oracle(scene, **{**self.defaults, **self.options})

    def without(self, option: str) -> "Case":
        return replace(self, options={**self.options, option: self.defaults[option]})


SPREAD = [{"selection": "kmeans++"}, {"selection": "badge"}]
FEATURES = [{"features": "net.0"}, {"encoder": encoder}, {"encoder": Table(".npy")}, {"encoder": Table(".pt")}]

REGISTRY: dict[str, tuple[Callable[..., list[int]], list[dict[str, Any]]]] = {
    "Random": (random, [{}]),
    "Entropy": (scored(lambda scene: reference.entropy(scene.logits())), [{}, *SPREAD]),
    "LeastConfidence": (scored(lambda scene: reference.least_confidence(scene.logits())), [{}, *SPREAD]),
    "Margin": (scored(lambda scene: reference.margin(scene.logits())), [{}, SPREAD[0]]),
    "EntropyGradNorm": (scored(entropy_norm), [{}, {"norm": "tensor_sum"}, *SPREAD]),
    "ExpectedGradNorm": (
        scored(expected_norm),
        [{}, {"loss": "expected_loss"}, {"norm": "tensor_sum"}, *SPREAD],
    ),
    "SAAL": (
        scored(saal),
        [
            {},
            {"selection": "badge"},
            {"rho": 0.7, "selection": "top"},
            {"rho": 0.7, "perturbation": "asam", "selection": "top"},
            {"rho": 0.7, "p": math.inf, "selection": "top"},
            {"rho": 0.7, "group_size": 4, "selection": "top"},
            {"rho": 0.7, "group_size": 4},
            {"rho": 0.7, "score": "difference", "selection": "top"},
            {"lowest": True, "selection": "top"},
            {"labels": "true", "selection": "top"},
        ],
    ),
    "BADGE": (badge, [{}, *FEATURES]),
    "CoreSet": (core_set, [{}, *FEATURES]),
    "ProbCover": (
        prob_cover,
        [{}, {"delta": 0.4}, {"purity": 0.6}, {"clusters": 9}, *[{"delta": 0.5, **some} for some in FEATURES]],
    ),
    "TypiClust": (
        typiclust,
        [
            {},
            {"max_clusters": 4},
            {"max_clusters": 4, "neighbours": 2},
            {"max_clusters": 4, "variant": "code"},
            *FEATURES,
        ],
    ),
}

CASES = [Case(name, oracle, options) for name, (oracle, some) in REGISTRY.items() for options in some]
