"""What a ledger records of the options that its campaign began with, and whether a later launch fits them."""

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import nn

from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.campaign import Campaign
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.pool import integers
from lightning_al.loop.project import Project
from lightning_al.loop.settings import Settings

_MAY_CHANGE = ("rounds", "budget", "stop", "seed")  # the last is refused by itself


def describe(project: Project, settings: Settings) -> dict[str, Any]:
    """Return the options as plain values for the ledger, acquisitions with their own options."""
    initial, initial_by, reset, stop = settings.initial, settings.initial_by, settings.reset, settings.stop
    return {
        "query_size": settings.query_size,
        "initial": initial if isinstance(initial, int) else integers(initial),
        "initial_by": _options_of(initial_by) if isinstance(initial_by, Acquisition) else initial_by,
        "rounds": settings.rounds,
        "budget": settings.budget,
        "stop": None if stop is None else _name_of(stop),
        "subpool_size": settings.subpool_size,
        "reset": reset if isinstance(reset, str) else _name_of(reset),
        "oracle": type(project.oracle).__name__,
        "task": type(project.task).__name__,
        "evaluate": settings.evaluate,
        "weights": settings.weights,
        "seed": settings.seed,
        "pool": project.data.pool_source,
        "pool_batch_size": project.data.pool_batch_size,
        "acquisition": _options_of(project.acquisition),
    }


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def _options_of(acquisition: Acquisition) -> dict[str, Any]:
    options: dict[str, Any] = {"class": type(acquisition).__name__}
    for name, value in vars(acquisition).items():
        if name.startswith("_"):
            continue
        if isinstance(value, (bool, int, float, str)):
            options[name] = value
        elif isinstance(value, Path):
            options[name] = str(value)
        elif isinstance(value, nn.Module):
            options[name] = type(value).__name__
    return options


def check_same_campaign(campaign: Campaign, options: dict[str, Any], data: ActiveDataModule) -> None:
    """Refuse to go on with the campaign of another dataset or seed; warn about other options that changed.

    Args:
        campaign: As it was read back.
        options: Those of this launch, as :func:`describe` gives them.
        data: Of this launch, opened.

    Raises:
        ValueError: Naming what differs.
    """
    size = len(data.train_set)  # type: ignore[arg-type]
    if len(campaign.pool) != size:
        raise ValueError(
            f"The campaign in {campaign.dirpath} is of a dataset of {len(campaign.pool)} samples; this one has {size}."
        )
    before = campaign.options
    if before.get("seed") != options["seed"]:
        raise ValueError(
            f"The campaign in {campaign.dirpath} has seed {before.get('seed')}, and cannot go on with seed "
            f"{options['seed']}."
        )
    _check_samples(campaign, data)
    _check_labels(campaign, data)
    changes = [
        f"{name}: {before.get(name)!r} -> {value!r}"
        for name, value in options.items()
        if name not in _MAY_CHANGE and before.get(name) != value
    ]
    if changes:
        rank_zero_warn(f"The campaign in {campaign.dirpath} goes on with options that changed: {'; '.join(changes)}.")


def _check_samples(campaign: Campaign, data: ActiveDataModule) -> None:
    """Look at some of the samples that were asked for: their keys, and the labels that the dataset itself has."""
    task, dataset, folder = data.task, data.train_set, campaign.dirpath
    for index, key in _some(campaign.keys):
        key_now = task.key(dataset, index)
        if key_now != key:
            raise ValueError(
                f"Sample {index} of the training set was {key!r} when the campaign in {folder} began and is "
                f"{key_now!r} now: the dataset is another, or in another order."
            )
    for index, label in _some(campaign.own_labels):
        label_now = data.training_samples.own_label(index)
        if label_now != label and data.training_samples.keeps_target(index):
            raise ValueError(
                f"Sample {index} of the training set had label {label!r} when the campaign in {folder} asked for it "
                f"and has {label_now!r} now: the dataset is another, or in another order."
            )


def _some(of_samples: dict[int, Any]) -> list[tuple[int, Any]]:
    return list(of_samples.items())[:: max(1, len(of_samples) // 100)]


def _check_labels(campaign: Campaign, data: ActiveDataModule) -> None:
    for index, value in campaign.labels.items():
        try:
            data.task.encode_label(data.task.decode_label(value))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The campaign in {campaign.dirpath} has a label for dataset index {index} that cannot be taken. "
                f"{error} If another one was meant, `tell` it."
            ) from None
