"""How a campaign begins or is read back: everything is checked before anything trains or is written."""

import contextlib
import itertools
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al._compat import saves_folders
from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.blobs_sent import readable_everywhere
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.events import Event, count_events, refuse_to_begin
from lightning_al.campaign.moves import Search
from lightning_al.campaign.one_launch import one_launch
from lightning_al.campaign.results import INITIAL_ROUND
from lightning_al.campaign.states import INITIAL_WEIGHTS, State
from lightning_al.campaign.versions import versions
from lightning_al.checks import Findings
from lightning_al.data.for_trainer import set_model_up
from lightning_al.data.image_size import check_one_size
from lightning_al.data.pool import Pool
from lightning_al.data.readable import one_by_one, readable
from lightning_al.data.unlabelled import has_unlabelled
from lightning_al.distributed.files import all_see
from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.distributed.ranks import Ranks, begin_processes, gather_objects
from lightning_al.fitting.beside_weights import unsaved_buffers
from lightning_al.fitting.initial_weights import digests_of_parts, warn_of_weights_left
from lightning_al.fitting.reset import check_redrawable
from lightning_al.loop.annotations import annotations_of, note_annotations
from lightning_al.loop.initial import choose_by_name, choose_by_scores, initial_labels
from lightning_al.loop.known import find_nothing_to_ask, find_without_known, take_note_of_known
from lightning_al.loop.project import (
    Project,
    check_frozen,
    check_parameters,
    check_shapes,
    find_in_model,
    find_in_trainer,
)
from lightning_al.loop.question import question_of
from lightning_al.loop.record import check_same_campaign, describe
from lightning_al.loop.settings import Settings
from lightning_al.loop.told import check_sizes, check_told, show_model_again
from lightning_al.oracle.answers import sort_answers
from lightning_al.oracle.skip import DATASET
from lightning_al.scoring.company import check_company
from lightning_al.scoring.pick import Pick
from lightning_al.scoring.regions import HowMany, RegionPicker
from lightning_al.scoring.rehearsal import check_classes_known, rehearse, rehearsed
from lightning_al.storage.weights import check_plain, whole

T = TypeVar("T")


class Sound(NamedTuple):
    """What may be tried of a project, since nothing was refused that it takes."""

    initial: bool
    oracle: bool
    scores: bool


def open_campaign(
    project: Project, settings: Settings, dirpath: Path | None, alone: contextlib.ExitStack, *, resume: bool
) -> tuple[Campaign, bool]:
    """Check the project, then begin the campaign in ``dirpath`` or read it back.

    Args:
        project: Its acquisition is bound to task and oracle.
        settings: The loop's.
        dirpath: The campaign's folder; None: a new one.
        alone: On the first rank, keeps other launches from the folder until it is closed.
        resume: Whether an existing campaign may be gone on with.

    Returns:
        The campaign, and whether its initial set was asked for just now; it is not answered.
    """
    with Findings() as findings:
        find_in_trainer(findings, project.trainer, project.model, settings)
        find_in_model(findings, project.model, project.data.datamodule, settings.evaluate)
        find_without_known(findings, project.data.datamodule, settings)
        if findings.of(_set_up, project, settings):
            ranks = Ranks(project.trainer.strategy)
            findings.of(_check_pieces, project.trainer, settings, dirpath)
            events = _events(dirpath, ranks, alone, resume=resume)
            # A kill may come between the first events.
            begins = events is None or {event["kind"] for event in events} <= {"started", "known"}
            options, initial = _try(findings, project, settings, ranks=ranks, new=events is None, begins=begins)
            if dirpath is not None and events is not None:
                with findings.of_block():
                    campaign = Campaign(dirpath, events, ranks)
                    check_same_campaign(campaign, options, project.task)
    project.data.sample_keys.warn()
    for keys in filter(None, (project.data.sample_keys, project.data.known_keys)):
        keys.check_same_on_every_rank()
    if dirpath is None or events is None:
        campaign = _begin(project, ranks, dirpath, alone, options)
    else:
        _find_again(campaign, project)
        check_sizes(campaign, project)
        check_told(campaign, project, settings)
        show_model_again(project, settings)
        note_annotations(campaign, project)
    take_note_of_known(campaign, project.data)
    if begins:  # of no samples, where what is known is enough
        question = question_of(project, ranks, Pick.unscored(initial))
        campaign.record("asked", lambda: question.event(INITIAL_ROUND))
    return campaign, bool(initial)


def _try(
    findings: Findings, project: Project, settings: Settings, *, ranks: Ranks, new: bool, begins: bool
) -> tuple[dict[str, Any], list[int]]:
    """Try all parts of a project together; return its options for the ledger, and the initial set if one is needed."""
    initial: list[int] = []
    labels: dict[int, Any] = {}
    sound = _check_parts(findings, project, settings, new=new, begins=begins)
    if new and sound.oracle:
        _of_first(findings, ranks, project.oracle.check)
    options = describe(project, settings)
    if begins and sound.initial:
        initial, labels = _try_initial_set(findings, project, settings, ranks, has_oracle=sound.oracle)
    can_score = _agree(findings, sound.scores)
    # What this process alone refuses from here on ends it: the others are not called together again.
    if can_score and findings.of(_rehearse, project, settings, new=new):
        _check_learnt(findings, project)
        # On trial once more, now that the rehearsal may have counted the classes.
        findings.of(ranks.first, lambda: sort_answers(labels, project.task).check())
    elif not can_score or "gradients" not in project.acquisition.requires:  # whose scores would have said so
        findings.of(check_frozen, project.model)
    return options, initial


def _set_up(project: Project, settings: Settings) -> None:
    """Set processes, data and model up as at the start of a fit."""
    trainer, model, data = project.trainer, project.model, project.data
    begin_processes(trainer, model)
    data.begin(trainer, seed=settings.seed, known_share=settings.known_share)
    set_model_up(trainer, model, data, "fit")


def _check_parts(findings: Findings, project: Project, settings: Settings, *, new: bool, begins: bool) -> Sound:
    """Open the data, bind oracle and acquisition, and find what cannot work of each of them.

    Args:
        findings: Take what is refused.
        project: What the user brought.
        settings: The loop's.
        new: Whether there is no ledger yet.
        begins: Whether the initial set is still to be chosen.
    """
    trainer, model, data = project.trainer, project.model, project.data
    oracle, acquisition, task = project.oracle, project.acquisition, project.task
    has_shapes = findings.of(check_shapes, model)
    findings.of(data.open, trainer, model, settings.evaluate)
    is_sized = data.has_pool or not has_unlabelled(data.datamodule)  # the training set's size is known in any case
    size = len(data.new_pool().unlabelled) if is_sized else 0
    if new:
        find_nothing_to_ask(findings, data)
    is_large_enough = is_sized and (not new or size == 0 or findings.of(settings.check_initial_size, size))
    if new and is_large_enough and size > 0:
        findings.of(settings.check_query_size, size)
    if begins and is_large_enough and is_sized:
        # Where nothing at all would be labelled, a question of the usual size is asked first.
        first = 0 if len(data.samples.known_indices) else min(settings.first_count, size)
        count = settings.initial_count(size) or first
        if len(data.samples.known_indices) + count > 0:
            findings.of(data.check_training, count)
    if settings.reset == "fresh" and has_shapes:
        findings.of(check_redrawable, model)
    has_oracle = is_sized and findings.of(oracle.bind, data.samples.label_set, task)
    if has_oracle and data.has_pool:
        told = oracle.annotator != DATASET or settings.asks_for_regions
        findings.of(data.samples.pool.check_labels, told=told)
    if data.has_pool and settings.asks_for_regions:
        findings.of(check_one_size, data.pool_set, task, batch_size=data.scoring_batch_size)
    is_bound = findings.of(acquisition.bind, task, oracle)
    is_bound = is_bound and (not is_sized or findings.of(acquisition.check_pool, len(data.samples)))
    return Sound(initial=is_large_enough, oracle=has_oracle, scores=is_bound and has_shapes and data.has_pool)


def _events(dirpath: Path | None, ranks: Ranks, alone: contextlib.ExitStack, *, resume: bool) -> list[Event] | None:
    """Return the events of the campaign that is gone on with, as every rank can read them; None where one begins."""
    events = ranks.first(lambda: _read_events(dirpath, alone, resume=resume))
    if dirpath is not None:
        _check_elsewhere(dirpath, len(events or ()), ranks)
    return None if events is None else readable_everywhere(events, ranks)


def _check_pieces(trainer: pl.Trainer, settings: Settings, dirpath: Path | None) -> None:
    """Refuse a best checkpoint in pieces, one of each process, that processes of several machines could not read."""
    if settings.weights != "best" or trainer.world_size == 1 or not saves_folders(trainer):
        return
    users = [c.dirpath for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.dirpath]
    folders = [Path(folder) for folder in (*users, dirpath or trainer.default_root_dir)]
    unseen = [folder for folder in folders if not all_see(trainer.strategy, folder)]
    if unseen:
        raise ValueError(
            f'`weights="best"` reads a checkpoint of which each process has a piece, in {unseen[0]}, and not all of '
            "them see that folder. Put it where all machines share it; or save whole checkpoints, "
            '`ModelParallelStrategy(save_distributed_checkpoint=False)`; or use `weights="last"`.'
        )


def _check_elsewhere(dirpath: Path, count: int, ranks: Ranks) -> None:
    """Refuse a campaign that is on the disk of another process than the first, which would not go on with it.

    Raises:
        ValueError: On every rank, with the machine that has it.
    """
    of_ranks = ranks.gather((count_events(dirpath), socket.gethostname(), str(dirpath.absolute())))
    counted, machine, folder = max(of_ranks, key=lambda each: each[0])  # the first that has most
    if counted > count:
        rank = [each[0] for each in of_ranks].index(counted)
        raise ValueError(
            f"Process {rank}, on {machine!r}, has {counted} events of a campaign in {folder}, and the first process, "
            f"on {of_ranks[0][1]!r}, {count}: the first reads and writes campaigns, and was on another machine before."
            " Begin with that machine as the first, put the campaign into a folder that all machines share, or remove "
            "the other one."
        )


def _read_events(dirpath: Path | None, alone: contextlib.ExitStack, *, resume: bool) -> list[Event] | None:
    """Return the events of the campaign that is gone on with; None where one begins."""
    if dirpath is None:
        return None
    if not Campaign.exists(dirpath):
        Campaign.check_free(dirpath)
        return None
    if not resume:
        refuse_to_begin(dirpath)
    alone.enter_context(one_launch(dirpath))
    return Campaign.read_events(dirpath)


def _try_initial_set(
    findings: Findings, project: Project, settings: Settings, ranks: Ranks, *, has_oracle: bool
) -> tuple[list[int], dict[int, Any]]:
    """Choose the initial set, see whether it can be paid, and take its labels on trial, where a dataset has them."""
    method = settings.initial_by
    if method == "balanced" and not has_oracle:  # whose labels they are is not known
        return [], {}
    initial: list[int] | None = None
    if not isinstance(method, Acquisition):
        initial = _of_first(findings, ranks, lambda: choose_by_name(project, settings, method))
    elif _agree(findings, not findings.errors):  # it may take a pass over all samples
        initial = choose_by_scores(project, settings, ranks, method)
    if initial is None:
        return [], {}
    can_pay = has_oracle and findings.of(settings.check_prices, initial)
    has_labels = has_oracle and project.oracle.simulated
    labels = _of_first(findings, ranks, lambda: initial_labels(project, initial)) if has_labels else {}
    if can_pay and labels and settings.asks_for_regions:  # whose price is known now
        encode = project.task.encode_label
        findings.of(settings.check_prices, initial, {i: encode(label) for i, label in labels.items()})
    return initial, labels or {}


def _of_first(findings: Findings, ranks: Ranks, function: Callable[[], T]) -> T | None:
    """Call a function on the first rank; None on every rank if it refused something, which the first finds."""

    def call() -> T | None:
        with findings.of_block():
            return function()
        return None

    return ranks.first(call)


def _agree(findings: Findings, can_go_on: bool) -> bool:
    """Whether all ranks can go on; each takes what the others found, so that all of them end with the same error."""
    found = [str(error) for error in findings.errors]
    of_ranks = gather_objects((can_go_on, found))
    for text in dict.fromkeys(text for _, said in of_ranks for text in said):
        findings.refuse_if(text not in found, text)
    return all(can for can, _ in of_ranks)


def _rehearse(project: Project, settings: Settings, *, new: bool) -> None:
    """Score a few samples, so that what cannot work is refused before anything trains."""
    task = project.task
    acquisition = _as_it_scores(project, settings)
    size = len(project.data.samples)
    count_classes = "classes" in acquisition.requires and task.num_classes is None
    needed = acquisition.sees_samples or acquisition.requires or task.always_checks
    tried: list[Acquisition] = [acquisition] if (needed if new else count_classes) else []
    if new and hasattr(project.model, "on_first_inputs"):
        tried = [_FirstInputs(), *tried]
        tried[0].bind(task, project.oracle)
    for each in tried:
        count = min(size, rehearsed(project, each))
        order = Pool(size).candidates(generator=generator(settings.seed, "rehearsal"))
        some = torch.tensor(readable(project.data.pool_set, one_by_one(order), count), dtype=torch.long)
        rehearse(project, each, some, seed=derive_seed(settings.seed, 0, "score"))
    if new:
        check_company(project, acquisition, seed=settings.seed)


def _as_it_scores(project: Project, settings: Settings) -> Acquisition:
    """Return what a query scores with: the acquisition, or what picks regions by it."""
    acquisition, task = project.acquisition, project.task
    if not settings.asks_for_regions:
        return acquisition
    how_many = HowMany(settings.query_size, task.per_image, images=len(project.data.samples))
    return RegionPicker(acquisition, how_many, lambda index: None, seed=settings.seed, round=0)


class _FirstInputs(Acquisition):
    """Shows the model some samples, so that what it makes of data is there before its weights are kept."""

    requires = frozenset[str]()

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        with torch.inference_mode(False):  # in which a predict pass is, and parameters made in it are of no use
            inputs = pytree.tree_map_only(Tensor, torch.clone, self.task.inputs(batch))
            model.on_first_inputs(inputs, self.task.outputs)
        return {}


def _check_learnt(findings: Findings, project: Project) -> None:
    """Find what is known only after the rehearsal: a model without parameters, a number of classes unknown."""
    acquisition, task = project.acquisition, project.task
    findings.of(check_parameters, project.model)
    findings.of(check_classes_known, acquisition, task)


def _find_again(campaign: Campaign, project: Project) -> None:
    """Have the ledger go by where its samples are today, and refuse what training needs and is not there."""
    move = campaign.ranks.first(Search.among(campaign, project.data).move)
    if move is not None:
        campaign.record("moved", lambda: move)


def _begin(
    project: Project, ranks: Ranks, dirpath: Path | None, alone: contextlib.ExitStack, options: dict[str, Any]
) -> Campaign:
    """Put the first event and the initial weights on disk."""
    warn_of_weights_left(project.model)
    weights: State = whole(project.model.state_dict())
    check_plain(weights)
    size = project.data.samples.size

    def create() -> tuple[Path, list[Event]]:
        folder = _new_folder(project.trainer) if dirpath is None else dirpath
        states = {INITIAL_WEIGHTS: {"state_dict": weights, "buffers": unsaved_buffers(project.model)}}
        root = project.data.sample_keys.root
        annotations = annotations_of(project)
        said: dict[str, Any] = {"options": options, "root": root, "annotations": annotations}
        beside = {"versions": versions(), "weights": digests_of_parts(weights)}
        alone.enter_context(one_launch(folder))
        return folder, Campaign.create(folder, size=size, states=states, beside=beside, **said)

    folder, events = ranks.first(create)
    return Campaign(folder, events, ranks)


def _new_folder(trainer: pl.Trainer) -> Path:
    """Make the next folder, which a campaign that begins at the same moment does not get as well."""
    parent = Path(trainer.default_root_dir) / "al"
    taken = [int(p.name[8:]) for p in parent.glob("version_*") if p.name[8:].isdigit()]
    for number in itertools.count(max(taken, default=-1) + 1):
        with contextlib.suppress(FileExistsError):
            folder = parent / f"version_{number}"
            folder.mkdir(parents=True)
            break
    return folder
