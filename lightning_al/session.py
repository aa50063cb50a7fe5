"""What one launch of a campaign works with. The steps of Algorithm 1 take a session, and never the loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl

from lightning_al.acquisition.base import Acquisition
from lightning_al.budget import Budget
from lightning_al.campaign import Campaign, RoundResult
from lightning_al.datamodule import ActiveDataModule
from lightning_al.fitting import RepeatedFit, Reset
from lightning_al.oracle import Oracle
from lightning_al.pool import Pool
from lightning_al.task import Task


@dataclass(frozen=True)
class Settings:
    """The options of a loop, checked; see :class:`~lightning_al.ActiveLearningLoop`."""

    query_size: int
    initial: int | list[int]
    initial_by: str | Acquisition
    rounds: int | None
    budget: float | None
    stop: Callable[[list[RoundResult]], bool] | None
    subpool_size: int | None
    reset: Reset
    evaluate: str
    weights: str
    seed: int
    described: dict[str, Any]


@dataclass(frozen=True)
class Project:
    """What the user brought, for one launch."""

    trainer: pl.Trainer
    model: pl.LightningModule
    data: ActiveDataModule
    task: Task
    oracle: Oracle
    acquisition: Acquisition


@dataclass
class Session:
    """One launch of an open campaign: the project, its settings, its ledger and its fits."""

    project: Project
    settings: Settings
    campaign: Campaign
    fits: RepeatedFit
    call_hooks: Callable[[str], None]
    fitted_now: bool
    asked_now: bool

    @property
    def pool(self) -> Pool:
        """Which dataset indices are labelled, pending, skipped or unlabelled."""
        return self.campaign.pool

    @property
    def budget(self) -> Budget:
        """What can still be paid."""
        return Budget(self.settings.budget, self.project.oracle, self.pool)

    @property
    def is_over(self) -> bool:
        """Whether the rounds, the budget or the pool are used up, or ``stop`` says so."""
        settings, history = self.settings, self.campaign.rounds
        return (
            (settings.rounds is not None and self.campaign.next_round >= settings.rounds)
            or len(self.budget.affordable(self.pool.unlabelled)) == 0
            or (settings.stop is not None and len(history) > 0 and bool(settings.stop(history)))
        )

    @property
    def is_fitted(self) -> bool:
        """Whether the last recorded fit saw exactly the present labels."""
        fit = self.campaign.last_fit
        return fit is not None and fit["digest"] == self.campaign.label_digest
