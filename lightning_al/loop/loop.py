"""The public face of the package: a loop that runs a campaign, asks, and is told."""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl

from lightning_al import _compat
from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.history import History
from lightning_al.campaign.told import TELL
from lightning_al.checks import Findings, check_count, check_type
from lightning_al.completion import OffersLess
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.pool import Indices, Pool
from lightning_al.fitting.reset import Reset
from lightning_al.loop import algorithm
from lightning_al.loop.known import find_without_known
from lightning_al.loop.label import answers_of, release, write_answers
from lightning_al.loop.launched import Launched
from lightning_al.loop.parts import prices_of
from lightning_al.loop.project import datamodule_of, find_in_model, find_no_train_loader
from lightning_al.loop.query import Asking
from lightning_al.loop.race import Racers, racers_of
from lightning_al.loop.session import Session
from lightning_al.loop.settings import OptionsOfLoop, Settings, Stop, check_dirpath
from lightning_al.loop.standing import SaysItsState
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.simulated import DatasetOracle
from lightning_al.scoring.race_result import RaceResult
from lightning_al.scoring.scores import Scores, read_scores
from lightning_al.scoring.subject import check_model
from lightning_al.tasks.base import Task
from lightning_al.tasks.classification import ClassificationTask


class ActiveLearningLoop(SaysItsState, Launched, OptionsOfLoop, OffersLess):
    """Runs an active-learning campaign on an existing Lightning project.

    Each round fits the model on what is labelled, evaluates it, scores the unlabelled samples with the acquisition
    among the Trainer's callbacks, and asks the oracle for the labels of the best. One Trainer serves all rounds; each
    round is to it, to the callbacks and to the module what the first ``trainer.fit`` is: epochs and ``global_step``
    count from zero, and ``reset`` says with which weights. The loggers' step goes on growing.

    Args:
        model: The user's module, or what ``torch.compile`` made of it: it is trained compiled and scored as written.
        datamodule: The user's datamodule; :class:`~lightning_al.Loaders` of loaders that are there already; None: the
            loaders that the module defines itself.
        query_size: Labels asked for per round. Where the task asks for regions of images, how many of these, of each
            image or of the whole pool (``per_image``); a number below 1 is a share of the pixels.
        initial: How many samples are labelled before round 0, or which (dataset indices); ``"all"`` needs ``rounds=0``.
            With an ``unlabelled_dataset()`` it may be 0; is the training set empty, ``query_size`` are asked for first.
        initial_by: How they are chosen: ``"random"``; ``"balanced"`` over the classes (simulated campaigns only); or an
            acquisition that needs no trained model, as ``TypiClust(encoder=...)``.
        rounds: Number of queries; the history has one entry more, for the last fit. None: no limit.
        budget: What may be spent on labels, the initial ones included: a label costs 1, unless the oracle has other
            prices (``Oracle.cost``); where regions are asked for, each pixel costs as much. None: no limit.
        stop: Ends the campaign by its results: :class:`~lightning_al.stopping.MetricReached`,
            :class:`~lightning_al.stopping.MetricPlateau`, or any function of :attr:`history`. With several of
            ``rounds``, ``budget`` and ``stop`` the first that is reached ends it; with none, the empty pool.
        subpool_size: Score only this many random candidates each round. None: all.
        known_share: The share of each training batch that comes from what was labelled before, the training set beside
            an ``unlabelled_dataset()``; the known samples come first in each batch. An epoch has as many batches as
            without; of what is scarcer samples come several times. None: batches hold samples as they come.
        reset: What rounds after the first start from: ``"initial"``, the same initial weights; ``"warm"``, the
            weights as they are, with a fresh optimizer; ``"continue"``, weights and optimizer state; ``"fresh"``, new
            random weights through ``reset_parameters``; or a function of the model.
        oracle: Where labels come from. Default: the dataset's own hidden labels.
        task: What a batch means. Default: :class:`~lightning_al.tasks.ClassificationTask`.
        evaluate: Where ``metrics`` come from: ``"validate"`` or ``"test"``; None: rounds have none, and neither loaders
            nor steps for them are needed.
        weights: Which weights of a fit are scored and reported: ``"last"``, or ``"best"`` of its ``ModelCheckpoint``.
        keep_weights: Whether each round's stay on disk, a ``state_dict`` each, for diagnoses; else the last round's do.
        pool: Where un-augmented inputs come from, see :class:`~lightning_al.ActiveDataModule`.
        pool_batch_size: Batch size for scoring; default the train loader's.
        cache_gb: How many gigabytes of what the model gives of samples, logits and features, :meth:`ask` and
            :meth:`race` may keep in ``dirpath/cache`` for the next question without new labels; 0: none. :meth:`run`,
            every pass of which is of other weights, keeps none.
        pool_precision: Of the model's forward passes in scoring: ``"32"``, float32 at least, without autocast; or
            ``"trainer"``, the Trainer's, of which logits and features are raised to float32. What scores make of them,
            and gradients of the model, are in float32 at least in any case.
        seed: Decides the initial set, sub-pools, ties and the order of training batches.
        dirpath: The campaign's folder. Default: a new ``al/version_N`` below the Trainer's ``default_root_dir``.

    Raises:
        TypeError: If the model or datamodule are not Lightning's, or an option has the wrong type.
        ValueError: If an option is out of range.

    Example:
        >>> from tempfile import mkdtemp
        >>> import torch
        >>> from lightning_al.acquisition import Entropy
        >>> from lightning_al.zoo import Classifier
        >>> data = torch.utils.data.TensorDataset(torch.randn(30, 4), torch.arange(30) % 3)
        >>> datamodule = pl.LightningDataModule.from_datasets(data, val_dataset=data, batch_size=4)
        >>> quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        >>> trainer = pl.Trainer(max_epochs=1, callbacks=[Entropy()], default_root_dir=mkdtemp(), **quiet)
        >>> model = Classifier(torch.nn.Linear(4, 3), num_classes=3)
        >>> loop = ActiveLearningLoop(model, datamodule, initial=6, query_size=3, rounds=2)
        >>> [result.labelled for result in loop.run(trainer)]
        [6, 9, 12]
    """

    _not_offered = "hints label_count say session settings"

    def __init__(
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule | None = None,
        *,
        query_size: int | float,
        initial: int | list[int] | Literal["all"],
        initial_by: str | Acquisition = "random",
        rounds: int | None = None,
        budget: float | None = None,
        stop: Stop | None = None,
        subpool_size: int | None = None,
        known_share: float | None = None,
        reset: Reset = "initial",
        oracle: Oracle | None = None,
        task: Task | None = None,
        evaluate: str | None = "validate",
        weights: str = "last",
        keep_weights: bool = False,
        pool: str = "auto",
        pool_batch_size: int | None = None,
        cache_gb: float = 1.0,
        pool_precision: str | int = "32",
        seed: int = 0,
        dirpath: str | Path | None = None,
    ) -> None:
        model = _compat.lightning_module(model)
        task = ClassificationTask() if task is None else task
        users: pl.LightningDataModule | None = None
        with Findings() as findings:
            model_is_right = findings.of(check_model, model)
            findings.of(check_dirpath, dirpath)
            with findings.of_block():
                self.settings = Settings(
                    query_size=query_size,
                    initial=initial,
                    initial_by=initial_by,
                    rounds=rounds,
                    budget=budget,
                    stop=stop,
                    subpool_size=subpool_size,
                    known_share=known_share,
                    reset=reset,
                    oracle=DatasetOracle() if oracle is None else oracle,
                    task=task,
                    evaluate=evaluate,
                    weights=weights,
                    keep_weights=keep_weights,
                    cache_gb=cache_gb,
                    pool_precision=pool_precision,
                    seed=seed,
                )
            if model_is_right or datamodule is not None:
                with findings.of_block():
                    users = datamodule_of(model, datamodule)
                    self.datamodule = ActiveDataModule(
                        users, task=task, pool_source=pool, pool_batch_size=pool_batch_size
                    )
            if users is not None and hasattr(self, "settings"):
                find_without_known(findings, users, self.settings)
            if findings.errors and model_is_right and users is not None:  # what a launch would say too
                find_no_train_loader(findings, users)
                find_in_model(findings, model, users, evaluate)
        self.model = model
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.status = "new"
        self.campaign: Campaign | None = None
        self.session: Session | None = None
        self.hints = _compat.Hints()

    # -- public ----------------------------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """What each round yielded so far."""
        return self.campaign.rounds if self.campaign is not None else History()

    @property
    def task(self) -> Task:
        """What a batch means."""
        return self.settings.task

    @property
    def pool(self) -> Pool:
        """Which dataset indices are labelled, pending, skipped or unlabelled."""
        return self.datamodule.pool

    @property
    def round_step(self) -> int:
        """Optimizer steps of the present round; the same as ``trainer.global_step``."""
        return self.session.fits.steps["round"] if self.session is not None else 0

    @property
    def campaign_step(self) -> int:
        """Optimizer steps of all rounds so far, the present one included: for x axes that grow over the campaign."""
        return self.session.fits.steps["optimizer"] if self.session is not None else 0

    def run(self, trainer: pl.Trainer, resume: bool = False) -> History:
        """Run the campaign to its end, or until the oracle keeps it waiting.

        Afterwards :attr:`status` is ``"finished"``, or ``"waiting"`` if the oracle has not answered everything yet;
        run again later to go on.

        The training data may have been reordered, grown or shrunk since: samples are found again by their keys
        (:meth:`Task.key <lightning_al.tasks.Task.key>`), new ones join the pool, and indices are those of today.

        Args:
            trainer: With exactly one :class:`~lightning_al.acquisition.Acquisition` among its callbacks.
            resume: Go on with the campaign in ``dirpath``; where there is none, start. A finished campaign returns
                its history.

        Returns:
            One entry per round, the last with ``picked=[]`` once the campaign is finished.

        Raises:
            FileExistsError: If ``dirpath`` holds a campaign and ``resume`` is False; nothing is changed.
            ValueError: If the project, the options and the data do not fit together, if labelled samples are not in the
                data any more, or ``resume`` without ``dirpath``.
        """
        if resume and self.dirpath is None:
            raise ValueError("`resume=True` needs `dirpath=`: without it every run begins a folder of its own.")
        self._launch(trainer, algorithm.run, resume=resume or self.campaign is not None)
        self.say(f"{self.status}: {self.label_count} labels, {self.dirpath}")
        return self.history

    def ask(
        self,
        trainer: pl.Trainer,
        k: int | float | None = None,
        *,
        more: bool = True,
        keep_scores: bool = False,
        skip_unreadable: bool = False,
        acquisition: str | None = None,
    ) -> list[int]:
        """Return dataset indices to label next; answer with :meth:`tell`, in any order, in parts, at any time.

        Fits first if labels changed since the last fit. Goes on with the campaign in ``dirpath`` if there is one.
        While nothing is labelled at all, the initial set is asked for, once.

        Args:
            trainer: As for :meth:`run`.
            k: How many, as ``query_size``; default that, or all that is left if that is less. The initial set is of
                ``initial``.
            more: Whether to ask for more while a question is open. False: it is handed out again, whatever ``k``.
            keep_scores: Whether the scores of all candidates are kept, for a look at what was not picked:
                :meth:`scores` reads them. The initial set has none.
            skip_unreadable: Whether candidates that cannot be read are named and skipped, for good; all of them are
                read once more for it.
            acquisition: The name of one in the last :meth:`race`, whose picks are asked for as they are; None: the one
                among the Trainer's callbacks picks.

        Returns:
            Distinct, unlabelled indices of the pool's dataset, if ``more`` never handed out before unless they were
            released: fewer than ``k`` where the budget does not cover the best ``k`` together, none once the campaign
            is over. Of regions, their images: ``loop.campaign.regions.open(index)`` says which pixels are meant.

        Raises:
            RuntimeError: If nothing is labelled yet and the initial set was handed out already.
            TypeError: If ``k`` is no integer.
            ValueError: If ``k`` is less than 1, or more than the pool, the sub-pool or the budget has left; or there
                was no such race.
        """
        how = Asking(
            keep_scores=keep_scores,
            skip_unreadable=skip_unreadable,
            more=more,
            keep_passes=True,
            acquisition=acquisition,
        )
        with Findings() as findings:
            findings.of(self.settings.check_size, "k", k, optional=True)
            findings.of(how.check)
        picked = self._launch(trainer, functools.partial(algorithm.ask, k=k, how=how), resume=True).picked
        self.say(f"{self.status}: {len(picked)} to label, {self.label_count} labels, {self.dirpath}")
        return picked

    def race(self, trainer: pl.Trainer, acquisitions: Racers, k: int | None = None) -> RaceResult:
        """Return what each of several acquisitions would ask for next, beside each other; nothing is asked for.

        Each picks, bit for bit, what it would as the campaign's own. The samples are read once for all, and forward
        passes of the model as it is are made once; gradients, dropout, committees and other networks take their own.
        The model is not trained any further, but fitted first if labels changed since the last fit, as :meth:`ask`
        does. :meth:`ask` with ``acquisition=`` asks for the picks of one; the ledger then says of which.

        Args:
            trainer: As for :meth:`run`.
            acquisitions: Two or more, as ``[Entropy(), SAAL(), "CoreSet"]``; in a mapping with names of their own.
            k: How many each picks; default ``query_size``.

        Raises:
            RuntimeError: If nothing is labelled yet.
            TypeError: If one is no acquisition, or the model is of a kind that one cannot work with.
            ValueError: If one is unknown, there twice, or cannot work here, all of them in one error before anything
                trains; or ``k`` is more than there is.
        """
        with Findings() as findings:
            findings.of(check_count, "k", k, optional=True)
            with findings.of_block():
                racers = racers_of(acquisitions)
        before = self.status
        outcome = self._launch(trainer, functools.partial(algorithm.race, racers=racers, k=k), resume=True)
        self.status = before if before != "new" else outcome.status
        return RaceResult.of_state(outcome.race or {})

    def scores(self, round_number: int) -> Scores:
        """Return the scores of all candidates of a question that was asked with ``keep_scores=True``.

        Indices are those of the data as they were then; keys are for good.

        Args:
            round_number: The question's, as in :attr:`history`.

        Raises:
            FileNotFoundError: If they were not kept.
        """
        return read_scores(self.dirpath, round_number)

    def tell(self, indices: Indices | Sequence[str], labels: Iterable[Any], *, annotator: str = TELL) -> None:
        """Take labels of samples; they are on disk when this returns.

        Labels that nobody asked for are welcome; a repeated one replaces the old. ``SKIP``: it is not to be labelled.

        Args:
            indices: Distinct dataset indices, of the data as the campaign last opened them: in this process by ``run``
                or ``ask``, or else in an earlier one, whose ``ask`` handed them out. Or the samples' keys (file names).
            labels: One for each. Where classes have names (``classes``, ``class_to_idx``) a name will do.
            annotator: Who says so; recorded in the ledger.

        Raises:
            RuntimeError: Before the campaign was opened, where its folder is not known yet.
            TypeError: If a label is not of the task's kind; none is taken then.
            ValueError: If the lengths differ, a sample is repeated or unknown, or ``SKIP`` is told of a labelled one.
            IndexError: If an index is outside the dataset.
        """
        check_type("annotator", annotator, str, "a name")
        campaign = self._campaign_to_tell()
        answers = answers_of(campaign, indices, labels, task=self.task, places=self.datamodule.places)
        key_of = self.datamodule.key
        prices = functools.partial(prices_of, self.oracle, self.task)
        write_answers(campaign, answers, annotator_of=lambda _: annotator, key_of=key_of, prices=prices)

    def release(self, indices: Indices) -> None:
        """Give pending samples back: they are no longer waited for, and may be asked for again.

        That is on disk when this returns. A label that comes for one of them later is welcome all the same.

        Args:
            indices: Distinct dataset indices, as for :meth:`tell`.

        Raises:
            RuntimeError: Before the campaign was opened, where its folder is not known yet.
            ValueError: If a sample is not pending; nothing is given back then.
            IndexError: If an index is outside the dataset.
        """
        release(self._campaign_to_tell(), indices)

    def _campaign_to_tell(self) -> Campaign:
        if self.campaign is not None:
            return self.campaign
        if self.dirpath is None or not Campaign.exists(self.dirpath):
            raise RuntimeError(
                "`tell` and `release` need a campaign that was opened by `ask` or `run`, or a `dirpath=` that holds "
                f"one, got dirpath={str(self.dirpath)!r}."
            )
        campaign = Campaign.load(self.dirpath)
        self._take(campaign)
        return campaign
