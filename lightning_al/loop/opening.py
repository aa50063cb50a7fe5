"""How a campaign begins or is read back: everything is checked before anything trains or is written."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al import _compat
from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.events import Event
from lightning_al.campaign.moves import Search
from lightning_al.campaign.results import INITIAL_ROUND
from lightning_al.campaign.states import INITIAL_WEIGHTS, State
from lightning_al.checks import Findings
from lightning_al.data.pool import Pool
from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.distributed.ranks import Ranks, end_process_group_at_exit
from lightning_al.fitting.reset import check_redrawable
from lightning_al.inference.outputs import batch_size_of
from lightning_al.loop.initial import choose, initial_labels, question_of
from lightning_al.loop.project import Project, check_parameters, check_shapes
from lightning_al.loop.record import check_same_campaign, describe
from lightning_al.loop.score import score
from lightning_al.loop.settings import Settings
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
    _set_up(project, settings)
    ranks = Ranks(project.trainer.strategy)
    events = ranks.first(lambda: _read(dirpath, resume=resume))
    begins = events is None or len(events) == 1  # a kill may come between the first two events
    _check_parts(project, settings, new=events is None, begins=begins)
    project.data.sample_keys.tell()
    project.data.sample_keys.check_same_on_every_rank()
    options = describe(project, settings)
    initial: list[int] = []
    labels: dict[int, Any] = {}
    if begins:
        initial = choose(project, settings, ranks)
        labels = _check_initial_set(project, settings, ranks, initial)
    _rehearse(project, settings, new=events is None)
    _check_learnt(project)
    # On trial once more, now that the rehearsal may have counted the classes.
    ranks.first(lambda: sort_answers(labels, project.task).check())
    if dirpath is None or events is None:
        campaign = _begin(project, ranks, dirpath, options)
    else:
        campaign = Campaign(dirpath, events, ranks)
        check_same_campaign(campaign, options, project.task)
        _find_again(campaign, project)
    if initial:
        question = question_of(project, initial)
        campaign.record("asked", lambda: question.event(INITIAL_ROUND))
    return campaign, bool(initial)


def _set_up(project: Project, settings: Settings) -> None:
    """Set processes, data and model up as at the start of a fit."""
    trainer, model, data = project.trainer, project.model, project.data
    _compat.connect(trainer, model)
    trainer.strategy.setup_environment()
    end_process_group_at_exit()
    data.seed = settings.seed
    data.begin(trainer)
    # As at the start of a fit: layers that are made here may depend on the data.
    _compat.attach(trainer, data)
    model.setup("fit")
    _compat.configure_model(trainer)


def _check_parts(project: Project, settings: Settings, *, new: bool, begins: bool) -> None:
    """Open the data, bind oracle and acquisition, and refuse together what cannot work of each of them.

    Args:
        project: What the user brought.
        settings: The loop's.
        new: Whether there is no ledger yet.
        begins: Whether the initial set is still to be chosen.
    """
    trainer, model, data = project.trainer, project.model, project.data
    oracle, acquisition, task = project.oracle, project.acquisition, project.task
    with Findings() as findings:
        has_shapes = findings.of(check_shapes, model)
        size = len(data.train_set)  # type: ignore[arg-type]
        is_large_enough = not new or findings.of(settings.check_size, size)
        if findings.of(data.open, trainer, model, settings.evaluate) and begins and is_large_enough:
            findings.of(data.check_training, settings.initial_count)
        if settings.reset == "fresh" and has_shapes:
            findings.of(check_redrawable, model)
        findings.of(oracle.bind, data.train_set, task)
        if findings.of(acquisition.bind, task, oracle):
            findings.of(acquisition.check_pool, size)


def _read(dirpath: Path | None, *, resume: bool) -> list[Event] | None:
    """Return the events of the campaign that is gone on with; None where one begins."""
    if dirpath is None:
        return None
    if not Campaign.exists(dirpath):
        Campaign.check_free(dirpath)
        return None
    if not resume:
        Campaign.refuse_to_start_over(dirpath)
    return Campaign.read_events(dirpath)


def _check_initial_set(project: Project, settings: Settings, ranks: Ranks, initial: list[int]) -> dict[int, Any]:
    """Refuse an initial set that cannot be paid; return its labels, where they are in the dataset."""
    settings.check_prices(initial)
    return ranks.first(lambda: initial_labels(project, initial)) if project.oracle.simulated else {}


def _rehearse(project: Project, settings: Settings, *, new: bool) -> None:
    """Score a few samples, so that what cannot work is refused before anything trains."""
    acquisition, task = project.acquisition, project.task
    size = len(project.data.train_set)  # type: ignore[arg-type]
    count_classes = "classes" in acquisition.requires and task.num_classes is None
    rehearsed: list[Acquisition] = [acquisition] if (acquisition.requires if new else count_classes) else []
    if new and hasattr(project.model, "on_first_inputs"):
        rehearsed = [_FirstInputs(), *rehearsed]
        rehearsed[0].bind(task, project.oracle)
    for each in rehearsed:
        count = min(size, max(2, 2 * each.batch_multiple) * max(project.trainer.world_size, 1))
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


def _check_learnt(project: Project) -> None:
    """Refuse what is known only after the rehearsal: a model without parameters, a number of classes unknown."""
    acquisition, task = project.acquisition, project.task
    with Findings() as findings:
        findings.of(check_parameters, project.model)
        findings.refuse_if(
            "classes" in acquisition.requires and task.num_classes is None,
            f"`{type(acquisition).__name__}` needs the number of classes, which `{type(task).__name__}"
            ".num_classes` does not say. Define it, or give `clusters=`.",
        )


def _find_again(campaign: Campaign, project: Project) -> None:
    """Have the ledger go by where its samples are today, and refuse what training needs and is not there."""
    data, task = project.data, project.task

    def own_label(index: int) -> Any:
        return task.encode_label(task.targets(data.train_set[index]))

    move = campaign.ranks.first(lambda: Search(campaign, data.sample_keys, own_label).move())
    if move is not None:
        campaign.record("moved", lambda: move)


def _begin(project: Project, ranks: Ranks, dirpath: Path | None, options: dict[str, Any]) -> Campaign:
    """Put the first event and the initial weights on disk."""
    weights: State = whole(project.model.state_dict())
    check_plain(weights)
    size = len(project.data.train_set)  # type: ignore[arg-type]

    def create() -> tuple[Path, list[Event]]:
        folder = _new_folder(project.trainer) if dirpath is None else dirpath
        states = {INITIAL_WEIGHTS: {"state_dict": weights}}
        root = project.data.sample_keys.root
        return folder, Campaign.create(folder, size=size, options=options, root=root, states=states)

    folder, events = ranks.first(create)
    return Campaign(folder, events, ranks)


def _new_folder(trainer: pl.Trainer) -> Path:
    parent = Path(trainer.default_root_dir) / "al"
    taken = [int(p.name[8:]) for p in parent.glob("version_*") if p.name[8:].isdigit()]
    return parent / f"version_{max(taken, default=-1) + 1}"
