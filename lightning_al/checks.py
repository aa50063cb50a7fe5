"""What is refused before anything trains or is written, with the value seen and the way out."""

import functools
from pathlib import Path
from types import MethodType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lightning_al._compat import is_overridden, launches_copies
from lightning_al.acquisition.base import Acquisition, learns
from lightning_al.campaign import Campaign
from lightning_al.datamodule import ActiveDataModule
from lightning_al.fitting import RESETS
from lightning_al.initial import METHODS
from lightning_al.loaders import owner_of
from lightning_al.options import check_choice, check_count, check_number, kind_of
from lightning_al.oracle import NoisyOracle, Oracle, costs
from lightning_al.pool import integers
from lightning_al.session import Settings
from lightning_al.task import Task


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


def check_positions(positions: Any, k: int, n: int, acquisition: Acquisition) -> Tensor:
    """Return what an acquisition's ``select`` gave as a LongTensor (k,), refusing what it must not give.

    Raises:
        TypeError: If they are not integers.
        ValueError: If they are not ``k`` distinct positions of ``n`` candidates.
    """
    chosen = torch.as_tensor(positions).flatten().cpu()
    name = type(acquisition).__name__
    if chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise TypeError(f"`{name}.select` must return integer positions, got {chosen.dtype}.")
    if len(chosen) != k or len(chosen.unique()) != k or (k and not 0 <= int(chosen.min()) <= int(chosen.max()) < n):
        raise ValueError(
            f"`{name}.select` must return {k} distinct positions between 0 and {n - 1}, got {chosen.tolist()[:20]}."
        )
    return chosen.long()


def check_project(
    trainer: Any, model: pl.LightningModule, data: ActiveDataModule, oracle: Oracle, settings: Settings
) -> Acquisition:
    """Refuse a Trainer or module with which the loop would silently do the wrong thing; return the acquisition.

    Raises:
        TypeError: If an object is of the wrong kind or package.
        ValueError: If an option of the Trainer cannot work.
    """
    check_package(trainer, "trainer")
    if not isinstance(trainer, pl.Trainer):
        raise TypeError(f"`trainer` must be a `lightning.Trainer`, got {kind_of(trainer)}.")
    for callback in trainer.callbacks:
        if isinstance(callback, type) and issubclass(callback, Acquisition):
            raise TypeError(f"{callback.__name__} among the callbacks is a class; write `{callback.__name__}()`.")
    found = [c for c in trainer.callbacks if isinstance(c, Acquisition)]
    if len(found) != 1:
        names = ", ".join(type(c).__name__ for c in found) or "none"
        raise ValueError(
            f"The loop needs exactly one acquisition among the Trainer's callbacks, found {len(found)}: {names}. "
            "For example `Trainer(callbacks=[SAAL(rho=0.05)])`."
        )
    if isinstance(trainer.strategy, FSDPStrategy):
        raise ValueError(
            "`FSDPStrategy` keeps weights flat outside of forward, so samples cannot be scored. Use "
            '`strategy="ddp"`, or `ModelParallelStrategy` (FSDP2).'
        )
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise ValueError(
            "`fast_dev_run` trains in the first round only and hides most of the pool. For a quick trial use "
            "`limit_train_batches=2, max_epochs=1` and `ActiveLearningLoop(..., rounds=1, subpool_size=...)`."
        )
    if launches_copies(trainer) and isinstance(oracle, NoisyOracle) and oracle.delay > 0:
        raise ValueError(
            f"`NoisyOracle(delay={oracle.delay})` counts in memory, and under a strategy that spawns or forks "
            'every run asks a new copy of it: its answers would never come. Use `strategy="ddp"`.'
        )
    limit = trainer.limit_predict_batches
    if not (isinstance(limit, float) and limit == 1.0):  # an integer 1 is one batch
        raise ValueError(
            f"`limit_predict_batches={trainer.limit_predict_batches}` would silently hide the rest of the pool. Remove "
            "it; to score fewer samples use `ActiveLearningLoop(..., subpool_size=...)`."
        )
    if trainer.overfit_batches > 0:
        raise ValueError(f"`overfit_batches={trainer.overfit_batches}` trains on a fixed few batches. Remove it.")
    if trainer.limit_train_batches == 0 or trainer.max_epochs == 0 or trainer.max_steps == 0:
        raise ValueError(
            f"Nothing would train: max_epochs={trainer.max_epochs}, max_steps={trainer.max_steps}, "
            f"limit_train_batches={trainer.limit_train_batches}."
        )
    if trainer.barebones:
        raise ValueError(
            "`barebones=True` switches validation and logging off: no round would have metrics. Remove it."
        )
    if trainer.max_epochs == -1 and trainer.max_steps == -1 and not _may_stop(trainer):
        rank_zero_warn(
            "`max_epochs=-1` without `max_steps`, `max_time` or an `EarlyStopping`: a round ends only if the model or "
            "one of your callbacks stops it. Give `max_epochs`."
        )
    _check_evaluation(trainer, model, data, settings)
    _check_optimizers(model)
    if not is_overridden("training_step", model):
        raise ValueError(f"{type(model).__name__} has no `training_step`, so nothing would train.")
    if model.automatic_optimization and not is_overridden("configure_optimizers", model):
        raise ValueError(f"{type(model).__name__} has no `configure_optimizers`, so nothing would train.")
    return found[0]


def _may_stop(trainer: pl.Trainer) -> bool:
    return any(isinstance(c, (EarlyStopping, Timer)) for c in trainer.callbacks)


def _check_evaluation(
    trainer: pl.Trainer, model: pl.LightningModule, data: ActiveDataModule, settings: Settings
) -> None:
    short = "val" if settings.evaluate == "validate" else "test"
    inner = data.datamodule
    if not is_overridden("train_dataloader", inner):
        raise ValueError(
            f"{owner_of(inner)} has no `train_dataloader()`, so there is nothing to label. Give the loop a datamodule "
            "that has one, or `Loaders(train_loader, val_loader)` of `lightning_al`."
        )
    if not is_overridden(f"{short}_dataloader", inner):
        other = "test" if short == "val" else "validate"
        raise ValueError(
            f'`evaluate="{settings.evaluate}"` needs a `{short}_dataloader()`, which {owner_of(inner)} does not have. '
            f'Define it, or use `evaluate="{other}"`.'
        )
    step = "validation_step" if short == "val" else "test_step"
    if not is_overridden(step, model):
        raise ValueError(f'`evaluate="{settings.evaluate}"` needs a `{step}`, which {type(model).__name__} lacks.')
    if getattr(trainer, f"limit_{short}_batches") == 0:
        raise ValueError(
            f'`evaluate="{settings.evaluate}"` and `limit_{short}_batches=0`: no round would have metrics. Remove the '
            "limit, or evaluate on the other set."
        )
    monitored = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor is not None]
    if settings.weights == "best" and len(monitored) != 1 and not is_overridden("configure_callbacks", model):
        raise ValueError(
            '`weights="best"` needs one `ModelCheckpoint(monitor=...)` among the callbacks, saying what best means; '
            f"found {len(monitored)}."
        )


def _check_optimizers(model: pl.LightningModule) -> None:
    """A stock ``LightningCLI`` makes one optimizer at start and returns it at every fit."""
    method = vars(model).get("configure_optimizers")
    function = method.__func__ if isinstance(method, MethodType) else method
    shared = isinstance(function, functools.partial) and any(
        isinstance(v, Optimizer) for v in [*function.args, *function.keywords.values()]
    )
    kept = [name for name, value in vars(model).items() if isinstance(value, Optimizer)]
    if shared or kept:
        where = "by `LightningCLI` from the `optimizer:` section" if shared else f"as `self.{kept[0]}`"
        raise ValueError(
            f"The optimizer was made once, {where}, and would be used in every round: its learning rate and momentum "
            "would run on, and after a reset it would train old parameters. Run `lightning-al run` (or "
            "`ActiveLearningCLI`), which makes it afresh each round, or build it inside `configure_optimizers`, for "
            "example from an `OptimizerCallable` argument."
        )


def check_shapes(model: pl.LightningModule) -> None:
    """Refuse lazy layers that have not seen a batch: their weights could neither be kept nor reset.

    Raises:
        ValueError: Naming one.
    """
    lazy = [name for name, p in model.named_parameters() if isinstance(p, UninitializedParameter)]
    if lazy:
        raise ValueError(
            f"`{lazy[0]}` is of a lazy layer, which has no shape before it sees a batch. Call the model on one before "
            "it is given to the loop."
        )


def check_parameters(model: pl.LightningModule) -> None:
    """Refuse a model in which nothing can train.

    Raises:
        ValueError: With the number of parameters.
    """
    parameters = list(model.parameters())
    if not any(p.requires_grad for p in parameters):
        raise ValueError(
            f"{type(model).__name__} has no trainable parameter (of {len(parameters)}), so nothing would train. "
            "Unfreeze some (`requires_grad=True`), and make layers in `__init__` or `configure_model`."
        )


def check_same_campaign(campaign: Campaign, options: dict[str, Any], size: int, datamodule: ActiveDataModule) -> None:
    """Refuse to go on with the campaign of another data set or seed; warn about other options that changed.

    Raises:
        ValueError: Naming what differs.
    """
    if len(campaign.pool) != size:
        raise ValueError(
            f"The campaign in {campaign.dirpath} is of a data set of {len(campaign.pool)} samples; this one has {size}."
        )
    before = campaign.options
    if before.get("seed") != options["seed"]:
        raise ValueError(
            f"The campaign in {campaign.dirpath} has seed {before.get('seed')}, and cannot go on with seed "
            f"{options['seed']}."
        )
    for index, key in list(campaign.keys.items())[:: max(1, len(campaign.keys) // 100)]:
        now = datamodule.task.key(datamodule.train_set, index)
        if now != key:
            raise ValueError(
                f"Sample {index} of the training set was {key!r} when the campaign in {campaign.dirpath} began and is "
                f"{now!r} now: the data set is another, or in another order."
            )
    for index, label in list(campaign.own_labels.items())[:: max(1, len(campaign.own_labels) // 100)]:
        present = datamodule.task.encode_label(datamodule.task.targets(datamodule.train_set[index]))
        if present != label:
            raise ValueError(
                f"Sample {index} of the training set had label {label!r} when the campaign in {campaign.dirpath} asked "
                f"for it and has {present!r} now: the data set is another, or in another order."
            )
    for index, value in campaign.labels.items():
        try:
            datamodule.task.encode_label(datamodule.task.decode_label(value))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The campaign in {campaign.dirpath} has a label for dataset index {index} that cannot be taken. "
                f"{error} "
                "If another one was meant, `tell` it."
            ) from None
    changed = {
        name: (before.get(name), value)
        for name, value in options.items()
        if name not in ("rounds", "budget", "stop", "seed") and before.get(name) != value
    }
    if changed:
        said = "; ".join(f"{name}: {old!r} -> {new!r}" for name, (old, new) in changed.items())
        rank_zero_warn(f"The campaign in {campaign.dirpath} goes on with options that changed: {said}.")
