"""Acquisitions that run the model several times with dropout switched on."""

from collections.abc import Callable
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_al import functional as F_al
from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.one_decision import logits_of_one_decision
from lightning_al.acquisition.query import Query, Rows
from lightning_al.acquisition.value_scores import VALUE_SCORES
from lightning_al.checks import Findings, check_choice, needed_generator
from lightning_al.functional.scores.disagreement import mean_entropies, mutual_informations, variation_ratios
from lightning_al.functional.scores.mc_dropout import check_mc_dropout
from lightning_al.functional.selection.batch_bald import check_configurations
from lightning_al.inference.calling import Forward

DROPOUT_SCORES = {"entropy": mean_entropies, "variation_ratio": variation_ratios}
"""Those of classes."""


class DropoutAcquisition(Acquisition):
    """Scores what a model says in several passes with dropout; see :func:`lightning_al.functional.mc_dropout`.

    In each pass all samples get the same masks, which follow from the campaign's seed and the round.

    Args:
        passes: How many, at least 2.
        add_dropout: Probability of a dropout put before the last linear layer while scoring, beside what the model
            has; ``None``: none, and the model must have some.
        selection: How a batch follows from the scores.

    Raises:
        ValueError: If an option is out of range; in a loop, before anything trains, if nothing in the model drops.
    """

    looks_inside: ClassVar[bool] = True

    _seed = 0  # until `learn`: for the rehearsal

    def __init__(self, *, passes: int, add_dropout: float | None, selection: str = "top") -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(selection=selection)
            findings.of(check_mc_dropout, passes, add_dropout)
        self.passes = passes
        self.add_dropout = add_dropout

    def learn(self, query: Query) -> None:
        """Take the seed of the round's masks."""
        self._seed = query.seed

    def log_probabilities(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return those of each sample in each pass, (B, T, C)."""
        return self._passes(model, self.task.inputs(batch), self.task.logits, returns="log_probabilities")

    def score_passes(self, model: pl.LightningModule, batch: Any, score: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the score of each sample, (B,), from that of its decisions' log-probabilities, (B, T, C, ...)."""

        def reduced(forward: Forward, inputs: Any) -> Tensor:
            return self.task.reduce(score(self._passes(model, inputs, forward, returns="log_probabilities")))

        return self.task.score_of_several(model, self.task.inputs(batch), reduced)

    def values(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the model's outputs for each sample in each pass, (B, T, ...)."""
        return self._passes(model, self.task.inputs(batch), self.task.outputs, returns="outputs")

    def _passes(self, model: pl.LightningModule, inputs: Any, forward: Forward, *, returns: str) -> Tensor:
        return F_al.mc_dropout(
            model,
            inputs,
            passes=self.passes,
            seed=self._seed,
            add_dropout=self.add_dropout,
            forward=forward,
            returns=returns,
        )


class MCDropout(DropoutAcquisition):
    r"""Most uncertain over several passes with dropout (Gal & Ghahramani, ICML 2016; Gal et al., ICML 2017).

    Only dropout is switched on, with the same masks for all samples; see :func:`lightning_al.functional.mc_dropout`.

    Args:
        passes: How many, at least 2.
        score: ``"entropy"`` of the mean prediction, or ``"variation_ratio"``, the share of the passes that do not vote
            for the class with most votes; see :func:`lightning_al.functional.mean_entropy` and
            :func:`lightning_al.functional.variation_ratio`. Of real values ``"variance"``, or ``"model_change"``, the
            expected one, with the passes for what the label may be; see
            :func:`lightning_al.functional.prediction_variance` and :func:`lightning_al.functional.model_change`.
        add_dropout: Probability of a dropout put before the last linear layer while scoring, beside what the model
            has; ``None``: none, and the model must have some.
        selection: ``"top"``, ``"kmeans++"`` or ``"badge"``.

    Raises:
        ValueError: If an option is out of range; in a loop, before anything trains, if nothing in the model drops.
    """

    def __init__(
        self,
        passes: int = 20,
        score: str = "entropy",
        add_dropout: float | None = None,
        selection: str = "top",
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(passes=passes, add_dropout=add_dropout, selection=selection)
            findings.of(check_choice, "score", score, [*DROPOUT_SCORES, *VALUE_SCORES])
        self.score = score
        if score in VALUE_SCORES:
            self.requires = VALUE_SCORES[score].requires

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the uncertainty of each sample, (B,)."""
        if self.score in VALUE_SCORES:
            return VALUE_SCORES[self.score].of(self.task, model, batch, self.values(model, batch))
        return self.score_passes(model, batch, DROPOUT_SCORES[self.score])


class BALD(DropoutAcquisition):
    r"""Largest mutual information of the label and the model, over passes with dropout (Gal et al., ICML 2017).

    .. math:: H\Bigl(\tfrac1T\sum_t p_t\Bigr) - \tfrac1T\sum_t H(p_t)

    See :func:`lightning_al.functional.bald` and, for the passes, :func:`lightning_al.functional.mc_dropout`.

    Args:
        passes: How many, at least 2.
        add_dropout: Probability of a dropout put before the last linear layer while scoring, beside what the model
            has; ``None``: none, and the model must have some.
        selection: ``"top"``, ``"kmeans++"`` or ``"badge"``.

    Raises:
        ValueError: If an option is out of range; in a loop, before anything trains, if nothing in the model drops.
    """

    def __init__(self, passes: int = 20, add_dropout: float | None = None, selection: str = "top") -> None:
        super().__init__(passes=passes, add_dropout=add_dropout, selection=selection)

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the mutual information of each sample, (B,)."""
        return self.score_passes(model, batch, mutual_informations)


class BatchBALD(DropoutAcquisition):
    """The batch whose labels together say the most about the model, over passes with dropout (Kirsch et al., 2019).

    See :func:`lightning_al.functional.batch_bald` and, for the passes, :func:`lightning_al.functional.mc_dropout`. The
    scores that are reported are BALD's, of each sample alone. Every process sends all its log-probabilities, passes
    times classes for each candidate, to all others: of large pools take a ``subpool_size``.

    Args:
        passes: How many, at least 2; more than samples in a batch, since T passes can tell log T nats at most.
        configurations: Of the labels of the batch: up to so many possible ones the joint entropy is exact, then it
            is estimated from as many drawn ones.
        add_dropout: Probability of a dropout put before the last linear layer while scoring, beside what the model
            has; ``None``: none, and the model must have some.

    Raises:
        ValueError: If an option is out of range; in a loop, before anything trains, if nothing in the model drops or
            its outputs are not of shape (B, C).
    """

    def __init__(self, passes: int = 100, configurations: int = 1000, add_dropout: float | None = None) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(passes=passes, add_dropout=add_dropout)
            findings.of(check_configurations, configurations)
        self.configurations = configurations

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return the ``"log_probabilities"`` of each sample in each pass, (B, T, C), and its ``"score"``."""
        way_out = "the joint entropy of samples of several decisions is out of reach. Use `BALD`."
        forward = logits_of_one_decision(self.task, "BatchBALD", way_out)
        log_p = self._passes(model, self.task.inputs(batch), forward, returns="log_probabilities")
        # Rows must be finite; a probability of 0 stays one.
        return {"log_probabilities": log_p.clamp(min=torch.finfo(log_p.dtype).min), "score": F_al.bald(log_p)}

    def select(self, rows: Rows, k: int, *, labelled_rows: Rows, generator: torch.Generator | None) -> Tensor:
        """Take the candidates that add the most to what their labels say together, one after the other."""
        generator = needed_generator(generator, "BatchBALD", "draws configurations of labels")
        return F_al.batch_bald(rows["log_probabilities"], k, generator=generator, configurations=self.configurations)
