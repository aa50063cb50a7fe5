"""Query by committee: the samples about which the members disagree."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.committee.members import FurtherFits, Member, Members, moved_to
from lightning_al.acquisition.committee.snapshots import Snapshots
from lightning_al.acquisition.query import Query
from lightning_al.acquisition.value_scores import VALUE_SCORES
from lightning_al.checks import Findings, check_choice, check_count, check_flag
from lightning_al.functional.scores.disagreement import consensus_divergences, vote_entropies
from lightning_al.inference.calling import Forward, check_whole
from lightning_al.inference.entries import device_of
from lightning_al.inference.module_state import modules_of
from lightning_al.inference.outputs import plain_outputs
from lightning_al.inference.shared_forward import shared_outputs

COMMITTEE_SCORES: dict[str, Callable[[Tensor], Tensor]] = {"vote_entropy": vote_entropies, "kl": consensus_divergences}
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
            Jensen-Shannon divergence. See :func:`lightning_al.functional.vote_entropy` and ``consensus_kl``. Of real
            values ``"variance"``, or ``"model_change"``, the expected one, with the members' predictions for what the
            label may be; see :func:`lightning_al.functional.prediction_variance` and ``model_change``.
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
        with Findings() as findings:
            with findings.of_block():
                super().__init__(selection=selection)
            findings.of(check_count, "members", members, 2)
            findings.of(check_choice, "source", source, SOURCES)
            findings.of(check_choice, "score", score, [*COMMITTEE_SCORES, *VALUE_SCORES])
            findings.of(check_flag, "redraw", redraw)
        self.members = members
        self.source = source
        self.score = score
        self.redraw = redraw
        if score in VALUE_SCORES:
            self.requires = VALUE_SCORES[score].requires | {"labels"}
        self.needs_of_campaign = "further fits of the model" if source == "fits" else "snapshots of the model's fit"
        self.takes_part_in_fits = source == "snapshots"
        self._source: Members = FurtherFits(members, redraw=redraw) if source == "fits" else Snapshots(members)
        self._members: list[Member] = [None]  # before anything is learnt the model votes alone

    def unbind(self) -> None:
        """Leave the loop."""
        super().unbind()
        self._members = [None]
        self._source.leave()

    # -- a query -----------------------------------------------------------------------------------------------------

    def learn(self, query: Query) -> None:
        """Fit the members, or find the snapshots of the round's fit."""
        self._members = self._source.of(query)

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the disagreement of the members about each sample, (B,)."""
        check_whole(modules_of(model))
        inputs = self.task.inputs(batch)
        self._members = moved_to(device_of(model), self._members)
        if self.score in VALUE_SCORES:
            values = self._votes(model, self.task.outputs, inputs)
            return VALUE_SCORES[self.score].of(self.task, model, batch, values)

        def disagreement(forward: Forward, inputs: Any) -> Tensor:
            return self.task.reduce(COMMITTEE_SCORES[self.score](self._votes(model, forward, inputs)))

        return self.task.score_of_several(model, inputs, disagreement)

    def _votes(self, model: pl.LightningModule, forward: Forward, inputs: Any) -> Tensor:
        """Return what each member says, (B, K, ...)."""
        votes = [
            shared_outputs(model, inputs, forward) if member is None else plain_outputs(model, inputs, forward, member)
            for member in self._members
        ]
        return torch.stack(votes, 1)

    def on_query_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loop: Any) -> None:
        """Make room for the next fit."""
        self._members = [None]

    # -- the fit of a round, in which the source of members may take part --------------------------------------------

    def on_round_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loop: Any) -> None:
        """Tell the source of members where to keep what it takes from the fit."""
        campaign = loop.campaign
        self._source.begin_round(lambda name, state: campaign.states.save(campaign.round_file(name), state))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a fit that gives no members."""
        super().on_fit_start(trainer, pl_module)
        self._source.check_fit(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand the hook on to the source of members."""
        self._source.begin_training(trainer, automatic=pl_module.automatic_optimization)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Hand the hook on to the source of members."""
        self._source.before_batch(trainer, batch_idx)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Hand the hook on to the source of members."""
        self._source.after_batch(trainer, pl_module, batch_idx)
