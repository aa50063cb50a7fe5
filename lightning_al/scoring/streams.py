"""The best of a stream: samples are scored as they come, and the best few of them are kept."""

import contextlib
import operator
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.query import Query
from lightning_al.checks import rows_not_finite
from lightning_al.data.for_trainer import ForTrainer
from lightning_al.data.stream import Stream, drawn
from lightning_al.distributed.randomness import derive_seed, draws_undone, seed_global
from lightning_al.distributed.ranks import gather_objects
from lightning_al.gradients.comparisons import scores_withdrawn
from lightning_al.inference.batches import copy_of
from lightning_al.inference.precision import OF_TRAINER, Lowered, full_precision, lower_forwards
from lightning_al.scoring.pick import in_words
from lightning_al.scoring.pool_pass import pass_of_its_own
from lightning_al.scoring.rehearsal import check_classes_known, looks_at_outputs
from lightning_al.scoring.scores import Scores
from lightning_al.scoring.subject import Subject
from lightning_al.stages import stage
from lightning_al.storage.weights import in_pieces
from lightning_al.tasks.base import Task
from lightning_al.words import cut

_FEW = 10


class Best:
    """The best ``k`` of samples that come batch by batch; at most ``2 k`` are in memory, and a batch.

    A key that comes several times counts once, with its largest score. Of equal scores those come first that a hash of
    seed and key puts first, so that it does not matter which process saw a sample, or when.

    Args:
        k: How many.
        seed: Breaks ties.

    Example:
        >>> best = Best(2, seed=0)
        >>> best.add(["a", "b", "c"], torch.tensor([0.25, 0.75, 0.5]))
        >>> best.add(["b", "d"], torch.tensor([0.75, 0.125]))
        >>> best.ranked()
        [('b', 0.75), ('c', 0.5)]
    """

    def __init__(self, k: int, seed: int) -> None:
        self.k = k
        self.seed = seed
        self.seen = 0
        self.repeated = 0
        """How often a key came again that was kept."""
        self.differ = 0
        """How often it came with another score."""
        self._kept: dict[str, float] = {}
        self._least = -torch.inf

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, keys: Sequence[str], scores: Tensor) -> None:
        """Take the scores (B,) of a batch, finite, and the keys of its samples."""
        self.seen += len(keys)
        values = scores.double()
        for position in torch.nonzero(values >= self._least).flatten().tolist():
            self._take(keys[position], float(values[position]))
        if len(self._kept) > 2 * self.k:
            self._prune()

    def merge(self, others: Sequence["Best"]) -> None:
        """Take what others kept of their parts of the stream."""
        for other in others:
            self.seen, self.repeated = self.seen + other.seen, self.repeated + other.repeated
            self.differ += other.differ
            for key, score in other.ranked():
                self._take(key, score)

    def _take(self, key: str, score: float) -> None:
        before = self._kept.get(key)
        if before is not None:
            self.repeated += 1
            self.differ += abs(before - score) > 1e-5 * max(abs(before), abs(score))
        self._kept[key] = score if before is None else max(before, score)

    def _prune(self) -> None:
        self._kept = dict(self.ranked())
        self._least = min(self._kept.values())

    def ranked(self) -> list[tuple[str, float]]:
        """Return keys and scores of the best, in their order."""
        rows = [(-score, drawn(self.seed, key), key) for key, score in self._kept.items()]
        return [(key, -score) for score, _, key in sorted(rows)[: self.k]]


def check_scores_alone(acquisition: Acquisition, task: Task) -> None:
    """Refuse an acquisition for which a sample's score, once known, does not say how good it is.

    Raises:
        ValueError: With those that can be taken.
    """
    name, kind = type(acquisition).__name__, type(acquisition)
    if kind.select is not Acquisition.select or not acquisition.gathers or not acquisition.sees_samples:
        why = "picks samples that go together, or by no score, and so needs all of them at once"
    elif acquisition.selection != "top":
        why = f'spreads its picks over all samples (`selection="{acquisition.selection}"`)'
    elif acquisition.uses_labelled or "labels" in acquisition.requires:
        why = "looks at labelled samples"
    elif acquisition.batch_multiple != 1:
        why = "scores groups of samples, which a stream has not"
    elif type(task).placed is not Task.placed and "logits" in acquisition.requires:
        why = f"has no score for samples without a decision, which `{type(task).__name__}` places among all others"
    else:
        return
    raise _needs_all(name, why)


def _needs_all(name: str, why: str) -> ValueError:
    return ValueError(
        f"The samples are a stream, of which the best are kept as they come, and `{name}` {why}. Take one that scores "
        "each sample by itself (`Entropy`, `Margin`, `LeastConfidence`, `BALD`, `EntropyGradNorm`, `SAAL(group_size=1)`"
        '; `selection="top"`), or give a map-style dataset.'
    )


def _learn(subject: Subject, acquisition: Acquisition, seed: int) -> None:
    """Let an acquisition take what it draws by, and refuse one that asks for samples."""

    def needs_samples(*args: Any) -> Any:
        raise _needs_all(type(acquisition).__name__, "learns from samples before it scores")

    nothing = torch.empty(0, dtype=torch.long)
    acquisition.learn(
        Query(
            trainer=subject.trainer,
            model=subject.model,
            round=0,
            size=0,
            seed=derive_seed(seed, 0, "select", "learn"),  # as in a campaign's first query
            candidates=nothing,
            labelled=nothing,
            loader=needs_samples,
            to_device=needs_samples,
            score=needs_samples,
            keep=lambda name, make: make(),
            refit=needs_samples,
        )
    )


def score_stream(subject: Subject, acquisition: Acquisition, stream: Stream, k: int, *, seed: int) -> Scores:
    """Score the samples of a stream as they come, and return the best of them; the same on every process.

    Args:
        subject: What is scored, and by which Trainer; its ``predict_dataloader`` gives the stream's batches.
        acquisition: Bound to its task; it scores each sample by itself.
        stream: The samples, or this process's part of them.
        k: How many are kept.
        seed: Decides all draws.

    Raises:
        ValueError: If a score is not finite, with the keys; if there is no sample; or the acquisition needs the number
            of classes and the task does not know it.
    """
    trainer, model = subject.trainer, subject.model
    if trainer.world_size > 1 and in_pieces(model.modules()):
        raise ValueError(
            "The model's weights are sharded over processes, which must all score equally many batches, and a stream "
            "does not say how many it has. Score it on one device, or give a map-style dataset."
        )
    _learn(subject, acquisition, seed)
    scoring_seed = derive_seed(seed, 0, "score")
    begins_anew = True
    while begins_anew:  # each time, a faster way to scores is taken no more
        watch = _Watch(subject, acquisition, stream, Best(k, seed))
        with (
            stage(f"scoring with {in_words(acquisition)}"),
            pass_of_its_own(trainer, model, watch.step),
            draws_undone(),
            scores_withdrawn() as withdrawn,
        ):
            seed_global(scoring_seed, trainer.global_rank)
            trainer.predict(model, datamodule=ForTrainer(subject.data), return_predictions=False)
        begins_anew = any(gather_objects(bool(withdrawn)))
    return watch.scores()


class _Watch:
    """Scores the batches of a pass over a stream, and takes note of the best, and of what is wrong."""

    def __init__(self, subject: Subject, acquisition: Acquisition, stream: Stream, best: Best) -> None:
        self.subject, self.acquisition, self.stream, self.best = subject, acquisition, stream, best
        self._wrong: list[str] = []
        self._first_keys: list[str] = []
        self._dtype = torch.float32

    def step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Tensor:
        """Score a batch, in place of the module's ``predict_step``."""
        keys, model, task = self.stream.next_keys(), self.subject.model, self.subject.task
        if self.best.seen == 0:
            self._first_keys = keys
            if looks_at_outputs(task, self.acquisition):
                with full_precision(model.device.type):
                    task.check(model, copy_of(batch))
            check_classes_known(self.acquisition, task)
        scores = self._scores_of(batch, keys)
        is_wrong = rows_not_finite(scores)
        if len(is_wrong):
            self._wrong += [keys[position] for position in is_wrong.tolist()]
            if self.subject.trainer.world_size == 1:  # of several the others wait for this one
                self._refuse_wrong(self._wrong)
            scores = scores.nan_to_num(-torch.inf, -torch.inf, -torch.inf)
        self._dtype = scores.dtype
        self.best.add(keys, scores)
        return torch.empty(0)  # None would make Lightning warn

    def _scores_of(self, batch: Any, keys: list[str]) -> Tensor:
        name = self.acquisition.name_in_errors
        model = self.subject.model
        lower = self.subject.pool_precision == OF_TRAINER and not self.acquisition.differentiates
        lowered = Lowered(model, self.subject.trainer.precision_plugin.forward_context)
        with full_precision(model.device.type), lower_forwards(lowered) if lower else contextlib.nullcontext():
            rows = self.acquisition.rows(model, batch)
        scores = rows.get("score") if isinstance(rows, dict) else None
        if not isinstance(scores, Tensor) or scores.shape != (len(keys),):
            got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(
                f"`{name}` must give one score per sample of a batch, ({len(keys)},), got {got}. A collate function "
                "that leaves samples out, or makes several of one, cannot be used for a stream."
            )
        return scores.detach().cpu()

    def _refuse_wrong(self, keys: Sequence[str]) -> None:
        if keys:
            raise ValueError(
                f"`{self.acquisition.name_in_errors}` gave NaN or infinite scores for {len(keys)} samples, of keys "
                f"{cut(', '.join(map(repr, keys[:_FEW])), 300)}. Check these samples, and whether training diverged."
            )

    def scores(self) -> Scores:
        """Return the best of all processes' parts, and say what was seen."""
        self._refuse_wrong([key for keys in gather_objects(self._wrong) for key in keys])
        of_ranks = gather_objects(self.best)
        firsts = gather_objects(self._first_keys)
        best = Best(self.best.k, self.best.seed)
        best.merge(of_ranks)
        if best.seen == 0:
            raise ValueError("The stream has no sample to score.")
        ranked = best.ranked()
        rank_zero_info(f"{best.seen:,} samples of the stream were scored, and the best {len(ranked):,} are kept.")
        if len(of_ranks) > 1 and firsts[0] and firsts.count(firsts[0]) == len(firsts):
            rank_zero_warn(
                f"All {len(firsts)} processes were given the same samples, so that each scored the whole stream. The "
                "picks are right; to share the work let the stream give each process its part (by "
                "`torch.distributed.get_rank()`; `split_dataset_by_node` of `datasets`)."
            )
        if best.differ:
            rank_zero_warn(
                f"{best.differ} of {best.repeated} repeated keys came with another score: keys that several samples "
                "have name one of them, the best. Give each sample a key of its own."
            )
        if len(ranked) < best.k:
            rank_zero_warn(f"`k={best.k}` is more than the {len(ranked)} samples that the stream has.")
        index = torch.arange(len(ranked))
        score = torch.tensor([score for _, score in ranked], dtype=torch.float64).to(self._dtype)
        return Scores(index, list(map(operator.itemgetter(0), ranked)), score, index.tolist())
