"""Wrong options: of the loop, of every acquisition, of functions on tensors, of training with SAM or predicted "
"losses."""

import inspect
import math
import re
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_al import AwaitTell, ClassificationTask, DatasetOracle, acquisition
from lightning_al import functional as F_al
from lightning_al.acquisition import SAAL, Entropy, ProbCover, Random, TypiClust
from lightning_al.checks import kind_of
from lightning_al.training import AutoSAMMixin, LossPredictionMixin, SAMMixin, sam_step
from tests.helpers.projects import Data, Net, make_data
from tests.reliability.wrong import Row

# ----------------------------------------------------------------------------------------------------- of the loop

NAN = math.nan
COUNTS = ["query_size", "rounds", "subpool_size", "pool_batch_size", "seed", "initial"]
LEAST = {"query_size": 1, "rounds": 0, "subpool_size": 1, "pool_batch_size": 1, "seed": 0, "initial": 0}
NO_COUNTS = [1.5, NAN, True, "5"]

LOOP: list[tuple[dict[str, Any], type[Exception], str]] = [
    *(({name: value}, TypeError, rf"`{name}` must be .*got {value!r}") for name in COUNTS for value in NO_COUNTS),
    *(
        ({name: least - 1}, ValueError, rf"`{name}` must be at least {least}, got {least - 1}")
        for name, least in LEAST.items()
    ),
    *(
        ({"budget": value}, (TypeError, ValueError), rf"`budget` must be .*above 0 and finite.*got {value!r}")
        for value in (0, -1.5, NAN, math.inf, True, "5")
    ),
    ({"stop": "accuracy"}, TypeError, "`stop` must be a `StopRule` or a function of the history, got 'accuracy'"),
    ({"query_size": None}, TypeError, "`query_size` must be an integer of at least 1, got None"),
    ({"query_size": 55}, ValueError, "`query_size=55` is larger than the pool: 60 samples less 6 .* at most 54"),
    ({"query_size": 9, "subpool_size": 8}, ValueError, "`query_size=9` is larger .*`subpool_size=8`. Make"),
    ({"budget": 5}, ValueError, "`budget=5` counts the initial labels too and does not cover the 6"),
    ({"initial": 0}, ValueError, "`initial` is 0 or an empty list; the first fit needs at least one labelled sample"),
    ({"initial": 61}, ValueError, "`initial` asks for 61 samples, but the pool has 60"),
    ({"initial": None}, TypeError, '`initial` must be a count, a list of dataset indices, or "all", got None'),
    ({"initial": []}, ValueError, "empty list"),
    ({"initial": [1, 1]}, ValueError, r"\[1\] more than once"),
    ({"initial": [1, 60]}, IndexError, r"between 0 and 59, got \[60\]"),
    ({"initial": [-1]}, IndexError, r"between 0 and 59, got \[-1\]"),
    ({"initial": [0.5, 1]}, TypeError, "indices must be integers, got 0.5"),
    ({"initial": [True, 3]}, TypeError, "indices must be integers, got True"),
    ({"initial": ["a"]}, TypeError, "indices must be integers, got 'a'"),
    ({"initial": np.zeros((2, 2), int)}, TypeError, "indices must be integers, got array"),
    ({"initial_by": "entropy"}, ValueError, "'random', 'balanced' or an acquisition, got 'entropy'"),
    ({"initial_by": TypiClust}, ValueError, r"'random', 'balanced' or an acquisition, got .*TypiClust"),
    ({"initial_by": Entropy()}, ValueError, "needs logits of the model, which is not trained yet. Use"),
    ({"initial_by": ProbCover(encoder=nn.Identity())}, ValueError, "needs the number of classes.*`clusters=`"),
    ({"initial_by": TypiClust(encoder=nn.Identity()), "initial": [1]}, ValueError, "names already: give a count"),
    ({"initial_by": "balanced", "oracle": AwaitTell()}, ValueError, '"balanced"` needs every label.*"random"'),
    ({"reset": "never"}, ValueError, "'fresh' or a function of the model .*, got 'never'"),
    ({"reset": None}, ValueError, "'fresh' or a function of the model .*, got None"),
    ({"reset": "continue", "weights": "best"}, ValueError, 'Use `reset="warm"`'),
    ({"evaluate": "train"}, ValueError, "'validate', 'test' or None, got 'train'"),
    ({"evaluate": True}, ValueError, "'validate', 'test' or None, got True"),
    ({"weights": "mean"}, ValueError, "'last', 'best', got 'mean'"),
    ({"pool_precision": "bf16"}, ValueError, "`pool_precision` must be one of '32', 'trainer', got 'bf16'"),
    ({"keep_weights": "yes"}, TypeError, "`keep_weights` must be True or False, got 'yes'"),
    ({"weights": "best"}, ValueError, r"ModelCheckpoint\(monitor=...\).*found 0"),
    ({"pool": "train"}, ValueError, "`pool` must be one of 'auto', 'predict', got 'train'"),
    ({"pool": ["auto"]}, ValueError, r"`pool` must be .*got \['auto'\]"),
    ({"oracle": object()}, TypeError, "`oracle` must be an `Oracle`.*got object"),
    ({"oracle": DatasetOracle}, TypeError, "`oracle` must be an `Oracle`.*got the class DatasetOracle"),
    ({"task": object()}, TypeError, "`task` must be a `Task`, got object"),
    ({"task": ClassificationTask}, TypeError, "`task` must be a `Task`, got the class ClassificationTask"),
    ({"dirpath": 3}, TypeError, "`dirpath` must be a path or None, got 3"),
    ({"dirpath": ""}, ValueError, "`dirpath` is empty"),
    ({"model": nn.Linear(2, 2)}, TypeError, "`model` must be a `lightning.LightningModule`, got Linear"),
    ({"model": Net}, TypeError, "`model` must be a `lightning.LightningModule`, got the class Net"),
    ({"data": make_data()}, TypeError, "`datamodule` must be a `lightning.LightningDataModule`, got tuple"),
    ({"data": DataLoader([1])}, TypeError, "`datamodule` must be a `lightning.LightningDataModule`, got DataLoader"),
    ({"data": Data}, TypeError, "`datamodule` must be a `lightning.LightningDataModule`, got the class Data"),
]


def _said(options: dict[str, Any]) -> str:
    plain = (int, float, str, list, type(None))
    return ", ".join(f"{k}={v!r}" if isinstance(v, plain) else f"{k}: {kind_of(v)}" for k, v in options.items())


def _loop_row(options: dict[str, Any], error: type[Exception], words: str) -> Row:
    return Row(f"loop: {_said(options)}", error, words, lambda project: project.run(**options))


# ------------------------------------------------------------------------------------------------- of acquisitions

COUNT = [0, -1, 1.5, NAN, True, "4", None]
POSITIVE = [0, -1.0, NAN, math.inf, True, "0.1", None]
SHARE = [-0.1, 1.5, NAN, True, "0.5", None]
NAMES = ["best", 3, None, ["top"]]
WRONG: dict[str, list[Any]] = {
    "selection": NAMES,
    "rho": POSITIVE,
    "radius": [value for value in COUNT if value is not None],
    "perturbation": NAMES,
    "p": [1, 0.5, NAN, True, "2", None],
    "group_size": COUNT,
    "score": NAMES,
    "lowest": ["yes", 1, None],
    "labels": NAMES,
    "norm": NAMES,
    "loss": NAMES,
    "passes": [1, *COUNT],
    "configurations": COUNT,
    "add_dropout": [0, 1, NAN, True, "0.5"],
    "members": [1, *COUNT],
    "source": NAMES,
    "redraw": ["no", 0, None],
    "delta": ["0.5", *(value for value in POSITIVE if value != "0.1")],
    "purity": [0, *SHARE],
    "clusters": [value for value in COUNT if value is not None],
    "features": [3, ["net.0"]],
    "encoder": [3, "nowhere.npy"],
    "max_clusters": COUNT,
    "neighbours": COUNT,
    "variant": NAMES,
    "margin": SHARE,
    "steps": [value for value in COUNT if value is not None],
    "seconds": [value for value in POSITIVE if value is not None],
    "hidden": COUNT,
    "dropout": [1, *SHARE],
    "lr": POSITIVE,
    "lr_decay": [1.5, *POSITIVE],
    "lr_decays": COUNT,
    "weight_decay": POSITIVE[1:],
    "unlabelled_weight": POSITIVE,
    "batch_size": COUNT,
    "latent": COUNT,
    "width": COUNT,
    "beta": POSITIVE[1:],
    "adversarial": POSITIVE[1:],
    "reduction": NAMES,
    "vae_steps": COUNT,
    "reconstruction": POSITIVE[1:],
    "supervision": POSITIVE[1:],
}
"""Values that no acquisition may take for its option of this name."""

OPTIONS = [
    (name, option)
    for name in acquisition.__all__
    for option in inspect.signature(getattr(acquisition, name)).parameters
]


def _acquisition_row(name: str, option: str, value: Any) -> Row:
    error, words = (TypeError, ValueError), rf"`{option}`.*got {re.escape(repr(value))}"
    if option == "encoder":
        words = "`encoder` must be a module or a file of features, got int"
    if value == "nowhere.npy":
        error, words = FileNotFoundError, "`encoder='nowhere.npy'`: there is no such file"
    made = getattr(acquisition, name)
    return Row(f"{name}({option}={value!r})", error, words, lambda project: made(**{option: value}))


TOGETHER = [
    ("SAAL: p with asam", lambda p: SAAL(perturbation="asam", p=3.0), ValueError, "p = 2 only, got p = 3.0"),
    ("SAAL: lowest with k-means++", lambda p: SAAL(lowest=True), ValueError, 'needs `selection="top"`, got'),
    ("Margin: badge", lambda p: acquisition.Margin("badge"), ValueError, 'Use "top" or "kmeans'),
    ("VAAL: no budget", lambda p: acquisition.VAAL(steps=None), ValueError, "needs a budget: `steps=`, `seconds=`"),
    ("SRAAL: odd latent", lambda p: acquisition.SRAAL(latent=7), ValueError, "`latent` must be even.*got 7"),
    (
        "CoreSet: both features and encoder",
        lambda p: acquisition.CoreSet(features="net.0", encoder=nn.Identity()),
        ValueError,
        "give one of them",
    ),
    ("acquisition: unknown option", lambda p: Entropy(temperature=2), TypeError, "temperature"),
    ("task: outputs", lambda p: ClassificationTask(outputs="softmax"), ValueError, "'probabilities', got 'softmax'"),
    ("acquisition: used without a loop", lambda p: Random().task, RuntimeError, "bound to no loop. Run it with"),
    (
        "SAAL: true labels of a person",
        lambda p: p.run(acquisition=SAAL(labels="true"), oracle=AwaitTell()),
        ValueError,
        'the loop\'s oracle is a AwaitTell. Use `labels="pseudo"`',
    ),
    (
        "CoreSet: no such layer",
        lambda p: p.run(acquisition=acquisition.CoreSet(features="net.9")),
        ValueError,
        "no layer 'net.9'. It has, among others: 'net",
    ),
    (
        "BALD: a model without dropout",
        lambda p: p.run(acquisition=acquisition.BALD(), model=NoDropout()),
        ValueError,
        "add_dropout=",
    ),
    (
        "LearningLoss: a model that does not predict its loss",
        lambda p: p.run(acquisition=acquisition.LearningLoss()),
        TypeError,
        r"class Net\(LossPredictionMixin, Net\)",
    ),
]


class NoDropout(Net):
    def __init__(self) -> None:
        super().__init__()
        self.net[3] = nn.Identity()


# ---------------------------------------------------------------------------------------------- of functions on tensors

Z = torch.zeros(4, 3)
X = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
G = torch.Generator()
LOG_P = torch.zeros(4, 2, 3).log_softmax(2)
HOLE = torch.tensor([[1.0, NAN], [0.0, 1.0]])


def _frozen() -> nn.Module:
    return nn.Linear(2, 3).requires_grad_(False)


FUNCTIONS: list[tuple[str, Any, type[Exception], str]] = [
    *(
        row
        for name in ("entropy", "least_confidence", "margin")
        for score in [getattr(F_al, name)]
        for row in (
            (f"{name}: a list", lambda f=score: f([[0.0, 1.0]]), TypeError, "must be a tensor .*got list"),
            (
                f"{name}: integers",
                lambda f=score: f(torch.zeros(4, 3).long()),
                TypeError,
                "floating point, got torch.int",
            ),
            (f"{name}: one dimension", lambda f=score: f(torch.zeros(4)), ValueError, r"shape \(B, C\).*got \(4,\)"),
            (f"{name}: one class", lambda f=score: f(torch.zeros(4, 1)), ValueError, r"C >= 2 classes, got \(4, 1\)"),
        )
    ),
    ("top_k: more than there are", lambda: F_al.top_k(torch.zeros(3), 4), ValueError, "k = 4 of 3"),
    ("top_k: negative k", lambda: F_al.top_k(torch.zeros(3), -1), ValueError, "k = -1 of 3"),
    ("top_k: a fraction", lambda: F_al.top_k(torch.zeros(3), 1.5), TypeError, "k = 1.5 .*must be an integer"),
    ("top_k: True", lambda: F_al.top_k(torch.zeros(3), True), TypeError, "k = True .*must be an integer"),
    ("top_k: two dimensions", lambda: F_al.top_k(Z, 1), ValueError, r"one-dimensional, \(N,\), got shape \(4, 3\)"),
    ("top_k: NaN", lambda: F_al.top_k(torch.tensor([0.0, NAN]), 1), ValueError, r"NaN or infinite .* \[1\]"),
    ("top_k: a list", lambda: F_al.top_k([0.0, 1.0], 1), TypeError, "`scores` must be a tensor, got list"),
    ("kmeans++: first out of range", lambda: F_al.kmeans_plusplus(X, 2, generator=G, first=4), ValueError, "3, got 4"),
    ("kmeans++: NaN", lambda: F_al.kmeans_plusplus(HOLE, 1, generator=G), ValueError, r"NaN or infinite .* \[0\]"),
    (
        "kmeans++: ids of another length",
        lambda: F_al.kmeans_plusplus(X, 2, generator=G, ids=torch.arange(3)),
        ValueError,
        "`ids` must be 4 integers, got torch.int64 of shape .3,",
    ),
    ("kmeans++: a list", lambda: F_al.kmeans_plusplus([1.0], 1, generator=G), TypeError, "must be a tensor, got list"),
    (
        "k-center: one dimension",
        lambda: F_al.k_center_greedy(torch.zeros(4), 2),
        ValueError,
        r"\(N, d\), d >= 1, got \(4,\)",
    ),
    (
        "k-center: labelled of another width",
        lambda: F_al.k_center_greedy(X, 2, labelled=torch.zeros(3, 5)),
        ValueError,
        r"as wide as `features`, got \(3, 5\) beside \(4, 2\)",
    ),
    ("k-center: a fraction", lambda: F_al.k_center_greedy(X, 1.5), TypeError, "k = 1.5 .*must be an integer"),
    ("badge: lengths differ", lambda: F_al.badge(Z[:3], X, 2, generator=G), ValueError, "as many rows of each, got"),
    ("prob_cover: delta", lambda: F_al.prob_cover(X, 2, delta=0.0), ValueError, "`delta` must be .*above 0.*got 0"),
    ("prob_cover: text", lambda: F_al.prob_cover(X, 2, delta="auto"), TypeError, "`delta` must be .*got 'auto'"),
    ("prob_cover: NaN", lambda: F_al.prob_cover(HOLE, 1, delta=0.5), ValueError, r"NaN or infinite"),
    ("coverage_delta: float labels", lambda: F_al.coverage_delta(X, torch.zeros(4)), ValueError, "must be integers"),
    ("typiclust: variant", lambda: F_al.typiclust(X, 2, generator=G, variant="best"), ValueError, "got 'best'"),
    ("cluster_labels: clusters", lambda: F_al.cluster_labels(X, 0, seed=0), ValueError, "at least 1, got 0"),
    ("bald: probabilities", lambda: F_al.bald(LOG_P.exp()), ValueError, "log_probabilities.*log"),
    ("bald: no passes", lambda: F_al.bald(Z), ValueError, r"\(B, T, C\).*got \(4, 3\)"),
    (
        "batch_bald: two dimensions",
        lambda: F_al.batch_bald(Z, 1, generator=G),
        ValueError,
        r"\(B, T, C\).*got \(4, 3\)",
    ),
    ("vote_entropy: no members", lambda: F_al.vote_entropy(Z), ValueError, r"\(B, K, C\).*got \(4, 3\)"),
    ("saal: no trainable parameter", lambda: F_al.saal(_frozen(), X), ValueError, "no trainable parameter.*Unfreeze"),
    (
        "saal: targets out of range",
        lambda: F_al.saal(nn.Linear(2, 3), X, targets=torch.full((4,), 7)),
        ValueError,
        "from 0 to 2, got 7",
    ),
    (
        "saal: fewer targets",
        lambda: F_al.saal(nn.Linear(2, 3), X, targets=torch.zeros(3).long()),
        ValueError,
        "4.*3|3.*4",
    ),
    ("saal: inputs of integers by a linear model", lambda: F_al.saal(nn.Linear(2, 1), X), ValueError, "C >= 2 classes"),
    ("gradient_norm: loss", lambda: F_al.gradient_norm(nn.Linear(2, 3), X, loss="mse"), ValueError, "'mse'"),
    ("gradient_norm: no trainable parameter", lambda: F_al.gradient_norm(_frozen(), X), ValueError, "Unfreeze"),
    ("gradient_norm: no tensor", lambda: F_al.gradient_norm(nn.Linear(2, 3), "x"), (TypeError, ValueError), "tensor"),
    (
        "mc_dropout: no samples",
        lambda: F_al.mc_dropout(nn.Dropout(), X[:0], passes=2, seed=0),
        ValueError,
        "at least one",
    ),
    (
        "sharpness_bound: steps",
        lambda: F_al.sharpness_bound(nn.Linear(2, 3), X, steps=0),
        ValueError,
        "`steps` must be at least 1, got 0",
    ),
    ("loss_prediction_loss: shapes", lambda: F_al.loss_prediction_loss(Z[:, 0], Z), ValueError, r"\(4,\).*\(4, 3\)"),
    (
        "loss_prediction_loss: margin",
        lambda: F_al.loss_prediction_loss(Z[:, 0], Z[:, 0], margin=NAN),
        ValueError,
        "got nan",
    ),
    (
        "state_uncertainty: no probabilities",
        lambda: F_al.state_uncertainty(Z[:, :1]),
        ValueError,
        r"got shape \(4, 1\)",
    ),
    (
        "train_gcn: nothing labelled",
        lambda: F_al.train_gcn(X, X[:0], generator=G),
        ValueError,
        "some of each, got 0 and 4",
    ),
    ("sam_step: rho", lambda: sam_step([], None, None, rho=-1), ValueError, "`rho`.*got -1"),
    ("sam_step: variant", lambda: sam_step([], None, None, variant="fsam"), ValueError, "`variant` .*'gsam'.*'fsam'"),
    ("sam_step: saf", lambda: sam_step([], None, None, variant="saf"), ValueError, r"SAMMixin\(variant=.saf.\)"),
    (
        "sam_step: another variant's",
        lambda: sam_step([], None, None, variant="gsam", every=5),
        ValueError,
        '`every` is an option of variant "looksam", not of "gsam", got 5',
    ),
    ("sam_step: no option", lambda: sam_step([], None, None, lag=5), TypeError, "no option 'lag'"),
]


def _subclass(mixin: type, **attributes: Any) -> Any:
    return lambda: type("Mine", (mixin, Net), attributes)()


MIXINS = [
    *(
        (f"{mixin.__name__}: {name}={value!r}", _subclass(mixin, **{name: value}), error, words)
        for mixin in (SAMMixin, AutoSAMMixin)
        for name, value, error, words in (
            ("rho", 0, ValueError, "`rho`.*got 0"),
            ("rho", "0.05", TypeError, "`rho` must be a number, above 0 and finite, got '0.05'"),
            ("perturbation", "adam", ValueError, "`perturbation` must be one of 'sam', 'asam', got 'adam'"),
            ("scope", "some", ValueError, "`scope` must be one of .*got 'some'"),
            ("variant", "fsam", ValueError, "`variant` must be one of .*got 'fsam'"),
            ("lag", 3, ValueError, '`lag` is an option of variant "saf", not of "sam", got 3'),
        )
    ),
    (
        "AutoSAMMixin: clipping",
        _subclass(AutoSAMMixin, gradient_clip_val=1.0),
        TypeError,
        r"Trainer\(gradient_clip_val=1.0",
    ),
    (
        "LossPredictionMixin: loss_layers",
        _subclass(LossPredictionMixin, loss_layers="net.0"),
        TypeError,
        "`loss_layers` must be a list of names of layers or None, got 'net.0'",
    ),
    ("LossPredictionMixin: loss_weight", _subclass(LossPredictionMixin, loss_weight=NAN), ValueError, "got nan"),
    ("LossPredictionMixin: loss_width", _subclass(LossPredictionMixin, loss_width=0), ValueError, "got 0"),
]

ROWS = [
    *(_loop_row(*row) for row in LOOP),
    *(_acquisition_row(name, option, value) for name, option in OPTIONS for value in WRONG[option]),
    *(Row(name, error, words, use) for name, use, error, words in TOGETHER),
    *(
        Row(f"{name}", error, words, lambda project, use=use: use())
        for name, use, error, words in (*FUNCTIONS, *MIXINS)
    ),
]
