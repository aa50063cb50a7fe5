"""Members that are snapshots of one fit, whose learning rate falls and starts again."""

import math
from collections.abc import Callable

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lightning_al.acquisition.committee.cycles import Cycles, batches_done, batches_of_fit, scale_rates
from lightning_al.acquisition.committee.members import Member, Members
from lightning_al.acquisition.query import Query
from lightning_al.campaign.states import State
from lightning_al.inference.calling import tensors_of


class Snapshots(Members):
    """Snapshots of the round's own fit, taken at the end of each cycle of its learning rate.

    Args:
        count: How many members, and so cycles.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._save: Callable[[str, State], None] | None = None  # None: outside of a loop, whose fits alone it is for
        self._cycles: Cycles | None = None
        self._warned_few = False

    def _file(self, member: int) -> str:
        """Members that are made with other options have other names."""
        return f"snapshot_{member}_of_{self.count}"

    def of(self, query: Query) -> list[Member]:
        """Find the snapshots of the round's fit.

        Raises:
            RuntimeError: If there are fewer than two.
        """
        states = [query.keep(self._file(member), dict) for member in range(self.count)]
        snapshots: list[Member] = [state for state in states if state]  # a fit that was stopped early lacks some
        if len(snapshots) < 2:
            raise RuntimeError(
                f'QueryByCommittee(source="snapshots", members={self.count}) found {len(snapshots)} snapshots of '
                f"the fit of round {query.round}. Either it was stopped early, in its first cycles, by a time limit or "
                "`EarlyStopping`: remove that. Or it was made by another acquisition, or with other options: make this "
                "query with those."
            )
        if len(snapshots) < self.count and not self._warned_few:
            self._warned_few = True
            rank_zero_warn(
                f"The fit of round {query.round} was stopped early: {len(snapshots)} of {self.count} snapshots vote."
            )
        return snapshots

    def begin_round(self, save: Callable[[str, State], None]) -> None:
        """Know where snapshots go to."""
        self._save = save

    def leave(self) -> None:
        """Take no snapshots any more."""
        self._save = None

    def check_fit(self, trainer: pl.Trainer) -> None:
        """Refuse schedules that would be overruled.

        Raises:
            ValueError: If the model has a learning-rate schedule of its own.
        """
        if self._save is not None and trainer.lr_scheduler_configs:
            named = ", ".join(type(config.scheduler).__name__ for config in trainer.lr_scheduler_configs)
            raise ValueError(
                f'QueryByCommittee(source="snapshots") sets the learning rate itself, and `configure_optimizers` '
                f'returned a schedule: {named}. Leave it out, or use `source="fits"`.'
            )

    def begin_training(self, trainer: pl.Trainer, *, automatic: bool) -> None:
        """Divide the batches of the round into cycles.

        Raises:
            ValueError: If the number of batches is unknown or too small.
        """
        if self._save is None:
            return
        batches = batches_of_fit(trainer, automatic)
        if not self.count <= batches < math.inf:
            seen = "it is not known how many this one has" if batches == math.inf else f"this one has {batches}"
            raise ValueError(
                f'QueryByCommittee(source="snapshots", members={self.count}) divides the batches of a round into '
                f"cycles, and {seen}: max_epochs={trainer.max_epochs} of {trainer.num_training_batches} batches, "
                f"max_steps={trainer.max_steps}. Give `max_epochs` alone, and enough of them."
            )
        self._cycles = Cycles(self.count, int(batches))

    def before_batch(self, trainer: pl.Trainer, batch_idx: int) -> None:
        """Set the learning rate."""
        if self._save is not None and self._cycles is not None:
            scale_rates(trainer.optimizers, self._cycles.factor(batches_done(trainer, batch_idx)))

    def after_batch(self, trainer: pl.Trainer, model: pl.LightningModule, batch_idx: int) -> None:
        """Take a snapshot at the end of a cycle."""
        if self._save is not None and self._cycles is not None:
            ended = self._cycles.ended(batches_done(trainer, batch_idx) + 1)
            if ended is not None:
                self._save(self._file(ended), tensors_of(model))
