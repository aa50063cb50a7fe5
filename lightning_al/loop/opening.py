"""How a campaign begins or is read back: everything is checked before anything trains or is written."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al import _compat
from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.events import Event
from lightning_al.campaign.results import INITIAL_ROUND
from lightning_al.campaign.states import INITIAL_WEIGHTS
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.pool import Pool
from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.distributed.ranks import Ranks, end_process_group_at_exit
from lightning_al.fitting.reset import check_redrawable
from lightning_al.inference.outputs import batch_size_of
from lightning_al.loop.initial import choose, initial_labels
from lightning_al.loop.project import Project, check_parameters, check_shapes
from lightning_al.loop.score import score
from lightning_al.loop.settings import Settings, check_budget, check_sizes, describe
from lightning_al.oracle.answers import sort_answers
from lightning_al.storage.weights import check_plain, whole


def open_campaign(project: Project, settings: Settings, dirpath: Path | None, *, resume: bool) -> tuple[Campaign, bool]:
    """Check the project, then begin the campaign in ``dirpath`` or read it back.

    Args:
        project: Its acquisition is bound to task and oracle.
        settings: The loop's.
        dirpath: The campaign's folder; None: a new one.
        resume: Whether an existing campaign may be gone on with.

    Returns:
        The campaign, and whether its initial set was asked for just now; it is not answered.
    """
    trainer, model, data, task = project.trainer, project.model, project.data, project.task
    oracle, acquisition = project.oracle, project.acquisition
    strategy = trainer.strategy
    _compat.connect(trainer, model)
    strategy.setup_environment()
    end_process_group_at_exit()
    data.seed = settings.seed
    data.begin(trainer)
    # As at the start of a fit: layers that are made here may depend on the data.
    _compat.attach(trainer, data)
    model.setup("fit")
    _compat.configure_model(trainer)
    check_shapes(model)
    data.open(trainer, model, settings.evaluate)
    if settings.reset == "fresh":
        check_redrawable(model)
    size = len(data.train_set)  # type: ignore[arg-type]
    oracle.bind(data.train_set, task)
    acquisition.bind(task, oracle)
    acquisition.check_pool(size)
    options = describe(settings.described, acquisition)

    ranks = Ranks(strategy)
    events = ranks.first(lambda: _read(dirpath, resume))
    new = events is None
    if new:
        check_sizes(settings.described, size)
    initial: list[int] = []
    labels: dict[int, Any] = {}
    if events is None or len(events) == 1:  # a kill may come between the first two events
        initial = choose(project, settings, ranks, size)
        data.check_training(len(initial))
        check_budget(settings.budget, oracle, initial)
        if oracle.simulated:
            labels = ranks.first(lambda: initial_labels(project, initial))
    _rehearse(project, settings, new=new, size=size)
    check_parameters(model)
    if "classes" in acquisition.requires and task.num_classes is None:
        raise ValueError(
            f"`{type(acquisition).__name__}` needs the number of classes, which `{type(task).__name__}"
            ".num_classes` does not say. Define it, or give `clusters=`."
        )
    weights = whole(model.state_dict()) if new else {}
    check_plain(weights)

    def begin() -> tuple[str, list[Event]]:
        sort_answers(labels, task).check()  # now that the classes are known
        if events is not None:
            assert dirpath is not None
            return str(dirpath), events
        return _create(dirpath or _new_folder(trainer), size, options, weights)

    folder, events = ranks.first(begin)
    campaign = Campaign(folder, events, ranks=ranks)
    if not new:
        check_same_campaign(campaign, options, size, data)
    if initial:
        keys = [data.key(i) for i in initial]
        question = {"round": INITIAL_ROUND, "indices": initial, "keys": keys, "scores": [], "seconds": {}}
        campaign.record("asked", lambda: question)
    return campaign, bool(initial)


def _rehearse(project: Project, settings: Settings, *, new: bool, size: int) -> None:
    """Score a few samples, so that what cannot work is refused before anything trains."""
    trainer, acquisition, task = project.trainer, project.acquisition, project.task
    count_classes = "classes" in acquisition.requires and task.num_classes is None
    rehearsed: list[Acquisition] = [acquisition] if (acquisition.requires if new else count_classes) else []
    if new and hasattr(project.model, "on_first_inputs"):
        rehearsed = [_FirstInputs(), *rehearsed]
        rehearsed[0].bind(task, project.oracle)
    for each in rehearsed:
        count = min(size, max(2, 2 * each.batch_multiple) * max(trainer.world_size, 1))
        some = Pool(size).candidates(count, generator=generator(settings.seed, "rehearsal"))
        seed = derive_seed(settings.seed, 0, "score")
        score(project, each, some, seed=seed, check=not isinstance(each, _FirstInputs))


class _FirstInputs(Acquisition):
    """Shows the model some samples, so that what it makes of data is there before its weights are kept."""

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        with torch.inference_mode(False):  # in which a predict pass is, and parameters made in it are of no use
            inputs = pytree.tree_map_only(Tensor, torch.clone, self.task.inputs(batch))
            model.on_first_inputs(inputs, self.task.logits)
        return torch.zeros(batch_size_of(inputs))


def _read(dirpath: Path | None, resume: bool) -> list[Event] | None:
    if dirpath is None:
        return None
    if not Campaign.exists(dirpath):
        Campaign.check_free(dirpath)
        return None
    if not resume:
        Campaign.refuse_to_start_over(dirpath)
    return Campaign.read_events(dirpath)


def _new_folder(trainer: pl.Trainer) -> Path:
    parent = Path(trainer.default_root_dir) / "al"
    taken = [int(p.name[8:]) for p in parent.glob("version_*") if p.name[8:].isdigit()]
    return parent / f"version_{max(taken, default=-1) + 1}"


def _create(dirpath: Path, size: int, options: dict[str, Any], weights: dict[str, Any]) -> tuple[str, list[Event]]:
    return str(dirpath), Campaign.create(
        dirpath, size=size, options=options, states={INITIAL_WEIGHTS: {"state_dict": weights}}
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
