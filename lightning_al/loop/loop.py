"""The active-learning loop: fit, evaluate, score, select, label, record."""

import contextlib
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_al import _compat
from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.results import RoundResult
from lightning_al.campaign.states import RETURNED
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.loaders import ModuleLoaders
from lightning_al.data.pool import Indices, Pool
from lightning_al.distributed.ranks import end_process_group
from lightning_al.fitting.hooks import call_round_hook
from lightning_al.fitting.reset import Reset
from lightning_al.fitting.setup_guard import weights_kept_in_setup
from lightning_al.loop import algorithm
from lightning_al.loop.fit import begin_fits
from lightning_al.loop.label import write_answers
from lightning_al.loop.opening import open_campaign
from lightning_al.loop.project import Project, check_project
from lightning_al.loop.session import Session
from lightning_al.loop.settings import Settings, check_options
from lightning_al.oracle.answers import sort_answers
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.simulated import DatasetOracle
from lightning_al.storage.weights import load_weights
from lightning_al.tasks.base import Task
from lightning_al.tasks.classification import ClassificationTask


class ActiveLearningLoop:
    """Runs an active-learning campaign on an existing Lightning project.

    Each round fits the model on what is labelled, evaluates it, scores the unlabelled samples with the acquisition
    among the Trainer's callbacks, and asks the oracle for the labels of the best. One Trainer serves all rounds; each
    round starts afresh as ``reset`` says, while ``global_step`` and the loggers' step go on growing.

    Args:
        model: The user's module.
        datamodule: The user's datamodule; :class:`~lightning_al.Loaders` of loaders that are there already; None: the
            loaders that the module defines itself.
        query_size: Labels asked for per round.
        initial: How many samples are labelled before round 0, or which (dataset indices).
        initial_by: How they are chosen: ``"random"``; ``"balanced"`` over the classes (simulated campaigns only); or an
            acquisition that needs no trained model, as ``TypiClust(encoder=...)``.
        rounds: Number of queries; the history has one entry more, for the last fit. None: no limit.
        budget: What may be spent on labels, the initial ones included: a label costs 1, unless the oracle has other
            prices (``Oracle.cost``). None: no limit.
        stop: Ends the campaign by its results: :class:`~lightning_al.stopping.MetricReached`,
            :class:`~lightning_al.stopping.MetricPlateau`, or any function of :attr:`history`. With several of
            ``rounds``, ``budget`` and ``stop`` the first that is reached ends it; with none, the empty pool.
        subpool_size: Score only this many random candidates each round. None: all.
        reset: What rounds after the first start from: ``"initial"``, the same initial weights; ``"warm"``, the
            weights as they are, with a fresh optimizer; ``"continue"``, weights and optimizer state; ``"fresh"``, new
            random weights through ``reset_parameters``; or a function of the model.
        oracle: Where labels come from. Default: the data set's own hidden labels.
        task: What a batch means. Default: :class:`~lightning_al.tasks.ClassificationTask`.
        evaluate: Where ``metrics`` come from: ``"validate"`` or ``"test"``.
        weights: Which weights of a fit are scored and reported: ``"last"``, or ``"best"`` of its ``ModelCheckpoint``.
        pool: Where un-augmented inputs come from, see :class:`~lightning_al.ActiveDataModule`.
        pool_batch_size: Batch size for scoring; default the train loader's.
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

    def __init__(
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule | None = None,
        *,
        query_size: int,
        initial: int | list[int],
        initial_by: str | Acquisition = "random",
        rounds: int | None = None,
        budget: float | None = None,
        stop: Callable[[list[RoundResult]], bool] | None = None,
        subpool_size: int | None = None,
        reset: Reset = "initial",
        oracle: Oracle | None = None,
        task: Task | None = None,
        evaluate: str = "validate",
        weights: str = "last",
        pool: str = "auto",
        pool_batch_size: int | None = None,
        seed: int = 0,
        dirpath: str | Path | None = None,
    ) -> None:
        if datamodule is None and isinstance(model, pl.LightningModule):
            datamodule = ModuleLoaders(model)
        self.options = check_options(
            model,
            datamodule,
            query_size=query_size,
            initial=initial,
            initial_by=initial_by,
            rounds=rounds,
            budget=budget,
            stop=stop,
            subpool_size=subpool_size,
            reset=reset,
            oracle=oracle,
            task=task,
            evaluate=evaluate,
            weights=weights,
            seed=seed,
            pool=pool,
            pool_batch_size=pool_batch_size,
            dirpath=dirpath,
        )
        assert datamodule is not None
        self.model = model
        self.query_size = query_size
        self.initial = initial
        self.initial_by = initial_by
        self.rounds = rounds
        self.budget = budget
        self.stop = stop
        self.subpool_size = subpool_size
        self.reset = reset
        self.task = task if task is not None else ClassificationTask()
        self.oracle = oracle if oracle is not None else DatasetOracle()
        self.evaluate = evaluate
        self.weights = weights
        self.seed = seed
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.datamodule = ActiveDataModule(
            datamodule, task=self.task, pool_source=pool, pool_batch_size=pool_batch_size
        )
        self.campaign: Campaign | None = None
        self.status = "new"
        self.session: Session | None = None

    # -- public ----------------------------------------------------------------------------------------------------

    @property
    def history(self) -> list[RoundResult]:
        """What each round yielded so far."""
        return self.campaign.rounds if self.campaign is not None else []

    @property
    def pool(self) -> Pool:
        """Which dataset indices are labelled, pending, skipped or unlabelled."""
        return self.datamodule.pool

    def run(self, trainer: pl.Trainer, resume: bool = False) -> list[RoundResult]:
        """Run the campaign to its end, or until the oracle keeps it waiting.

        Afterwards :attr:`status` is ``"finished"``, or ``"waiting"`` if the oracle has not answered everything yet;
        run again later to go on.

        Args:
            trainer: With exactly one :class:`~lightning_al.acquisition.Acquisition` among its callbacks.
            resume: Go on with the campaign in ``dirpath``; where there is none, start. A finished campaign returns
                its history.

        Returns:
            One entry per round, the last with ``picked=[]`` once the campaign is finished.

        Raises:
            FileExistsError: If ``dirpath`` holds a campaign and ``resume`` is False; nothing is changed.
            ValueError: If the project, the options and the data do not fit together, or ``resume`` without ``dirpath``.
        """
        if resume and self.dirpath is None:
            raise ValueError("`resume=True` needs `dirpath=`: without it every run begins a folder of its own.")
        self._launch(trainer, "run", resume or self.campaign is not None, None)
        return self.history

    def ask(self, trainer: pl.Trainer, k: int | None = None) -> list[int]:
        """Return dataset indices to label next; answer with :meth:`tell`, in any order, in parts, at any time.

        Fits first if labels changed since the last fit. Goes on with the campaign in ``dirpath`` if there is one.
        While nothing is labelled at all, the initial set is asked for, once.

        Args:
            trainer: As for :meth:`run`.
            k: How many; default ``query_size``.

        Returns:
            Distinct, unlabelled indices of the training data set, never handed out before: fewer than ``k`` where the
            budget does not cover the best ``k`` together, none once the campaign is over.

        Raises:
            RuntimeError: If nothing is labelled yet and the initial set was handed out already.
            ValueError: If ``k`` is more than the pool, the sub-pool or the budget has left.
        """
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise ValueError(f"`k` must be an integer of at least 1, got {k!r}.")
        picked: list[int] = self._launch(trainer, "ask", True, k)
        return picked

    def tell(self, indices: Indices, labels: Iterable[Any]) -> None:
        """Take labels for dataset indices; they are on disk when this returns.

        Labels that nobody asked for are welcome; a repeated one replaces the old. ``SKIP`` declines a sample.

        Args:
            indices: Distinct dataset indices.
            labels: One for each.

        Raises:
            RuntimeError: Before the campaign was opened, where its folder is not known yet.
            TypeError: If a label is not of the task's kind; none is taken then.
            ValueError: If the lengths differ, an index is repeated, or ``SKIP`` is told of a labelled sample.
            IndexError: If an index is outside the data set.
        """
        if self.campaign is None:
            if self.dirpath is None or not Campaign.exists(self.dirpath):
                raise RuntimeError(
                    "`tell` needs a campaign that was opened by `ask` or `run`, or a `dirpath=` that holds one, got "
                    f"dirpath={str(self.dirpath)!r}."
                )
            writes = rank_zero_only.rank == 0
            self._take(Campaign(self.dirpath, Campaign.read_events(self.dirpath), writes=writes))
        assert self.campaign is not None
        values = self.pool.check(indices)
        if not isinstance(labels, Iterable):
            raise TypeError(f"Expected a list of labels, one for each index, got {labels!r}.")
        told = list(labels)
        if len(values) != len(told):
            raise ValueError(f"`tell` got {len(values)} indices and {len(told)} labels.")
        answers = sort_answers(dict(zip(values, told, strict=True)), self.task)
        answers.check()
        labelled = [i for i in answers.skipped if self.pool.is_labelled(i)]
        if labelled:
            raise ValueError(f"`SKIP` cannot take back a label that was told: {labelled[:10]}. Tell another label.")
        write_answers(self.campaign, answers, "tell", self.datamodule.key, self.oracle)

    @property
    def settings(self) -> Settings:
        """The options, as the steps of Algorithm 1 take them."""
        return Settings(
            query_size=self.query_size,
            initial=self.initial,
            initial_by=self.initial_by,
            rounds=self.rounds,
            budget=self.budget,
            stop=self.stop,
            subpool_size=self.subpool_size,
            reset=self.reset,
            evaluate=self.evaluate,
            weights=self.weights,
            seed=self.seed,
            described=self.options,
        )

    # -- processes -------------------------------------------------------------------------------------------------

    def _launch(self, trainer: pl.Trainer, what: str, resume: bool, k: int | None) -> Any:
        """Run the whole campaign inside one launch of the Trainer's processes, and copy back from copies."""
        acquisition = check_project(trainer, self.model, self.datamodule, self.oracle, self.settings)
        copies = _compat.launches_copies(trainer)
        launched = _compat.launch(
            trainer, self._run_launched, self.model, trainer, acquisition, what, resume, k, copies
        )
        if not copies:
            return launched
        # A pipe takes 64 KiB at most before the parent reads, and it reads once its children have ended.
        campaign = Campaign.load(launched)
        returned = campaign.load_state(RETURNED)
        assert returned is not None
        (campaign.dirpath / RETURNED).unlink()
        load_weights(self.model, returned["state_dict"])
        self._take(campaign)
        self.status = returned["status"]
        return returned["result"]

    def _run_launched(
        self,
        model: pl.LightningModule,
        trainer: pl.Trainer,
        acquisition: Acquisition,
        what: str,
        resume: bool,
        k: int | None,
        copies: bool,
    ) -> Any:
        """Return what was asked for; from a copy of this process, the campaign's folder, with the rest in a file."""
        self.model = model
        _compat.run_in_place(trainer)
        settings = self.settings
        project = Project(trainer, model, self.datamodule, self.task, self.oracle, acquisition)
        kept = self.session.fits if self.session is not None else None
        result = None
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(weights_kept_in_setup(model))
            campaign, asked_now = open_campaign(project, settings, self.dirpath, resume=resume)
            self._take(campaign)
            fits, fitted_now = begin_fits(project, settings, campaign, kept)
            hooks = functools.partial(call_round_hook, trainer, loop=self)
            self.session = Session(project, settings, campaign, fits, hooks, fitted_now, asked_now)
            if what == "ask":
                result, self.status = algorithm.ask(self.session, k)
            else:
                self.status = algorithm.run(self.session)
        finally:
            stack.close()
            acquisition.unbind()
            self.datamodule.close()
            if self.session is not None:
                self.session.fits.release()
        for logger in trainer.loggers:
            logger.save()
        if not copies:
            return result
        state = {"state_dict": model.state_dict(), "status": self.status, "result": result}
        campaign.save_state(RETURNED, state)
        # A worker process ends without running what is registered for its exit.
        trainer.strategy.barrier("end of campaign")
        end_process_group()
        return str(campaign.dirpath)

    def _take(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.dirpath = campaign.dirpath
        self.datamodule.pool = campaign.pool
        self.datamodule.labels = campaign.labels
