"""The base of all acquisitions: a Lightning callback that scores samples and selects a batch of them."""

from collections.abc import Mapping
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_al.functional.selection import kmeans_plusplus, top_k
from lightning_al.oracle import Oracle
from lightning_al.task import Task

Rows = Mapping[str, Tensor]


class Acquisition(Callback):
    """Decides which samples to label next.

    Add one to ``Trainer(callbacks=[...])`` and run the project with an
    :class:`~lightning_al.ActiveLearningLoop`. To write one's own, override :meth:`score_batch`; or :meth:`rows` and
    :meth:`select` for methods that need more than a score.

    Args:
        selection: How a batch follows from the scores: ``"top"``, the largest, or ``"kmeans++"``, spread out over the
            values of the scores (first the largest, then ∝ squared distance to the nearest score picked).

    Raises:
        ValueError: If ``selection`` is neither.

    Example:
        >>> class Certain(Acquisition):
        ...     def score_batch(self, model, batch):
        ...         return self.task.logits(model, self.task.inputs(batch)).softmax(1).amax(1)
        >>> Certain().select({"score": torch.tensor([0.2, 0.9, 0.4])}, 2, labelled_rows={}, generator=None)
        tensor([1, 2])
    """

    requires: ClassVar[frozenset[str]] = frozenset({"logits"})
    """What :meth:`rows` takes from the model: "logits", "features", "gradients". Empty: the model is not run."""

    uses_labelled: ClassVar[bool] = False
    """Whether :meth:`select` needs the rows of the labelled samples too."""

    # Here, and not in `__init__`, which an acquisition of one's own may forget to call.
    selection = "top"
    _task: Task | None = None
    _warned_equal = False

    def __init__(self, *, selection: str = "top") -> None:
        if selection not in ("top", "kmeans++"):
            raise ValueError(f'`selection` must be "top" or "kmeans++", got {selection!r}.')
        self.selection = selection

    @property
    def batch_multiple(self) -> int:
        """Batches and shards of the candidate list are cut only at multiples of this."""
        return 1

    @property
    def task(self) -> Task:
        """What a batch means, as the loop knows it.

        Raises:
            RuntimeError: Outside a loop.
        """
        if self._task is None:
            raise RuntimeError(
                f"{type(self).__name__} is bound to no loop. Run it with `ActiveLearningLoop(model, datamodule, ...)"
                ".run(trainer)`; for scores alone use `lightning_al.functional`."
            )
        return self._task

    def bind(self, task: Task, oracle: Oracle) -> None:
        """Take part in a loop. Override to refuse what the acquisition cannot work with, before anything trains."""
        self._task = task

    def unbind(self) -> None:
        """Leave the loop."""
        self._task = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Warn where a plain ``trainer.fit`` would silently ignore this callback."""
        if self._task is None:
            rank_zero_warn(
                f"{type(self).__name__} is among the callbacks, but no loop is bound: `trainer.fit` trains once, on "
                "all data, and asks for nothing. Use `ActiveLearningLoop(model, datamodule, ...).run(trainer)`."
            )

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return what :meth:`select` needs of each sample of a batch: tensors with the batch as first dimension.

        The model is in ``eval()`` and the batch on its device. The key ``"score"`` is reported in the history;
        ``"index"`` is reserved.
        """
        return {"score": self.score_batch(model, batch)}

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the score of each sample of a batch, (B,). Larger = more wanted."""
        raise NotImplementedError(f"{type(self).__name__} must define `score_batch` (or `rows` and `select`).")

    def select(self, rows: Rows, k: int, *, labelled_rows: Rows, generator: torch.Generator | None) -> Tensor:
        """Choose ``k`` of the candidates.

        Args:
            rows: What :meth:`rows` gave for the candidates, in candidate order, and their dataset indices ``"index"``.
            k: How many, at most the number of candidates.
            labelled_rows: The same of the labelled samples where :attr:`uses_labelled`, else empty.
            generator: The only source of randomness, seeded by campaign seed and round.

        Returns:
            LongTensor (k,) of distinct positions in ``rows``.
        """
        scores = rows["score"]
        if len(scores) > k and not self._warned_equal and bool((scores == scores[0]).all()):
            self._warned_equal = True
            rank_zero_warn(
                f"{type(self).__name__} gave all {len(scores)} candidates the same score, {float(scores[0]):.4g}; they "
                "are taken in their random order. A zero-initialised last layer does this."
            )
        if self.selection == "top":
            return top_k(scores, k)
        if generator is None:
            raise ValueError('`selection="kmeans++"` draws at random and needs a `generator`.')
        return kmeans_plusplus(scores, k, generator=generator, first=int(top_k(scores, 1)) if k else None)
