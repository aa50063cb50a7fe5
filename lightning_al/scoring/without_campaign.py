"""Scores without a campaign: a model, samples and an acquisition are enough."""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from lightning_al import _compat
from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.states import State
from lightning_al.checks import Findings, check_count, check_flag, check_that, check_type
from lightning_al.data.for_trainer import set_model_up
from lightning_al.data.samples_alone import Labelled, SamplesAlone, Source
from lightning_al.distributed.files import file_of_first
from lightning_al.distributed.randomness import generator, shuffled
from lightning_al.distributed.ranks import Ranks, begin_processes, end_process_group
from lightning_al.fitting.setup_guard import weights_kept_in_setup
from lightning_al.inference.precision import FULL, check_pool_precision
from lightning_al.inference.trainer import quiet_trainer
from lightning_al.oracle.simulated import DatasetOracle
from lightning_al.scoring.company import check_company
from lightning_al.scoring.kept_passes import KeptPasses
from lightning_al.scoring.pick import Candidates, learn, pick
from lightning_al.scoring.rehearsal import check_classes_known, rehearse, rehearsed
from lightning_al.scoring.scores import Scores
from lightning_al.scoring.streams import check_scores_alone, score_stream
from lightning_al.scoring.subject import Subject, check_model, check_package, check_strategy, find_limit
from lightning_al.scoring.unreadable import find_unreadable, without
from lightning_al.storage.weights import load_weights_of
from lightning_al.tasks.base import Task
from lightning_al.tasks.classification import ClassificationTask
from lightning_al.words import shown

CACHE_GB = 1.0
"""Of what the model gives of samples, how much is kept where a folder for it is given."""


def score(
    model: pl.LightningModule,
    dataset: Source,
    acquisition: Acquisition,
    k: int | None = None,
    *,
    task: Task | None = None,
    labelled: Labelled = False,
    ckpt_path: str | Path | None = None,
    batch_size: int | None = None,
    pool_precision: str | int = FULL,
    trainer: pl.Trainer | None = None,
    skip_unreadable: bool = False,
    cache: str | Path | None = None,
    seed: int = 0,
) -> Scores:
    """Score samples with a trained model and pick some, without a campaign, training data or labels.

    Scores and picks are those that the first query of a campaign with this seed gives for the same weights, candidates
    and labelled samples. Each sample is read once, without labels being looked at, on all processes of the Trainer.
    Samples are read in a random order, by which ties are broken.

    Args:
        model: The module, trained.
        dataset: A map-style dataset; a ``DataLoader``, whose batch size, collate function and workers are kept; or a
            datamodule, of which the samples are those of ``unlabelled_dataset()``, ``predict_dataloader()`` or
            ``pool_dataset()``, the first that it has. An ``IterableDataset`` may have any number of samples, each of
            which carries a key; its best ``k`` are kept, and are all that is returned, the best first.
        acquisition: Which samples are wanted. Those that learn from labelled samples need ``labelled``;
            ``QueryByCommittee``, which needs several fits, is refused.
        k: How many to pick; None: none, for scores alone. Of a stream: how many are kept.
        task: What a batch means. Default: :class:`~lightning_al.tasks.ClassificationTask`.
        labelled: What is labelled already, which acquisitions that compare with it look at: a dataset; or indices of
            ``dataset``, which are then not scored; or True, the training set of a datamodule.
        ckpt_path: A checkpoint of Lightning's, or a plain ``state_dict``, to load first; the model keeps these weights.
            No code in it is run.
        batch_size: Samples of a batch; default the loader's, 64 where there is none.
        pool_precision: ``"32"``, or ``"trainer"``: forward passes in the Trainer's precision, as in a campaign.
        trainer: Whose accelerator, devices, strategy and precision are used. Default: one on one device, without logs.
        skip_unreadable: Whether samples that cannot be read are named and left out, for which all samples are read once
            before. Otherwise the first of them is an error that names it.
        cache: A campaign's folder, or any: what the model gives of samples, logits and features, is taken from its
            ``cache`` and kept there, up to a gigabyte, as long as weights and inputs are the same. None: nothing is.
        seed: Decides all draws.

    Returns:
        Index, key and score of all samples, and the picks in order; the same on every process.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If arguments do not fit together, the checkpoint is another model's, or ``k`` is more than there
            are samples.
        UnreadableSampleError: If a sample cannot be read, unless they are skipped.

    Example:
        >>> from lightning_al.acquisition import Margin
        >>> from lightning_al.zoo import Classifier
        >>> photos = torch.utils.data.TensorDataset(torch.randn(20, 4))
        >>> quiet = pl.Trainer(accelerator="cpu", logger=False, barebones=True)
        >>> scores = score(Classifier(torch.nn.Linear(4, 3), num_classes=3), photos, Margin(), k=5, trainer=quiet)
        >>> scores
        Scores(20 samples, 5 picks)
        >>> scores.picks[0] == int(scores.index[scores.score.argmax()])
        True
    """
    model = _compat.lightning_module(model)
    task = ClassificationTask() if task is None else task
    with Findings() as findings:
        findings.of(check_model, model)
        findings.of(_check_source, dataset)
        findings.of(check_count, "k", k, optional=True)
        findings.of(check_type, "task", task, Task, "a `Task`")
        if findings.of(_check_labelled, labelled, dataset):
            findings.of(_check_acquisition, acquisition, labelled)
        findings.of(_check_file, ckpt_path)
        findings.of(check_count, "batch_size", batch_size, optional=True)
        findings.of(check_pool_precision, pool_precision)
        if trainer is not None:
            findings.of(_check_trainer, trainer)
        findings.of(check_flag, "skip_unreadable", skip_unreadable)
        findings.of(_check_cache, cache)
        findings.of(check_count, "seed", seed, 0)
    trainer = quiet_trainer(progress=True) if trainer is None else trainer
    data = SamplesAlone(dataset, task=task, labelled=labelled, batch_size=batch_size)
    options = _Options(k, _path_of(ckpt_path), skip_unreadable=skip_unreadable, cache=_path_of(cache), seed=seed)
    subject = _Subject(trainer, model, data, task, pool_precision=pool_precision)
    if not _compat.launches_copies(trainer):
        scores: Scores = _compat.launch(trainer, functools.partial(_scores, subject, acquisition, options), model)
        return scores
    with tempfile.TemporaryDirectory(prefix="lightning_al_scores_") as folder:
        file = Path(folder) / "scores.pt"
        _compat.launch(trainer, functools.partial(_scores_of_copy, subject, acquisition, options, file), model)
        outcome = torch.load(file, weights_only=True)
    if outcome["key"] is not None:
        return Scores(**outcome)
    data.begin(trainer)  # in this process, for the keys
    try:
        return Scores(**{**outcome, "key": data.keys_of(outcome["index"])})
    finally:
        data.close()


@dataclass(frozen=True)
class _Options:
    k: int | None
    ckpt_path: Path | None
    skip_unreadable: bool
    cache: Path | None
    seed: int


@dataclass(frozen=True)
class _Subject(Subject):
    data: SamplesAlone


def _scores(subject: _Subject, acquisition: Acquisition, options: _Options, model: pl.LightningModule) -> Scores:
    """Score inside a launch of the Trainer's processes."""
    subject = replace(subject, model=model)
    data = subject.data
    _compat.run_in_place(subject.trainer)
    try:
        with (
            _compat.no_reseeding(),
            _compat.no_found_checkpoints(subject.trainer),
            weights_kept_in_setup(model),
        ):
            _set_up(subject, options.ckpt_path)
            acquisition.check_fitted(model)
            acquisition.bind(subject.task, DatasetOracle())
            if data.stream is not None:
                k = _check_stream(subject, acquisition, options)
                return score_stream(subject, acquisition, data.stream, k, seed=options.seed)
            acquisition.check_pool(len(data.pool_set))  # type: ignore[arg-type]
            return _scored(subject, acquisition, options)
    finally:
        acquisition.unbind()
        data.close()


def _scores_of_copy(
    subject: _Subject, acquisition: Acquisition, options: _Options, file: Path, model: pl.LightningModule
) -> None:
    """Score in a copy of the launching process, and leave what came of it in a file; a pipe would hold too little."""
    scores = _scores(subject, acquisition, options, model)
    strategy = subject.trainer.strategy
    if strategy.is_global_zero:
        outcome = {name: getattr(scores, name) for name in ("index", "score", "picks", "unreadable")}
        torch.save({**outcome, "key": None if subject.data.stream is None else list(scores.key)}, file)
    strategy.barrier("end of scoring")
    end_process_group()


def _set_up(subject: _Subject, ckpt_path: Path | None) -> None:
    """Set processes, data and model up as at the start of a prediction, and load the weights."""
    trainer, model, data = subject.trainer, subject.model, subject.data
    begin_processes(trainer, model)
    data.begin(trainer)
    set_model_up(trainer, model, data, "predict")
    if ckpt_path is not None:
        with file_of_first(trainer.strategy, ckpt_path) as file:
            load_weights_of(model, file)


def _scored(subject: _Subject, acquisition: Acquisition, options: _Options) -> Scores:
    """Score and pick, where all is set up."""
    ranks, seed, data = Ranks(subject.trainer.strategy), options.seed, subject.data
    candidates, labelled = data.candidates, data.labelled
    unreadable: dict[int, str] = {}
    if options.skip_unreadable:
        unreadable = find_unreadable(subject, torch.cat([candidates, labelled]))
        candidates, labelled = without(candidates, unreadable), without(labelled, unreadable)
    _check_k(options.k, len(candidates))
    data.check_batches(candidates)
    # The order, and all seeds, are those of a campaign's first query.
    order = shuffled(candidates, len(data.pool_set), generator(seed, 0, "candidates"))  # type: ignore[arg-type]
    asked = Candidates(order, labelled, seed, round=0, purpose=(0, "select"))
    few = asked.indices[: rehearsed(subject, acquisition)]
    rows = rehearse(subject, acquisition, few, seed=asked.scoring_seed)
    check_classes_known(acquisition, subject.task)
    if options.k is None and not ranks.first(lambda: acquisition.gathers and "score" in rows):
        raise ValueError(
            f"`{type(acquisition).__name__}` gives no scores, it picks samples that go together: say how many, `k=`."
        )
    check_company(subject, acquisition, seed=seed, indices=asked.indices)
    with KeptPasses(options.cache or Path(), CACHE_GB if options.cache else 0).used(subject, ranks):
        learn(subject, acquisition, asked, keep=_make, refit=_refuse_to_refit)
        picked = pick(subject, ranks, acquisition, asked, options.k or 0)
    all_scores = ranks.first(lambda: picked.all_scores)
    return Scores.of(asked.indices, all_scores, picked.indices, data.keys_of, unreadable=unreadable)


def _check_stream(subject: _Subject, acquisition: Acquisition, options: _Options) -> int:
    """Refuse what a stream cannot be scored with, and return how many of its samples are kept."""
    with Findings() as findings:
        findings.of(check_scores_alone, acquisition, subject.task)
        findings.refuse_if(
            options.k is None, "The samples are a stream, of which the best are kept: say how many, `k=`."
        )
        findings.refuse_if(
            options.skip_unreadable,
            "`skip_unreadable=True` reads all samples once before, and a stream comes once. Let it leave out what "
            "cannot be read.",
        )
        findings.refuse_if(
            subject.data.has_labelled,
            "`labelled=` is of acquisitions that look at labelled samples, which none does that a stream can be scored "
            "with. Leave it out, and what is labelled out of the stream.",
        )
    return options.k or 0


def _make(name: str, make: Callable[[], State]) -> State:
    """Return what is learnt, which is of no use later."""
    return make()


def _refuse_to_refit(member: int, redraw: bool) -> State:
    raise ValueError("This acquisition fits the model again, which only a campaign can: use an `ActiveLearningLoop`.")


# -- what cannot be scored -----------------------------------------------------------------------------------------


def _check_source(dataset: Any) -> None:
    is_source = any(hasattr(dataset, name) for name in ("__getitem__", "__iter__", "predict_dataloader"))
    is_source = is_source and not (isinstance(dataset, (list, tuple)) and any(map(_is_loader, dataset[:1])))
    check_that(is_source, "dataset", dataset, "a dataset, a `DataLoader` or a `LightningDataModule`")
    check_package("dataset", dataset)


def _is_loader(value: Any) -> bool:
    return isinstance(value, DataLoader)


def _check_labelled(labelled: Any, dataset: Any) -> None:
    is_list = hasattr(labelled, "__getitem__") and not isinstance(labelled, (str, dict))
    check_that(
        isinstance(labelled, bool) or is_list, "labelled", labelled, "a dataset, a list of dataset indices, or a flag"
    )
    if labelled is True and not isinstance(dataset, pl.LightningDataModule):
        raise ValueError("`labelled=True` is the training set of a datamodule. Give the labelled samples: a dataset.")


def _check_acquisition(acquisition: Any, labelled: Any) -> None:
    check_type("acquisition", acquisition, Acquisition, "an acquisition, as `Entropy()`")
    name = type(acquisition).__name__
    if acquisition.needs_of_campaign:
        raise ValueError(
            f"`{name}` needs {acquisition.needs_of_campaign}, which a campaign makes and a score of one model has not. "
            "Run it in an `ActiveLearningLoop`, or take `BALD`, whose members are dropout masks of one model."
        )
    if "labels" in acquisition.requires and (labelled is False or (labelled is not True and len(labelled) == 0)):
        raise ValueError(
            f"`{name}` learns from labelled samples, and there are none. Give them: `labelled=`, a dataset or indices "
            "(`--labelled`: the training set)."
        )


def _path_of(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _check_cache(cache: Any) -> None:
    check_that(cache is None or isinstance(cache, (str, Path)), "cache", cache, "a folder or None")
    if cache is not None and (not str(cache) or (Path(cache).exists() and not Path(cache).is_dir())):
        raise NotADirectoryError(f"`cache={shown(str(cache))}` must be a folder: a campaign's, or any.")


def _check_file(ckpt_path: Any) -> None:
    check_that(ckpt_path is None or isinstance(ckpt_path, (str, Path)), "ckpt_path", ckpt_path, "a path or None")
    if ckpt_path is not None and Ranks().is_first and not Path(ckpt_path).is_file():  # the others are sent it
        found = sorted(Path(ckpt_path).glob("*.ckpt"))
        in_it = f"it is a folder, with {shown(str(found[0]))} in it" if found else "there is no such file"
        raise FileNotFoundError(f"`ckpt_path={shown(str(ckpt_path))}`: {in_it}.")


def _check_trainer(trainer: Any) -> None:
    check_package("trainer", trainer)
    check_type("trainer", trainer, pl.Trainer, "a `lightning.Trainer`")
    check_strategy(trainer)
    with Findings() as findings:
        findings.refuse_if(bool(trainer.fast_dev_run), "`fast_dev_run` hides most of the samples. Remove it.")
        if not trainer.fast_dev_run:
            find_limit(findings, trainer, "give a `torch.utils.data.Subset` of them")


def _check_k(k: int | None, size: int) -> None:
    if size == 0:
        raise ValueError("No sample can be read, so there is nothing to score.")
    if k is not None and k > size:
        raise ValueError(f"`k={k}` is more than the {size} samples that there are to pick from. Ask for fewer.")
