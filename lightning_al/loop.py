"""The active-learning loop: fit, evaluate, score, select, label, record."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only
from torch import Tensor

from lightning_al import _compat
from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign import RETURNED, Campaign, RoundResult
from lightning_al.checks import check_options, check_project
from lightning_al.datamodule import ActiveDataModule
from lightning_al.distributed import check_same_on_every_rank, end_process_group
from lightning_al.fitting import RepeatedFit, Reset, call_round_hook
from lightning_al.labelling import another_initial_set, collect_answers, write_answers
from lightning_al.learning import fit_round
from lightning_al.loaders import ModuleLoaders
from lightning_al.opening import begin_fits, open_campaign
from lightning_al.oracle import Oracle, sort_answers
from lightning_al.pool import Indices, Pool
from lightning_al.querying import query
from lightning_al.setting_up import weights_kept_in_setup
from lightning_al.spending import affordable, count_affordable
from lightning_al.task import ClassificationTask, Task
from lightning_al.weights import load_weights

log = logging.getLogger(__name__)

LABELS = "the labels (here a hash of them)"


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
        task: What a batch means. Default: :class:`~lightning_al.task.ClassificationTask`.
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
        self.oracle = oracle
        self.evaluate = evaluate
        self.weights = weights
        self.seed = seed
        self.dirpath = None if dirpath is None else Path(dirpath)
        self.datamodule = ActiveDataModule(
            datamodule, task=self.task, pool_source=pool, pool_batch_size=pool_batch_size
        )
        self.campaign: Campaign | None = None
        self.status = "new"
        self._fits: RepeatedFit | None = None
        self._fitted_now = False
        self._asked_now = False

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

    # -- processes -------------------------------------------------------------------------------------------------

    def _launch(self, trainer: pl.Trainer, what: str, resume: bool, k: int | None) -> Any:
        """Run the whole campaign inside one launch of the Trainer's processes, and copy back from copies."""
        acquisition = check_project(self, trainer)
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
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(weights_kept_in_setup(model))
            campaign, self._asked_now = open_campaign(self, trainer, acquisition, resume=resume)
            self._take(campaign)
            self._fits, self._fitted_now = begin_fits(self, trainer, campaign, self._fits)
            result = self._ask(trainer, acquisition, k) if what == "ask" else None
            if what == "run":
                self._run(trainer, acquisition)
        finally:
            stack.close()
            acquisition.unbind()
            self.datamodule.close()
            if self._fits is not None:
                self._fits.release()
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

    # -- Algorithm 1 -----------------------------------------------------------------------------------------------

    def _run(self, trainer: pl.Trainer, acquisition: Acquisition) -> None:
        assert self.campaign is not None
        campaign = self.campaign
        while True:
            if not self._collect(trainer):
                self.status = "waiting"
                rank_zero_info(
                    f"Waiting for {len(self.pool.pending)} label(s), of dataset indices "
                    f"{_few(self.pool.pending)}: `tell` them, or let the oracle answer, and run again with "
                    f"`resume=True`. The campaign is in {campaign.dirpath}."
                )
                return
            self._report(trainer)  # what a killed process had no time to
            check_same_on_every_rank(campaign.label_digest, LABELS)
            if self._is_over() and self._is_fitted():
                break
            number = campaign.next_round
            call_round_hook(trainer, "on_round_start", self)
            self._fit(trainer, number)
            if not self._is_over():
                query(self, trainer, acquisition, number, self.query_size)
            self._report(trainer)
            call_round_hook(trainer, "on_round_end", self)
        self.status = "finished"

    def _ask(self, trainer: pl.Trainer, acquisition: Acquisition, k: int | None) -> list[int]:
        assert self.campaign is not None
        campaign = self.campaign
        check_same_on_every_rank(campaign.label_digest, LABELS)
        already_asked = not self._asked_now and len(self.pool.pending) > 0
        if len(self.pool.labelled) == 0:  # only an initial set can be pending; later ones wait for `tell`
            self._collect(trainer)
        self._report(trainer)
        if len(self.pool.labelled) == 0:
            if already_asked:
                raise RuntimeError(
                    "Nothing is labelled yet: `tell` the labels of the initial samples first. Pending: "
                    f"{_few(self.pool.pending)} ({len(self.pool.pending)} in all, in `loop.pool.pending`)."
                )
            self.status = "waiting"
            return self.pool.pending.tolist()
        self._check_question(k)
        if self._is_over():
            rank_zero_info("The campaign is over: the rounds, the budget or the pool are used up, or `stop` says so.")
            # What is declined still frees its part of the budget.
            self.status = "waiting" if len(self.pool.pending) > 0 else "finished"
            return []
        number = campaign.next_round
        call_round_hook(trainer, "on_round_start", self)
        self._fit(trainer, number)
        over = self._is_over()  # `stop` may say so only now
        picked = [] if over else query(self, trainer, acquisition, number, k if k is not None else self.query_size)
        self._report(trainer)
        call_round_hook(trainer, "on_round_end", self)
        self.status = "finished" if over else "waiting"
        return picked

    def _is_over(self) -> bool:
        assert self.campaign is not None
        return (
            (self.rounds is not None and self.campaign.next_round >= self.rounds)
            or len(affordable(self, self.pool.unlabelled)) == 0
            or (self.stop is not None and len(self.history) > 0 and bool(self.stop(self.history)))
        )

    def _check_question(self, k: int | None) -> None:
        left = len(self.pool.unlabelled)
        covered = count_affordable(self, self.pool.unlabelled)
        limits = {"pool": left, "sub-pool": min(self.subpool_size or left, left), "budget": covered}
        for name, limit in limits.items():
            if k is not None and k > limit:
                raise ValueError(f"`ask(k={k})` is more than the {name} has left, {limit}: ask for fewer.")

    def _is_fitted(self) -> bool:
        """Whether the last recorded fit saw exactly the present labels."""
        assert self.campaign is not None
        fit = self.campaign.last_fit
        return fit is not None and fit["digest"] == self.campaign.label_digest

    def _fit(self, trainer: pl.Trainer, number: int) -> None:
        """Fit and evaluate, unless the present weights were fitted on the present labels."""
        assert self._fits is not None
        if not (self._is_fitted() and self._fitted_now):
            fit_round(self, trainer, self._fits, number, resume=not self._fitted_now)
            self._fitted_now = True

    def _collect(self, trainer: pl.Trainer) -> bool:
        """Ask the oracle for what is pending and put its answers on disk. Whether nothing is pending any more."""
        assert self.campaign is not None
        assert self.oracle is not None
        while True:
            if len(self.pool.pending) == 0:
                if len(self.pool.labelled) > 0:
                    return True
                # The annotator declined all of the initial set.
                others = another_initial_set(self, trainer)
                self.campaign.record(trainer.strategy, "asked", functools.partial(dict, others))
            collect_answers(self.campaign, self.oracle, self.task, trainer.strategy, self.datamodule.key)
            if len(self.pool.pending) > 0:
                return False

    def _report(self, trainer: pl.Trainer) -> None:
        """For each finished round one line on the console and one row in every logger, the labelled count as step."""
        assert self.campaign is not None
        campaign = self.campaign
        for result in self.history:
            if result.round in campaign.reported or (result.round == campaign.next_round and not self._is_over()):
                continue  # the second is not finished: its question comes
            rank_zero_info(str(result))
            row: dict[str, float] = {f"al/{name}": value for name, value in result.metrics.items()}
            row |= {f"al/{stage}_seconds": value for stage, value in result.seconds.items()}
            row |= {"al/labelled": float(result.labelled), "al/round": float(result.round), "al/spent": result.spent}
            for logger in trainer.loggers:
                logger.log_metrics(row, step=result.labelled)
                logger.save()  # before it is taken as reported
            self.campaign.record(trainer.strategy, "reported", functools.partial(dict, round=result.round))


def _few(indices: Tensor) -> str:
    shown = ", ".join(map(str, indices[:10].tolist()))
    return shown if len(indices) <= 10 else f"{shown}, ..."
