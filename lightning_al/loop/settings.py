"""The options of a loop, checked before anything else happens."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import nn
from torch.utils.data import DataLoader

from lightning_al.acquisition.base import Acquisition, learns
from lightning_al.campaign.results import RoundResult
from lightning_al.checks import check_choice, check_count, check_number, kind_of
from lightning_al.data.pool import integers
from lightning_al.fitting.reset import RESETS, Reset
from lightning_al.oracle.base import Oracle, costs
from lightning_al.tasks.base import Task

METHODS = ("random", "balanced")


def check_package(thing: Any, name: str) -> None:
    """Refuse objects of the ``pytorch_lightning`` package, whose classes are not those of ``lightning``.

    Raises:
        TypeError: Naming the import to change.
    """
    if any(base.__module__.split(".")[0] == "pytorch_lightning" for base in type(thing).__mro__):
        raise TypeError(
            f"`{name}` is a {type(thing).__name__} of the `pytorch_lightning` package, whose classes are not those of "
            "`lightning`. Change `import pytorch_lightning as pl` to `import lightning.pytorch as pl` in your project."
        )


def _check_initial_by(initial_by: Any, initial: Any) -> None:
    if not isinstance(initial_by, Acquisition):
        if not isinstance(initial_by, str) or initial_by not in METHODS:
            named = ", ".join(map(repr, METHODS))
            raise ValueError(f"`initial_by` must be one of {named} or an acquisition, got {initial_by!r}.")
        return
    name = type(initial_by).__name__
    if not isinstance(initial, int):
        raise ValueError(
            f"`initial_by={name}(...)` chooses the initial set, which `initial` names already: give a count."
        )
    if "classes" in initial_by.requires:
        raise ValueError(
            f"`initial_by={name}(...)` needs the number of classes, which is not known before anything trained. Give "
            "it: `clusters=`."
        )
    of_model = initial_by.requires - {"encoder", "labels"}
    if of_model:
        needed = ", ".join(sorted(of_model))
        raise ValueError(
            f"`initial_by={name}(...)` needs {needed} of the model, which is not trained yet. Use an acquisition with "
            'features of its own (`TypiClust(encoder=...)`), or "random".'
        )
    if "labels" in initial_by.requires or learns(initial_by):
        raise ValueError(
            f"`initial_by={name}(...)` learns from labelled samples, and before the initial set there are none. Use "
            'an acquisition that needs none (`TypiClust(encoder=...)`), "random" or "balanced".'
        )


def check_options(model: Any, datamodule: Any, **options: Any) -> dict[str, Any]:
    """Refuse the loop's options that cannot be honoured, and return them as plain values for the ledger.

    Raises:
        TypeError: If something has the wrong type.
        ValueError: If a value is out of range.
    """
    check_package(model, "model")
    check_package(datamodule, "datamodule")
    if isinstance(datamodule, (DataLoader, list, tuple)):
        raise TypeError(
            f"`datamodule` must be a `lightning.LightningDataModule`, got {type(datamodule).__name__}. Of loaders make "
            "one: `Loaders(train_loader, val_loader)` of `lightning_al`."
        )
    if not isinstance(model, pl.LightningModule):
        raise TypeError(f"`model` must be a `lightning.LightningModule`, got {kind_of(model)}.")
    initial, query_size = options["initial"], options["query_size"]
    if isinstance(initial, int):
        check_count("initial", initial, 1)
        count = initial
    else:
        if isinstance(initial, str) or not hasattr(initial, "__len__"):
            raise TypeError(f"`initial` must be a count or a list of dataset indices, got {initial!r}.")
        count = len(initial)
        if count == 0:
            raise ValueError("`initial` is an empty list; the first fit needs at least one labelled sample.")
        initial = integers(initial)
    oracle, task = options["oracle"], options["task"]
    if oracle is not None and not isinstance(oracle, Oracle):
        raise TypeError(f"`oracle` must be an `Oracle` (`request` and `poll`), got {kind_of(oracle)}.")
    if task is not None and not isinstance(task, Task):
        raise TypeError(f"`task` must be a `Task`, got {kind_of(task)}.")
    check_count("query_size", query_size, 1)
    check_count("rounds", options["rounds"], 0, optional=True)
    check_number("budget", options["budget"], above=0, optional=True)
    if options["stop"] is not None and not callable(options["stop"]):
        raise TypeError(f"`stop` must be a `StopRule` or a function of the history, got {options['stop']!r}.")
    check_count("subpool_size", options["subpool_size"], 1, optional=True)
    check_count("seed", options["seed"], 0)
    if options["subpool_size"] is not None and query_size > options["subpool_size"]:
        raise ValueError(
            f"`query_size={query_size}` is larger than the sub-pool it is picked from, "
            f"`subpool_size={options['subpool_size']}`. Make the sub-pool at least as large."
        )
    free = oracle is not None and type(oracle).cost is not Oracle.cost  # its prices come later
    if options["budget"] is not None and options["budget"] < count and not free:
        raise ValueError(
            f"`budget={options['budget']}` counts the initial labels too and does not cover the {count} of `initial`."
        )
    _check_initial_by(options["initial_by"], initial)
    check_choice("evaluate", options["evaluate"], ("validate", "test"))
    check_choice("weights", options["weights"], ("last", "best"))
    reset = options["reset"]
    if not callable(reset) and reset not in RESETS:
        raise ValueError(
            f"`reset` must be one of {', '.join(map(repr, RESETS))} or a function of the model (in YAML its import "
            f"path), got {reset!r}."
        )
    if reset == "continue" and options["weights"] == "best":
        raise ValueError(
            '`reset="continue"` keeps the optimizer state, which belongs to the last weights, and cannot go with '
            '`weights="best"`. Use `reset="warm"`, or `weights="last"`.'
        )
    if options["initial_by"] == "balanced" and oracle is not None and not oracle.simulated:
        raise ValueError(
            f'`initial_by="balanced"` reads every label of the data set, which a {type(oracle).__name__} is there to '
            'give. Use `initial_by="random"`, or name the indices in `initial`.'
        )
    dirpath = options.pop("dirpath")
    if dirpath is not None and not isinstance(dirpath, (str, Path)):
        raise TypeError(f"`dirpath` must be a path or None, got {dirpath!r}.")
    if dirpath == "":
        raise ValueError("`dirpath` is empty. Name a folder, or leave it out for a new one.")
    named = getattr(reset, "__qualname__", type(reset).__name__)
    stop = options["stop"]
    described = {
        "initial": initial,
        "reset": reset if isinstance(reset, str) else named,
        "oracle": "DatasetOracle" if oracle is None else type(oracle).__name__,
        "task": "ClassificationTask" if task is None else type(task).__name__,
        "stop": None if stop is None else getattr(stop, "__qualname__", type(stop).__name__),
    }
    return {**options, **described}


def check_budget(budget: float | None, oracle: Oracle, initial: list[int]) -> None:
    """Refuse a budget that does not cover the initial set.

    Raises:
        ValueError: With what the initial labels cost.
    """
    spent = float(costs(oracle, initial).sum())
    if budget is not None and spent > budget:
        raise ValueError(
            f"`budget={budget}` counts the initial labels too and does not cover the {len(initial)} of `initial`: they "
            f"cost {spent:g}."
        )


def check_sizes(options: dict[str, Any], size: int) -> None:
    """Refuse an initial set or query that the data set is too small for.

    Raises:
        ValueError: With the sizes.
    """
    initial, query_size, budget = options["initial"], options["query_size"], options["budget"]
    count = initial if isinstance(initial, int) else len(initial)
    if count > size:
        raise ValueError(f"`initial` asks for {count} samples, but the training set has {size}.")
    left = size - count
    if query_size > left and options["rounds"] != 0 and (budget is None or budget > count):
        raise ValueError(
            f"`query_size={query_size}` is larger than the pool: {size} samples less {count} initial ones leave "
            f"{left}. Ask for at most {left} per round."
        )


def describe(options: dict[str, Any], acquisition: Acquisition) -> dict[str, Any]:
    """Return the options as plain values for the ledger, acquisitions with their own options."""
    described = {**options, "acquisition": _described(acquisition)}
    if isinstance(options["initial_by"], Acquisition):
        described["initial_by"] = _described(options["initial_by"])
    return described


def _described(acquisition: Acquisition) -> dict[str, Any]:
    described: dict[str, Any] = {"class": type(acquisition).__name__}
    for name, value in vars(acquisition).items():
        if name.startswith("_"):
            continue
        if isinstance(value, (bool, int, float, str)):
            described[name] = value
        elif isinstance(value, Path):
            described[name] = str(value)
        elif isinstance(value, nn.Module):
            described[name] = type(value).__name__
    return described


@dataclass(frozen=True)
class Settings:
    """The options of a loop, checked; see :class:`~lightning_al.ActiveLearningLoop`."""

    query_size: int
    initial: int | list[int]
    initial_by: str | Acquisition
    rounds: int | None
    budget: float | None
    stop: Callable[[list[RoundResult]], bool] | None
    subpool_size: int | None
    reset: Reset
    evaluate: str
    weights: str
    seed: int
    described: dict[str, Any]
