"""Where the members of a committee disagree."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_al import functional as F_al
from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.cycles import Cycles, batches_done, batches_of_fit, scale_rates
from lightning_al.acquisition.query import Query, State
from lightning_al.checks import check_choice, check_count, check_flag
from lightning_al.inference.calling import check_whole, tensors_of
from lightning_al.inference.outputs import plain_outputs

SCORES: dict[str, Callable[[Tensor], Tensor]] = {"vote_entropy": F_al.vote_entropy, "kl": F_al.consensus_kl}
SOURCES = ("fits", "snapshots")


class QueryByCommittee(Acquisition):
    r"""Largest disagreement among models that were fitted on the same labels (Seung et al., COLT 1992).

    Members vote with weights and buffers of their own (BatchNorm statistics differ), in ``eval()``. They are kept in
    the campaign's folder: a killed campaign fits none of them twice. With ``selection="badge"`` the gradients are those
    of the round's own model.

    With ``source="fits"`` one member is the round's own fit, and the others are further fits through the user's Trainer
    on the same labels, each with an order of the samples, dropout masks and (see ``redraw``) initial weights of its
    own. They begin anew in every round, also under ``reset="warm"`` and ``"continue"``, where ``max_epochs`` must then
    be enough for a whole training. What shapes a fit takes part in theirs: early stopping, weight averaging,
    ``weights="best"``. Nothing of them stays: no log entry, checkpoint or counted step. A round takes ``members`` times
    as long.

    With ``source="snapshots"`` they are snapshots of the round's own fit, whose learning rate falls in each of
    ``members`` cycles from its full value and then starts again (Huang et al., ICLR 2017, Eq. 2):

    .. math:: \alpha(t) = \frac{\alpha_0}{2} \left(\cos\frac{\pi t}{T} + 1\right)

    with :math:`\alpha_0` the rate that the optimizer was made with, :math:`t` the batches since the cycle began and
    :math:`T` those of the cycle. (The paper keeps the last few of the snapshots; here all vote.) A round takes no
    longer than without.

    Args:
        members: How many, 2 at least.
        source: ``"fits"`` or ``"snapshots"``.
        score: ``"vote_entropy"``, the entropy of the members' votes, which takes few values, so that many candidates
            are taken in their random order; or ``"kl"``, the mean divergence from the consensus, which is the
            Jensen-Shannon divergence. See :func:`lightning_al.functional.vote_entropy` and ``consensus_kl``.
        redraw: For fits: members begin with random weights of their own, from the layers' ``reset_parameters``, or the
            loop's ``reset`` if that is a function; they do so with the same ones in every round, unless
            ``reset="fresh"``. If False, with the campaign's initial weights, as is right for pretrained ones.
        selection: ``"top"``, ``"kmeans++"`` or ``"badge"``.

    Raises:
        ValueError: If an option is unknown or out of range; with snapshots, before anything trains, if the model has a
            learning-rate schedule of its own, or the number of batches is unknown or too small.
        RuntimeError: If there are fewer than two snapshots: the fit was stopped early, or made by another acquisition.
        TypeError: In a loop, before anything trains, if weights are sharded over processes.
    """

    requires = frozenset({"logits", "labels"})

    def __init__(
        self,
        members: int = 5,
        source: str = "fits",
        score: str = "vote_entropy",
        redraw: bool = True,
        selection: str = "top",
    ) -> None:
        super().__init__(selection=selection)
        check_count("members", members, 2)
        check_choice("source", source, SOURCES)
        check_choice("score", score, SCORES)
        check_flag("redraw", redraw)
        self.members = members
        self.source = source
        self.score = score
        self.redraw = redraw
        # None: the model as it is; before anything is learnt, and the member that is the round's own fit.
        self._states: list[Mapping[str, Tensor] | None] = [None]
        self._save: Callable[[str, State], None] | None = None
        self._warned_few = False
        self._cycles: Cycles | None = None

    def unbind(self) -> None:
        """Leave the loop."""
        super().unbind()
        self._states, self._save = [None], None

    # -- members -----------------------------------------------------------------------------------------------------

    def learn(self, query: Query) -> None:
        """Fit the members, or find the snapshots of the round's fit."""
        if self.source == "fits":
            self._states = [None, *(query.keep(self._file(i), partial(query.refit, i, self.redraw)) for i in self._own)]
            return
        found = [query.keep(self._file(i), dict) for i in self._own]
        self._states = [snapshot for snapshot in found if snapshot]  # a fit that was stopped early lacks some
        if len(self._states) < 2:
            raise RuntimeError(
                f'QueryByCommittee(source="snapshots", members={self.members}) found {len(self._states)} snapshots of '
                f"the fit of round {query.round}. Either it was stopped early, in its first cycles, by a time limit or "
                "`EarlyStopping`: remove that. Or it was made by another acquisition, or with other options: make this "
                "query with those."
            )
        if len(self._states) < self.members and not self._warned_few:
            self._warned_few = True
            rank_zero_warn(
                f"The fit of round {query.round} was stopped early: {len(self._states)} of {self.members} snapshots "
                "vote."
            )

    @property
    def _own(self) -> range:
        """Numbers of the members that are not the model itself."""
        return range(1 if self.source == "fits" else 0, self.members)

    def _file(self, member: int) -> str:
        """Members that are made with other options have other names."""
        if self.source == "snapshots":
            return f"snapshot_{member}_of_{self.members}"
        return f"member_{member}" if self.redraw else f"member_{member}_not_redrawn"

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the disagreement of the members about each sample, (B,)."""
        check_whole(model)
        inputs = self.task.inputs(batch)
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self._states = _moved(self._states, device)
        votes = [plain_outputs(model, inputs, self.task.logits, state) for state in self._states]
        return SCORES[self.score](torch.stack(votes, 1))

    def on_query_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loop: Any) -> None:
        """Make room for the next fit."""
        self._states = [None]

    # -- snapshots ---------------------------------------------------------------------------------------------------

    def on_round_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loop: Any) -> None:
        """Know where snapshots go to."""
        campaign = loop.campaign
        self._save = lambda name, state: campaign.states.save(campaign.round_file(name), state)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse schedules that would be overruled."""
        super().on_fit_start(trainer, pl_module)
        if self._takes_snapshots and trainer.lr_scheduler_configs:
            named = ", ".join(type(config.scheduler).__name__ for config in trainer.lr_scheduler_configs)
            raise ValueError(
                f'QueryByCommittee(source="snapshots") sets the learning rate itself, and `configure_optimizers` '
                f'returned a schedule: {named}. Leave it out, or use `source="fits"`.'
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Divide the batches of the round into cycles."""
        if not self._takes_snapshots:
            return
        batches = batches_of_fit(trainer, pl_module.automatic_optimization)
        if not self.members <= batches < math.inf:
            found = "it is not known how many this one has" if batches == math.inf else f"this one has {batches}"
            raise ValueError(
                f'QueryByCommittee(source="snapshots", members={self.members}) divides the batches of a round into '
                f"cycles, and {found}: max_epochs={trainer.max_epochs} of {trainer.num_training_batches} batches, "
                f"max_steps={trainer.max_steps}. Give `max_epochs` alone, and enough of them."
            )
        self._cycles = Cycles(self.members, int(batches))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the learning rate."""
        if self._takes_snapshots and self._cycles is not None:
            scale_rates(trainer.optimizers, self._cycles.factor(batches_done(trainer, batch_idx)))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a snapshot at the end of a cycle."""
        if self._takes_snapshots and self._cycles is not None and self._save is not None:
            ended = self._cycles.ended(batches_done(trainer, batch_idx) + 1)
            if ended is not None:
                self._save(self._file(ended), tensors_of(pl_module))

    @property
    def _takes_snapshots(self) -> bool:
        return self.source == "snapshots" and self._save is not None


def _moved(states: list[Mapping[str, Tensor] | None], device: torch.device) -> list[Mapping[str, Tensor] | None]:
    """Return the states on the device that the model is on, once and for all; where memory is short, as they are."""
    away = [t for state in states if state is not None for t in state.values() if t.device != device]
    if device.type == "cuda" and 2 * sum(t.nbytes for t in away) > torch.cuda.mem_get_info(device)[0]:
        return states
    if not away:
        return states
    return [None if state is None else {name: t.to(device) for name, t in state.items()} for state in states]
