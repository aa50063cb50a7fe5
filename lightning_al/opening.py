"""How a campaign begins or is read back: everything is checked before anything trains or is written."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al import _compat
from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign import INITIAL_ROUND, INITIAL_WEIGHTS, Campaign, state_file
from lightning_al.checks import check_budget, check_parameters, check_same_campaign, check_shapes, check_sizes
from lightning_al.distributed import Ranks, end_process_group_at_exit
from lightning_al.events import Event
from lightning_al.fitting import RepeatedFit
from lightning_al.gradients.scoring_mode import batch_size_of
from lightning_al.initial import choose_initial
from lightning_al.options import first_line
from lightning_al.oracle import sort_answers
from lightning_al.pool import Pool
from lightning_al.querying import pick_initial, score
from lightning_al.randomness import derive_seed, generator
from lightning_al.redrawing import check_redrawable
from lightning_al.session import Project, Settings
from lightning_al.weights import check_plain, load_weights, whole, whole_copy


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
    options = _describe(settings.described, acquisition)

    ranks = Ranks(strategy)
    events = ranks.first(lambda: _read(dirpath, resume))
    new = events is None
    if new:
        check_sizes(settings.described, size)
    initial: list[int] = []
    labels: dict[int, Any] = {}
    if events is None or len(events) == 1:  # a kill may come between the first two events
        initial = _choose(project, settings, ranks, size)
        data.check_training(len(initial))
        check_budget(settings.budget, oracle, initial)
        if oracle.simulated:
            labels = ranks.first(lambda: _initial_labels(project, initial))
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


def begin_fits(
    project: Project, settings: Settings, campaign: Campaign, fits: RepeatedFit | None
) -> tuple[RepeatedFit, bool]:
    """Prepare the repeated fits, and give a resumed campaign the weights and counters it had.

    Args:
        project: Its model, datamodule and Trainer.
        settings: The loop's.
        campaign: The open campaign.
        fits: Those of an earlier call, if any; kept if they are of the same Trainer and model.

    Returns:
        The fits, and whether the model has the weights of the campaign's last fit.

    Raises:
        FileNotFoundError: If the weights are gone that the next round must start from.
    """
    trainer, model, data = project.trainer, project.model, project.data
    if fits is None or fits.trainer is not trainer or fits.model is not model:
        fits = RepeatedFit(trainer, model, data, reset=settings.reset, seed=settings.seed, dirpath=campaign.dirpath)
        counters = (campaign.last_fit or {}).get("steps")
        if counters is not None and _compat.steps(trainer)["optimizer"] == 0:
            _compat.restore_steps(trainer, counters, automatic=model.automatic_optimization)

    campaign.ranks.first(campaign.remove_old_states)
    initial = campaign.shared_state(INITIAL_WEIGHTS)
    if initial is None:
        raise FileNotFoundError(f"{campaign.dirpath / INITIAL_WEIGHTS} is missing. Restore it from a copy.")
    _put_weights(model, initial, campaign.dirpath / INITIAL_WEIGHTS)
    fits.initial = initial["state_dict"]
    if campaign.last_fit is None:
        return fits, False
    name = state_file("weights", campaign.last_fit)
    last = campaign.shared_state(name)
    if last is None:
        if settings.reset in ("warm", "continue"):
            raise FileNotFoundError(
                f"{campaign.dirpath / name} is missing, and `reset={settings.reset!r}` goes on from these weights."
            )
        return fits, False
    _put_weights(model, last, campaign.dirpath / name)
    fits.optimizer_states = last.get("optimizer_states")
    fits.scaler_state = last.get("scaler_state")
    return fits, True


def _put_weights(model: pl.LightningModule, state: dict[str, Any], file: Path) -> None:
    before = whole_copy(model.state_dict())
    try:
        load_weights(model, state["state_dict"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        load_weights(model, before)  # some of it may have been loaded
        raise ValueError(
            f"{file} holds the weights of another model than this {type(model).__name__}. Go on with the model that "
            f"the campaign began with, or begin another in another `dirpath`. ({first_line(error)})"
        ) from None


def _describe(options: dict[str, Any], acquisition: Acquisition) -> dict[str, Any]:
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


def _choose(project: Project, settings: Settings, ranks: Ranks, size: int) -> list[int]:
    """Return the initial set, the same on every rank."""
    data, task = project.data, project.task
    chooser = settings.initial_by
    if not isinstance(chooser, Acquisition):
        dataset = data.train_set
        return ranks.first(
            lambda: choose_initial(settings.initial, chooser, Pool(size), dataset, task, seed=settings.seed),
        )
    assert isinstance(settings.initial, int)
    return list(pick_initial(project, settings, Pool(size), settings.initial, "initial")["indices"])


def _initial_labels(project: Project, initial: list[int]) -> dict[int, Any]:
    """Take the initial labels on trial, before there is a campaign that starting over would be refused for."""
    dataset, task = project.data.train_set, project.task
    samples = {i: dataset[i] for i in initial}
    answers = sort_answers({i: task.targets(sample) for i, sample in samples.items()}, task)
    answers.check()
    for index, value in list(answers.told.items())[:1]:
        task.with_label(samples[index], task.decode_label(value))
    batch = project.data.collate([samples[i] for i in initial[:2]])
    try:
        task.inputs(batch), task.targets(batch)
    except (TypeError, KeyError, IndexError) as error:
        raise TypeError(
            f"The train loader's `collate_fn` makes batches in which the {type(task).__name__} finds no inputs or no "
            f"targets: {error}"
        ) from None
    return {index: task.decode_label(value) for index, value in answers.told.items()}


def _new_folder(trainer: pl.Trainer) -> Path:
    parent = Path(trainer.default_root_dir) / "al"
    taken = [int(p.name[8:]) for p in parent.glob("version_*") if p.name[8:].isdigit()]
    return parent / f"version_{max(taken, default=-1) + 1}"


def _create(dirpath: Path, size: int, options: dict[str, Any], weights: dict[str, Any]) -> tuple[str, list[Event]]:
    return str(dirpath), Campaign.create(
        dirpath, size=size, options=options, states={INITIAL_WEIGHTS: {"state_dict": weights}}
    )
