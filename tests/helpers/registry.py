"""Every acquisition, with what it must pick by its definition: a plain loop over single samples, in float64.

To add one: write its oracle, a function of a :class:`Scene` and of *every* option of the constructor by name, which
returns the dataset indices to pick, in order; and list it in ``REGISTRY`` with options such that each is set to
something else than its default at least once. ``test_contract.py`` does the rest.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_al import acquisition
from tests.helpers import reference
from tests.helpers.by_features import badge, core_gcn, core_set, prob_cover, typiclust, uncertain_gcn
from tests.helpers.by_scores import (
    bald,
    batch_bald,
    committee,
    entropy_norm,
    expected_norm,
    mc_dropout,
    predicted_loss,
    random,
    saal,
    scored,
    sraal,
    vaal,
)
from tests.helpers.projects import Net
from tests.helpers.scene import Learner, Scene, Table, encoder


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


OF_REGIONS = ("RIPU", "RISAAL")
"""Acquisitions that choose parts of images alone: their cases are in ``by_regions.py``, as those of regions that others
choose are."""

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
        [
            *({**some, "reduction": "code"} if "reduction" in some else some for some in ADVERSARIAL),
            {"steps": 9, "width": 4, "lr": 0.01, "lr_decay": 0.3, "lr_decays": 3},
            {"steps": 12, "width": 4, "lr": 0.01, "reconstruction": 0.2, "supervision": 30.0},
        ],
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


ONE_OF_EACH = tuple(next(case for case in CASES if case.name == name) for name in REGISTRY)
"""With its defaults, or nearly."""
