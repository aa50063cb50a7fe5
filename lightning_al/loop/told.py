"""Labels that were told before the task had seen the model, held against it before anything trains on them."""

from typing import Any

import torch

from lightning_al.acquisition.random import Random
from lightning_al.campaign.campaign import Campaign
from lightning_al.data.image_size import label_size
from lightning_al.data.readable import readable
from lightning_al.distributed.randomness import derive_seed
from lightning_al.loop.project import Project
from lightning_al.loop.settings import Settings
from lightning_al.scoring.pool_pass import rows_of
from lightning_al.scoring.rehearsal import looks_at_outputs, rehearsed
from lightning_al.stages import CHECKING, stage
from lightning_al.tasks.label_sizes import check_size
from lightning_al.words import cut, shown

_FEW = 3


def check_told(campaign: Campaign, project: Project, settings: Settings) -> None:
    """Refuse labels that no fit has seen yet and that the task does not take, now that it may know the model.

    A ``tell`` in a process of its own has no model to hold them against. The number of classes is learnt of a few
    samples, where the acquisition works with outputs that the task has checked.

    Args:
        campaign: Its samples are found again.
        project: What the user brought.
        settings: The loop's.

    Raises:
        ValueError: Naming samples, their labels and what to do.
    """
    last = campaign.last_fit
    told = {unit: value for unit, value in campaign.labels.items() if unit not in campaign.own_labels}
    if not told or (last is not None and last["digest"] == campaign.label_digest):
        return
    if looks_at_outputs(project.task, project.acquisition) and not hasattr(
        project.model, "on_first_inputs"
    ):  # it needs weights
        _show_model(project, settings, list(told))
    refused: dict[int, str] = {}
    for unit, value in told.items():
        try:
            project.task.check_label(value)
            if unit not in campaign.sizes:  # nobody had asked for it
                check_size(value, label_size(project.data.pool_set, unit, project.task))
        except (TypeError, ValueError) as error:
            refused[unit] = f"label {shown(value)}: {cut(error)}"
    if not refused:
        return
    of_each = [f"Sample {name_of(campaign, unit)} has {reason}" for unit, reason in list(refused.items())[:_FEW]]
    others = f" And so on for {len(refused) - _FEW} more." if len(refused) > _FEW else ""
    indices = list(refused)[:_FEW]
    raise ValueError(
        f"{len(refused)} label(s) of the campaign in {campaign.dirpath} cannot be trained on. {' '.join(of_each)}"
        f"{others} Say what is right, which replaces it: `loop.tell({indices}, [...])`."
    )


def check_sizes(campaign: Campaign, project: Project) -> None:
    """Refuse images of another size than they had when they were asked for: told masks and boxes would be elsewhere.

    Looks at a few.

    Args:
        campaign: Its samples are found again.
        project: What the user brought.

    Raises:
        ValueError: Naming a sample, both sizes and what to do.
    """
    told = [unit for unit in campaign.sizes if unit in campaign.labels and unit not in campaign.own_labels]
    waiting = [unit for unit in campaign.pool.pending.tolist() if unit in campaign.sizes]
    for unit in [*told[:_FEW], *(waiting[:_FEW] if not project.oracle.simulated else [])]:
        then, now = campaign.sizes[unit], label_size(project.data.pool_set, unit, project.task)
        if unit >= 0 and now not in (None, then):
            sizes = [" x ".join(map(str, size)) for size in (then, now or ())]
            way_out = f", or give back what is asked for: `loop.release({waiting[:_FEW]})`" if not told else ""
            raise ValueError(
                f"Sample {name_of(campaign, unit)} was an image of {sizes[0]} pixels (width x height) when asked "
                f"for by the campaign in {campaign.dirpath}, and is one of {sizes[1]} now: what people draw has its "
                f"place in the former. Let the dataset give images as before{way_out}."
            )


def show_model_again(project: Project, settings: Settings) -> None:
    """Let a task that needs it look at the model: what it learnt is gone with the process that began the campaign."""
    if project.task.always_checks and not hasattr(project.model, "on_first_inputs"):
        pool_set: Any = project.data.pool_set
        _show_model(project, settings, readable(pool_set, range(len(pool_set)), 1))


@stage(CHECKING)
def _show_model(project: Project, settings: Settings, units: list[int]) -> None:
    """Let the task look at what the model makes of some samples, which training needs to read in any case."""
    acquisition = Random()
    count = rehearsed(project, acquisition)
    some = torch.tensor((units * count)[:count])  # some for every process
    rows_of(project, acquisition, some, seed=derive_seed(settings.seed, 0, "score"), check=True)


def name_of(campaign: Campaign, unit: int) -> str:
    """Return what a sample is called in messages: its dataset index, and its key where that is another."""
    key = campaign.keys.get(unit)
    return str(unit) if key is None or key == str(unit) else f"{unit} ({key})"
