"""Every acquisition, with what it must pick by its definition: a plain loop over single samples, in float64.

To add one: write its oracle, a function of a :class:`Scene` and of *every* option of the constructor by name, which
returns the dataset indices to pick, in order; and list it in ``REGISTRY`` with options such that each is set to
something else than its default at least once. ``test_contract.py`` does the rest.
"""

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from lightning_al import acquisition
from lightning_al.distributed.randomness import Race, derive_seed, generator
from lightning_al.training import LossPredictionMixin
from tests.helpers import adversarial_reference, gcn_reference, reference
from tests.helpers.greedy import brute_force
from tests.helpers.projects import Net, make_data

SIZE = 36
LABELLED = [4, 33, 17, 8, 25, 12, 1, 30, 21]
POOL = [i for i in torch.randperm(SIZE, generator=torch.Generator().manual_seed(1)).tolist() if i not in LABELLED]


def weights(seed: int, net: Net | None = None) -> dict[str, Tensor]:
    """Of a ``Net`` with BatchNorm, its buffers too."""
    g = torch.Generator().manual_seed(seed)
    net = Net(batch_norm=True) if net is None else net
    state = {name: torch.randn(t.shape, generator=g, dtype=torch.float64) for name, t in net.state_dict().items()}
    state["net.1.running_var"] = state["net.1.running_var"].square() + 0.1
    state["net.1.num_batches_tracked"] = torch.tensor(3)
    return state


def prepare(net: Net) -> Net:
    """Weights, buffers and all else that scoring must neither change nor be misled by, the same everywhere."""
    net.load_state_dict(weights(5, net))
    net.train()
    net.net[2].eval()  # a flag of the user's own
    net.net[0].weight.grad = torch.ones_like(net.net[0].weight)
    net.net[1].bias.requires_grad_(False)
    return net


class Learner(LossPredictionMixin, Net):
    """Learns to predict its loss, from what its last linear layer gets."""

    loss_width = 6


def learner() -> Learner:
    made = Learner(batch_norm=True, dropout=0.3)
    made.predict_losses(make_data(2)[0])
    return prepare(made).eval()


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


MEMBERS = {True: "member_{}", False: "member_{}_not_redrawn"}
SNAPSHOT = "snapshot_{}_of_5"
KEPT = {
    name.format(i): weights(100 * seed + i)
    for seed, name in enumerate((*MEMBERS.values(), SNAPSHOT), start=1)
    for i in range(5)
}
"""What acquisitions find in the campaign's folder, as if it had been killed after they learnt it."""


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


# ------------------------------------------------------------------------------------------------------- from dropout


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


# ------------------------------------------------------------------------------------------- from networks of their own


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

    @property
    def model(self) -> type[Net]:
        """What scores: :class:`Learner` where the acquisition needs one. The scene's net has the same weights."""
        return Learner if self.name in ("LearningLoss", "LPLGrad") else Net

    def without(self, option: str) -> "Case":
        return replace(self, options={**self.options, option: self.defaults[option]})


SPREAD = [{"selection": "kmeans++"}, {"selection": "badge"}]
FEATURES = [{"features": "net.0"}, {"encoder": encoder}, {"encoder": Table(".npy")}, {"encoder": Table(".pt")}]

BRIEFLY = {"steps": 4, "width": 4}  # their defaults are of other sizes
OTHERWISE = {"batch_size": 4, "latent": 6, "beta": 5.0, "adversarial": 9.0, "vae_steps": 1, "lr": 0.01}
ADVERSARIAL = [
    BRIEFLY,
    *[{**BRIEFLY, **option} for option in SPREAD],
    {**BRIEFLY, **OTHERWISE, "reduction": "batch"},
    {**BRIEFLY, "seconds": 1e-9},
]

SHORT = {"steps": 20}
GCN = [
    {},
    *({**SHORT, **some} for some in FEATURES),
    *({**SHORT, **some} for some in ({"hidden": 4}, {"dropout": 0.9}, {"lr": 0.1}, {"weight_decay": 3.0})),
    {"lr": 0.1, "unlabelled_weight": 20.0, **SHORT},
]

REGISTRY: dict[str, tuple[Callable[..., list[int]], list[dict[str, Any]]]] = {
    "Random": (random, [{}]),
    "Entropy": (scored(lambda scene: reference.entropy(scene.logits())), [{}, *SPREAD]),
    "LeastConfidence": (scored(lambda scene: reference.least_confidence(scene.logits())), [{}, *SPREAD]),
    "Margin": (scored(lambda scene: reference.margin(scene.logits())), [{}, SPREAD[0]]),
    "MCDropout": (
        scored(mc_dropout),
        [{}, {"passes": 7}, {"score": "variation_ratio"}, {"add_dropout": 0.5}, *SPREAD],
    ),
    "BALD": (scored(bald), [{}, {"passes": 7}, {"add_dropout": 0.5}, *SPREAD]),
    "BatchBALD": (batch_bald, [{}, {"passes": 7}, {"configurations": 30}, {"add_dropout": 0.5}]),
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
    "VAAL": (scored(vaal), ADVERSARIAL),
    "SRAAL": (
        scored(sraal),
        [*ADVERSARIAL, {"steps": 12, "width": 4, "lr": 0.01, "reconstruction": 0.2, "supervision": 30.0}],
    ),
    "QueryByCommittee": (
        scored(committee),
        [
            {},
            {"members": 3},
            {"source": "snapshots"},
            {"score": "kl"},
            {"redraw": False},
            {"score": "kl", "redraw": False, "selection": "kmeans++"},
            {"score": "kl", "source": "snapshots", "selection": "badge"},
        ],
    ),
    "LearningLoss": (scored(predicted_loss), [{}, SPREAD[0]]),
    # Of the main model's parameters only: those of the scene's net, which is no learner.
    "LPLGrad": (scored(entropy_norm), [{}, {"norm": "global"}, *SPREAD]),
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
    "CoreGCN": (core_gcn, GCN),
    "UncertainGCN": (uncertain_gcn, [*GCN, {"margin": 0.7, **SHORT}]),
}

CASES = [Case(name, oracle, options) for name, (oracle, some) in REGISTRY.items() for options in some]
