"""Opens a campaign that kept its weights, to be looked at: data and model as at its start, its samples found again."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_al import _compat
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.events import stamped
from lightning_al.campaign.moves import Search
from lightning_al.checks import Findings, check_that, check_type
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.for_trainer import set_model_up
from lightning_al.data.loaders import ModuleLoaders
from lightning_al.distributed.randomness import draws_undone
from lightning_al.distributed.ranks import begin_processes
from lightning_al.fitting.beside_weights import BesideWeights
from lightning_al.inference.mode import scoring_mode
from lightning_al.inference.module_state import flags_kept, modules_of
from lightning_al.inference.trainer import quiet_trainer
from lightning_al.oracle.base import Oracle, truth_of
from lightning_al.oracle.truth import Truth
from lightning_al.report.curves import method_of
from lightning_al.report.diagnostics.campaign import KeptCampaign
from lightning_al.report.diagnostics.rounds import chosen_rounds, rounds_kept
from lightning_al.storage.weights import load_weights, whole_copy
from lightning_al.tasks.base import Task
from lightning_al.tasks.classification import ClassificationTask


@contextlib.contextmanager
def open_campaign(
    dirpath: str | Path,
    model: pl.LightningModule,
    datamodule: pl.LightningDataModule | None = None,
    *,
    task: Task | None = None,
    rounds: Sequence[int] | None = None,
    name: str | None = None,
    pool: str = "auto",
    oracle: Oracle | None = None,
    batch_size: int | None = None,
    trainer: pl.Trainer | None = None,
) -> Iterator[KeptCampaign]:
    """Open a campaign that kept its weights (``keep_weights=True``); nothing of it is changed.

    Args:
        dirpath: Its folder.
        model: A module like the one that it trained; it has its own weights again in the end.
        datamodule: The project's. Default: the loaders that the module defines.
        task: As the loop's.
        rounds: Numbers of the rounds to look at; -1 is the last. Default: all that have their weights.
        name: What tables and pictures call it. Default: that of the folder, or of the one above ``seed_0``.
        pool: As the loop's.
        oracle: As the loop's: a simulated one says the labels of samples that nobody asked for. Default: they are the
            data's own.
        batch_size: Of passes over samples. Default: the train loader's.
        trainer: Says on which device. Default: one that takes a GPU where there is one.

    Yields:
        The campaign.

    Raises:
        FileNotFoundError: If there is no campaign.
        TypeError: If model or datamodule are not Lightning's.
        ValueError: If weights were not kept, or samples cannot be found again.
    """
    model = _compat.lightning_module(model)
    with Findings() as findings:
        findings.of(check_type, "model", model, pl.LightningModule, "a `lightning.LightningModule`")
        users = ModuleLoaders(model) if datamodule is None else datamodule
        findings.of(check_type, "datamodule", users, pl.LightningDataModule, "a `lightning.LightningDataModule`")
        findings.of(check_that, isinstance(dirpath, (str, Path)), "dirpath", dirpath, "the folder of a campaign")
    dirpath = Path(dirpath)
    events = Campaign.read_events(dirpath)
    chosen_rounds(dirpath, rounds_kept(dirpath, events), rounds)  # before any data are read
    task = ClassificationTask() if task is None else task
    trainer = quiet_trainer() if trainer is None else trainer
    data = ActiveDataModule(users, task=task, pool_source=pool, pool_batch_size=batch_size)
    try:
        _set_up(data, model, trainer, Campaign(dirpath, events[:1]).options.get("evaluate"))
        campaign = Campaign(dirpath, events)
        move = Search.among(campaign, data).move()  # since the campaign was last opened
        if move is not None:
            event = stamped("moved", move)
            campaign.apply(event)
            events.append(event)
        data.follow(campaign.pool, campaign.labels, own=campaign.own_labels)
        every = rounds_kept(dirpath, events)
        device = trainer.strategy.root_device
        with _left_alone(model):
            kept = KeptCampaign(
                name=method_of(dirpath, dirpath) if name is None else name,
                dirpath=dirpath,
                model=model.to(device),
                data=data,
                task=task,
                ledger=campaign,
                rounds=chosen_rounds(dirpath, every, rounds),
                all_rounds=every,
                device=device,
                before=BesideWeights(model),
                truth=_truth_elsewhere(oracle, data, task),
            )
            _show_samples(kept)
            yield kept
    finally:
        data.close()


def _truth_elsewhere(oracle: Oracle | None, data: ActiveDataModule, task: Task) -> Truth | None:
    """Return where a simulated oracle has its labels from, unless it is the data themselves, of which they are read."""
    truth = truth_of(oracle, data, task)
    is_own = truth is not None and truth.dataset is data.samples.pool.label_set and truth.task is task
    return None if is_own else truth


def _set_up(data: ActiveDataModule, model: pl.LightningModule, trainer: pl.Trainer, evaluate: str | None) -> None:
    """Set data and model up as at the start of a campaign."""
    begin_processes(trainer, model)
    data.begin(trainer)
    set_model_up(trainer, model, data, "fit")
    data.open(trainer, model, evaluate)


def _show_samples(campaign: KeptCampaign) -> None:
    """Let the model make what it makes of first samples, and the task see its outputs, before weights are loaded."""
    model, task = campaign.model, campaign.task
    some = campaign.all_rounds[0].labelled[:2]
    some = some if len(some) else campaign.data.samples.known_indices[:2]
    pool_set: Any = campaign.data.pool_set
    batch = campaign.data.to_device(campaign.data.collate([pool_set[i] for i in some.tolist()]), model, campaign.device)
    if hasattr(model, "on_first_inputs"):
        with draws_undone():
            model.on_first_inputs(task.inputs(batch), task.outputs)
    with scoring_mode(model), torch.no_grad():
        task.check(model, batch)


@contextlib.contextmanager
def _left_alone(model: pl.LightningModule) -> Iterator[None]:
    """Give the model its weights, flags and place back in the end."""
    state, beside = whole_copy(model.state_dict()), BesideWeights(model)
    with flags_kept(modules_of(model)):
        try:
            yield
        finally:
            model.to("cpu")
            # What the model made of first samples had no weights before, and keeps those that it has.
            load_weights(model, {**whole_copy(model.state_dict()), **state})
            beside.put_back()
