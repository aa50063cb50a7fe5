"""What a ledger records of the options that its campaign began with, and whether a later launch fits them."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import nn

from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.saved import MAY_CHANGE, OF_THE_TRAINER, differences, in_words
from lightning_al.data.pool import integers
from lightning_al.inference.precision import FULL
from lightning_al.loop.project import Project
from lightning_al.loop.settings import Settings
from lightning_al.loop.told import name_of
from lightning_al.tasks.base import Task

_BEFORE_IT_WAS_THERE = {"pool_precision": FULL}
"""What an option was in campaigns that are older than it."""


def describe(project: Project, settings: Settings) -> dict[str, Any]:
    """Return the options as plain values for the ledger, acquisitions with their own options."""
    initial, initial_by, reset, stop = settings.initial, settings.initial_by, settings.reset, settings.stop
    return {
        "query_size": settings.query_size,
        "initial": initial if isinstance(initial, int | str) else integers(initial),
        "initial_by": options_of(initial_by) if isinstance(initial_by, Acquisition) else initial_by,
        "rounds": settings.rounds,
        "budget": settings.budget,
        "stop": None if stop is None else _name_of(stop),
        "subpool_size": settings.subpool_size,
        "known_share": settings.known_share,
        "reset": reset if isinstance(reset, str) else _name_of(reset),
        "oracle": type(project.oracle).__name__,
        "task": type(project.task).__name__,
        **_regions_of(project.task),
        "evaluate": settings.evaluate,
        "weights": settings.weights,
        "keep_weights": settings.keep_weights,
        "cache_gb": settings.cache_gb,
        "seed": settings.seed,
        "pool": project.data.pool_source,
        "pool_batch_size": project.data.pool_batch_size,
        "pool_precision": str(settings.pool_precision),
        "acquisition": options_of(project.acquisition),
        "trainer": {name: getattr(project.trainer, name) for name in OF_THE_TRAINER},
    }


def _regions_of(task: Task) -> dict[str, Any]:
    if task.region_kind is None:
        return {}
    return {"asks_for": task.region_kind, "regions": task.regions, "per_image": task.per_image}


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def options_of(acquisition: Acquisition) -> dict[str, Any]:
    """Return an acquisition's class and options as plain values."""
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


def check_same_campaign(campaign: Campaign, options: dict[str, Any], task: Task) -> None:
    """Refuse to go on with the campaign of another seed or task; warn about other options that changed.

    Args:
        campaign: As it was read back.
        options: Those of this launch, as :func:`describe` gives them.
        task: Of this launch.

    Raises:
        ValueError: Naming what differs.
    """
    before = campaign.options
    if before.get("seed") != options["seed"]:
        raise ValueError(
            f"The campaign in {campaign.dirpath} has seed {before.get('seed')}, and cannot go on with seed "
            f"{options['seed']}."
        )
    _check_labels(campaign, task)
    changes = [
        in_words(difference)
        for difference in differences({**_BEFORE_IT_WAS_THERE, **before}, options)
        if difference[0] not in (*MAY_CHANGE, "seed")  # which is refused by itself
    ]
    if changes:
        rank_zero_warn(f"The campaign in {campaign.dirpath} goes on with options that changed: {'; '.join(changes)}.")


def record_options(campaign: Campaign, options: dict[str, Any]) -> None:
    """Put the options of a round that begins on disk, where they are others than those of the last one."""
    if campaign.ranks.first(lambda: json.loads(json.dumps(options)) != campaign.options):
        campaign.record("changed", lambda: {"options": options})


def _check_labels(campaign: Campaign, task: Task) -> None:
    for index, value in campaign.labels.items():
        try:
            task.check_label(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The campaign in {campaign.dirpath} has a label for dataset index {name_of(campaign, index)} that "
                f"cannot be taken. {error} If another one was meant, `tell` it."
            ) from None
