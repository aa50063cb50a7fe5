"""What one launch of a campaign works with. The steps of a round take a session, and never the loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_al.campaign.campaign import Campaign
from lightning_al.data.pool import Pool
from lightning_al.fitting.repeated import RepeatedFit
from lightning_al.loop.budget import Budget
from lightning_al.loop.project import Project
from lightning_al.loop.settings import Settings


@dataclass
class Session:
    """One launch of an open campaign: the project, its settings, its ledger and its fits.

    Args:
        project: What the user brought.
        settings: The options.
        campaign: The ledger.
        fits: The Trainer's.
        call_hooks: Calls a hook of the rounds, by its name and with what it is told, on every callback that has it.
        options: The settings and the project's, as the ledger has them.
        asked_initial_set: Whether the initial set was asked for in this launch.
        has_fitted_weights: Whether the model has the weights of the last recorded fit.
        found_nothing: Whether a query found nothing that is left to ask for.
    """

    project: Project
    settings: Settings
    campaign: Campaign
    fits: RepeatedFit
    call_hooks: Callable[..., None]
    options: dict[str, Any]
    asked_initial_set: bool
    has_fitted_weights: bool
    found_nothing: bool = False

    def note_found_nothing(self) -> None:
        """Note that a query found nothing that is left to ask for, which ends the campaign."""
        self.found_nothing = True

    def note_fitted(self) -> None:
        """Note that the last fit was recorded, whose weights the model has."""
        self.has_fitted_weights = True

    @property
    def pool(self) -> Pool:
        """Which dataset indices are labelled, pending, skipped or unlabelled."""
        return self.campaign.pool

    @property
    def labelled(self) -> Tensor:
        """The numbers of all samples that are trained on, those known beside the pool first."""
        return self.project.data.samples.labelled_of(self.pool)

    @property
    def budget(self) -> Budget:
        """What can still be paid."""
        budget, oracle = self.settings.budget, self.project.oracle
        if not self.settings.asks_for_regions:
            return Budget(budget, oracle, self.pool)
        least = (self.project.task.regions or 1) ** 2
        return Budget(budget, oracle, self.pool, least=least, pending=self._pixels_pending)

    def _pixels_pending(self, index: int) -> int:
        """Return how many pixels the question for a sample is for."""
        width, height = self.campaign.sizes.get(index, (1, 1))
        return self.campaign.regions.pixels(index) or width * height

    @property
    def is_over(self) -> bool:
        """Whether the rounds, the budget or the pool are used up, or ``stop`` says so."""
        settings, history = self.settings, self.campaign.rounds
        return (
            (settings.rounds is not None and self.campaign.next_round >= settings.rounds)
            or self.found_nothing
            or self.budget.is_used_up
            or (settings.stop is not None and len(history) > 0 and bool(settings.stop(history)))
        )

    @property
    def is_fitted(self) -> bool:
        """Whether the last recorded fit saw exactly the present labels."""
        fit = self.campaign.last_fit
        return fit is not None and fit["digest"] == self.campaign.label_digest

    @property
    def is_trained(self) -> bool:
        """Whether the present round is fitted, and the model has what came of it."""
        return self.is_fitted and self.has_fitted_weights
