"""The base of all acquisitions: a Lightning callback that scores samples and selects a batch of them."""

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_al.acquisition.query import Query, Rows
from lightning_al.acquisition.regions import Regions, check_maps
from lightning_al.checks import check_choice, needed_generator
from lightning_al.completion import OffersLess
from lightning_al.functional.selection.badge import badge
from lightning_al.functional.selection.kmeans_plusplus import kmeans_plusplus
from lightning_al.functional.selection.top_k import top_k
from lightning_al.inference.shared_forward import shared_outputs
from lightning_al.oracle.base import Oracle
from lightning_al.tasks.base import Task
from lightning_al.words import cut, shown

SELECTIONS = ("top", "kmeans++", "badge")

REQUIREMENTS = (
    "outputs",
    "logits",
    "values",
    "features",
    "gradients",
    "encoder",
    "classes",
    "labels",
    "labellings",
)
"""The words of :attr:`Acquisition.requires`."""

OF_SAMPLES = frozenset({"outputs", "logits", "values", "features", "gradients", "encoder"})
"""Those that come from a pass over samples."""

CHECKED = frozenset({"outputs", "logits", "values", "classes"})
"""Those for which the task looks at the model's outputs before anything trains."""

_OF_TASK = {
    "outputs": ("the model's outputs", "Use an acquisition that does without."),
    "logits": (
        "class scores",
        "Of a model that gives real values there are the variance and the model change that passes or members expect "
        '(`MCDropout` or `QueryByCommittee` with `score="variance"` or `"model_change"`), `BADGE`, `CoreSet`, '
        "`TypiClust`, `LearningLoss` and `Random`.",
    ),
    "values": (
        "real values",
        "Take another `score=`; or, if real values are what the model gives, `task=RegressionTask()`.",
    ),
    "classes": ("classes", "Give the number of clusters: `clusters=`."),
    "features": ("features", "Use an acquisition that does without."),
    "gradients": ("gradients", "Use an acquisition that does without."),
    "labellings": (
        "the sum over all labels that a sample may have",
        "Use `EntropyGradNorm`, or `ExpectedGradNorm()`, which draws labels instead.",
    ),
}
"""What a task may give or not: in words, and what to do where it does not."""


class Acquisition(OffersLess, Callback):
    """Decides which samples to label next.

    Add one to ``Trainer(callbacks=[...])`` and run the project with an
    :class:`~lightning_al.ActiveLearningLoop`. To write one's own, override :meth:`score_batch`; or :meth:`rows` and
    :meth:`select` for methods that need more than a score. To choose regions of images, :meth:`pixel_scores`.

    The attribute ``requires`` tells the loop what the acquisition works with, so that the loop spares a pass over the
    samples that nothing needs, and refuses early what could not work. It is a frozenset of these words:

    - ``"outputs"``, ``"features"``, ``"gradients"``: :meth:`rows` takes these of the user's model. The acquisition
      cannot choose the initial set then, since no model is trained yet.
    - ``"logits"``, ``"values"``: outputs that are class scores, or real values.
    - ``"encoder"``: :meth:`rows` runs a network of the acquisition's own.
    - ``"classes"``: the task must know the number of classes.
    - ``"labels"``: some samples must be labelled, so the acquisition cannot choose the initial set.
    - ``"labellings"``: a sum over all labels that a sample may have, which are too many where it has many decisions.

    A word that the task does not give (:attr:`~lightning_al.tasks.Task.gives`) is refused before anything trains.
    Without one of the first six, and without a :meth:`score_batch` or :meth:`rows` of its own, there is no pass over
    the samples, and :meth:`select` gets their dataset indices alone. The model's outputs are checked before anything
    trains where ``"outputs"``, ``"logits"``, ``"values"`` or ``"classes"`` is among the words. The default is
    ``frozenset({"logits"})``.

    Args:
        selection: How a batch follows from the scores: ``"top"``, the largest; ``"kmeans++"``, spread out over the
            values of the scores (first the largest, then ∝ squared distance to the nearest score picked); or
            ``"badge"``, spread out over the gradients of the last layer (:func:`lightning_al.functional.badge`), each
            made longer by its sample's score, which must not be negative.

    Raises:
        ValueError: If ``selection`` is none of these, or ``"badge"`` for scores that are negative.
        TypeError: When a subclass is written whose ``requires`` holds another word.

    Example:
        >>> class Certain(Acquisition):
        ...     def score_batch(self, model, batch):
        ...         return self.task.logits(model, self.task.inputs(batch)).softmax(1).amax(1)
        >>> Certain().select({"score": torch.tensor([0.2, 0.9, 0.4])}, 2, labelled_rows={}, generator=None)
        tensor([1, 2])
    """

    _not_offered = """add_dropout begin_batch begin_pass bind centres_of check_fitted check_model check_pool
        differentiates features_of gathers has_region_scores log_probabilities look looks_inside make_features
        name_in_errors needs_of_campaign never_negative redraw region_spacing region_variant score_passes
        sees_samples selects_unlearnt takes_part_in_fits unbind values"""

    requires: frozenset[str] = frozenset({"logits"})
    """What the acquisition works with, in the words that the docstring of the class lists."""

    uses_labelled: ClassVar[bool] = False
    """Whether :meth:`select` needs the rows of the labelled samples too."""

    gathers: ClassVar[bool] = True
    """Whether :meth:`select` runs once, on rank 0, with the rows of all processes. If not, rows stay in the process
    that made them, ``rows`` are :class:`LocalRows`, and every process calls :meth:`select`, which gives the same
    positions on each."""

    selects_unlearnt: ClassVar[bool] = False
    """Whether :meth:`select` does without :meth:`learn` where the initial set is chosen, for which there is none."""

    looks_inside: ClassVar[bool] = False
    """Whether rows depend on what happens inside of the model, as masks of dropout do, so that padding may have a part
    in them although the outputs leave it out; as features do in any case."""

    needs_of_campaign: str = ""
    """What scores need that only a campaign makes, in words; empty where a fitted model is enough."""

    takes_part_in_fits: bool = False
    """Whether scores need what its hooks did in the fit of the round."""

    never_negative: ClassVar[bool] = True
    """Whether scores are at least 0, as ``selection="badge"`` needs."""

    region_variant: str = "exact"
    """How regions are picked by their scores: ``variant`` of :func:`lightning_al.functional.pick_squares`."""

    # Here, and not in `__init__`, which an acquisition of one's own may forget to call.
    selection = "top"
    _task: Task | None = None
    _warned_equal = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not isinstance(cls.requires, property):  # whose words are checked when an instance takes part in a loop
            check_requirements(cls, cls.requires)

    def __init__(self, *, selection: str = "top") -> None:
        check_choice("selection", selection, SELECTIONS)
        if selection == "badge" and not self.never_negative:
            raise ValueError(
                f'`selection="badge"` makes gradients longer by the score, and `{type(self).__name__}`\'s is negative. '
                'Use "top" or "kmeans++".'
            )
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

    @property
    def sees_samples(self) -> bool:
        """Whether there is a pass over the samples, for :meth:`rows`."""
        own = type(self).rows is not Acquisition.rows or type(self).score_batch is not Acquisition.score_batch
        return own or bool(self.requires & OF_SAMPLES)

    @property
    def differentiates(self) -> bool:
        """Whether rows are made of gradients of the model, which then runs in full precision whatever the loop says."""
        return "gradients" in self.requires

    def bind(self, task: Task, oracle: Oracle) -> None:
        """Take part in a loop. Override to refuse what the acquisition cannot work with, before anything trains."""
        check_requirements(type(self), self.requires)
        check_given(type(self), self.requires, task)
        if task.region_kind is not None and not self.has_region_scores:
            raise ValueError(
                f"`{type(self).__name__}` has no score for each pixel, and `{type(task).__name__}` asks for "
                f"{task.region_kind}. Take `RIPU`, `RISAAL`, `Entropy`, `Margin`, `LeastConfidence` or `Random`, or "
                "ask for whole samples."
            )
        self._task = task

    def check_pool(self, size: int) -> None:
        """Refuse, before anything trains, a dataset of ``size`` samples that the acquisition cannot work with."""

    def check_model(self, model: pl.LightningModule) -> None:
        """Refuse a model of a kind that the acquisition cannot work with, before any data are looked at."""

    def check_fitted(self, model: pl.LightningModule) -> None:
        """Refuse a model that lacks what a fit would have given it, where none comes before the scores.

        Override where scores need a part of the model that may not be there. By default nothing is refused.
        """

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

    def learn(self, query: Query) -> None:
        """Train what the acquisition needs besides the model, such as a network of its own, before it scores.

        Runs on every rank. What takes long belongs in ``query.keep``.
        """

    @property
    def name_in_errors(self) -> str:
        """What errors call it: its class."""
        return type(self).__name__

    def begin_pass(self, indices: Tensor) -> None:
        """Take note that samples come next to :meth:`rows`, in order and batch by batch; by default nothing is done.

        A pass may begin anew before it is over, and then all of it counts for nothing.

        Args:
            indices: Dataset indices of those that this process sees, (N,). The last may be there several times.
        """

    def begin_batch(self, indices: Tensor) -> None:
        """Take note that a batch of these samples comes next to :meth:`rows`; by default nothing is done.

        Args:
            indices: Their dataset indices, (B,).
        """

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return what :meth:`select` needs of each sample of a batch: tensors with the batch as first dimension.

        The model is in ``eval()`` and the batch on its device. Also called once before anything trains, so that what
        cannot work is refused early; before :meth:`learn` then. The key ``"score"`` is reported in the history;
        ``"index"`` is reserved.
        """
        # First the layer, whose forward pass has the outputs too.
        factors = self.last_layer_rows(model, batch) if self.selection == "badge" else {}
        return {"score": self.score_batch(model, batch), **factors}

    def last_layer_rows(self, model: pl.LightningModule, batch: Any, layer: str | None = None) -> dict[str, Tensor]:
        """Return the two factors of each sample's last-layer gradient: ``"residuals"`` (B, C), ``"features"`` (B, d).

        In full precision even under autocast. ``layer`` is the one that features come from; default the last.
        """
        inputs = self.task.inputs(batch)
        outputs, features = shared_outputs(model, inputs, partial(self.task.outputs_and_features, layer=layer))
        return {"residuals": self.task.residuals(outputs), "features": features}

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the score of each sample of a batch, (B,). Larger = more wanted."""
        raise NotImplementedError(f"{type(self).__name__} must define `score_batch` (or `rows` and `select`).")

    @property
    def has_region_scores(self) -> bool:
        """Whether it can choose regions of samples: :meth:`pixel_scores` or :meth:`region_scores` is overridden."""
        own = type(self)
        return own.pixel_scores is not Acquisition.pixel_scores or own.region_scores is not Acquisition.region_scores

    def pixel_scores(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the score of each pixel of a batch, (B, H, W), for tasks that ask for regions. Larger = more wanted.

        The model is in ``eval()`` and the batch on its device.
        """
        raise NotImplementedError(f"{type(self).__name__} has no score for each pixel.")

    def region_scores(self, model: pl.LightningModule, batch: Any, regions: Regions) -> Tensor:
        """Return the score of the region of each pixel, (B, H, W), by default the mean of :meth:`pixel_scores` there.

        Of squares it is the one around the pixel; of superpixels the one that it belongs to, all of which have a score.
        """
        scores = self.pixel_scores(model, batch)
        method = f"{type(self).__name__}.pixel_scores"
        check_maps(method, scores, len(regions.draws) or None)
        if not scores.is_floating_point():
            raise TypeError(f"`{method}` must give floating-point numbers, got {scores.dtype}.")
        return regions.mean(scores)

    def region_spacing(self, radius: int) -> int:
        """Return how far the centre of a square is at least from pixels that were asked for before.

        Args:
            radius: Of the squares, by which they never overlap; the default.
        """
        return radius

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
                "are taken in their random order. A zero-initialised last layer does this, or a score of few values."
            )
        if self.selection == "top":
            return top_k(scores, k)
        generator = needed_generator(generator, f"selection={self.selection!r}", "draws at random")
        if self.selection == "badge":
            if bool((scores < 0).any()):
                raise ValueError(f'`selection="badge"` needs scores of at least 0, got {float(scores.min()):.4g}.')
            weighted = rows["residuals"] * scores.unsqueeze(1).to(rows["residuals"].dtype)
            return badge(weighted, rows["features"], k, generator=generator, ids=rows.get("index"))
        first = int(top_k(scores, 1)) if k else None
        return kmeans_plusplus(scores, k, generator=generator, first=first, ids=rows.get("index"))


def check_requirements(cls: type, requires: Any) -> None:
    """Refuse a ``requires`` that is no set of the words in ``REQUIREMENTS``.

    Raises:
        TypeError: With the class, what is wrong and the words that are allowed.
    """
    allowed = ", ".join(f'"{word}"' for word in REQUIREMENTS)
    if not isinstance(requires, (frozenset, set)):
        raise TypeError(
            f"`{cls.__name__}.requires` must be a frozenset of some of the words {allowed}, got {shown(requires)}. "
            'Write `requires = frozenset({"logits"})`.'
        )
    unknown = sorted(map(shown, requires - set(REQUIREMENTS)))
    if unknown:
        raise TypeError(
            f"`{cls.__name__}.requires` has the unknown {'word' if len(unknown) == 1 else 'words'} "
            f"{cut(', '.join(unknown))}. Use some of {allowed}."
        )


def says_nothing(cls: type[Acquisition]) -> bool:
    """Whether a class of somebody's own has the ``requires`` that stands where none is written."""
    return cls.requires is Acquisition.requires and cls.__module__.partition(".")[0] != __name__.partition(".")[0]


def check_given(cls: type[Acquisition], requires: Iterable[str], task: Task) -> None:
    """Refuse what needs something that a task does not give.

    Args:
        cls: What needs it.
        requires: What it needs, in the words of :attr:`Acquisition.requires`.
        task: Of the loop.

    Raises:
        ValueError: With the way out.
    """
    lacking = [word for word in _OF_TASK if word in requires and word not in task.gives]
    if lacking:
        what, way = _OF_TASK[lacking[0]]
        if says_nothing(cls):
            given = "values" if "values" in task.gives else "outputs"
            way += (
                " Or say in the class what it works with, where that is something else: "
                f'`requires = frozenset({{"{given}"}})`.'
            )
        raise ValueError(f"`{cls.__name__}` needs {what}, and `{type(task).__name__}` has none. {way}")


def learns(acquisition: Acquisition) -> bool:
    """Whether an acquisition trains something besides the model, see :meth:`Acquisition.learn`."""
    return type(acquisition).learn is not Acquisition.learn
