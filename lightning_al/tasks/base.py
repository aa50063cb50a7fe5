"""The base of all tasks: all that differs between one kind of labels and another."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.data import Dataset

from lightning_al.completion import OffersLess
from lightning_al.distributed.randomness import draws_undone
from lightning_al.functional.scores.positions import mean_over_positions
from lightning_al.functional.scores.probabilities import cross_entropy, pseudo_labels, residuals
from lightning_al.functional.scores.uncertainty import entropies
from lightning_al.inference.calling import Forward
from lightning_al.inference.layers import outputs_and_features_of, outputs_and_features_of_head
from lightning_al.storage.blobs import Blob
from lightning_al.tasks.annotations import Annotation, annotation_of, label_of
from lightning_al.tasks.ignored import loss_of_decisions
from lightning_al.tasks.keys import hash_of, name_of
from lightning_al.tasks.mask_png import mask_from_png
from lightning_al.tasks.own_logits import check_logits_of


class Task(OffersLess, ABC):
    """Translates between a project's batches and what acquisitions and the ledger need.

    A task of one's own overrides three methods, :meth:`inputs`, :meth:`targets` and :meth:`with_label`, and the others
    where classification's defaults do not fit:

    ======================================================  ======================================================
    :meth:`inputs`, :meth:`targets`, :meth:`with_label`     what is where in a batch or sample
    :meth:`completed`                                       samples without a target, where all others have one
    :meth:`logits`                                          what the model gives, as class scores

    :attr:`gives`                                           what acquisitions may ask for, in words
    :meth:`outputs`, :meth:`logits`                         what the model gives; as class scores, where it has some
    :meth:`reduce`, :meth:`score`                           how a sample of several decisions gets one score
    :meth:`score_of_several`                                the same of several looks, with dropout or by a committee
    :meth:`held`, :meth:`entropy`                           what stays while weights move, and what is differentiated
    :meth:`without_decisions`, :meth:`placed`               which samples have nothing to score, and where these come
    :meth:`pseudo_targets`, :meth:`loss`                    the model's own labels, and the loss under labels
    :meth:`known_targets`, :meth:`loss_of_known`            the dataset's own labels, for what is scored with them
    :meth:`residuals`, :meth:`features`                     the two factors of the last layer's gradient
    :meth:`encode_label`, :meth:`decode_label`              labels in the ledger
    :meth:`key`                                             samples in the ledger
    :meth:`check_label`                                     what the ledger has, without encoding it anew
    :meth:`to_annotation`, :meth:`from_annotation`          labels as people and their tools say them
    :meth:`check`, :attr:`num_classes`                      what is refused before training, and what is learnt then
    ======================================================  ======================================================

    The default of :meth:`check` takes logits (B, C, ...) alone: where :meth:`logits` gives anything else, a list say,
    override it too.

    A *decision* is what the model chooses one class for: a sample, or each pixel, box or label of it.
    """

    _not_offered = """always_checks blank_target check_tensor empty entries explaining input_key input_keys inputs_there
        logits_at new_target num_names outputs_and_features outputs_of predicted region_kind superpixel_map tensor_of"""

    gives: ClassVar[frozenset[str]] = frozenset({"outputs", "logits", "classes", "features", "gradients", "labellings"})
    """What acquisitions may ask of a model and its data, in words of ``Acquisition.requires``: one that asks for
    another is refused before anything trains."""

    always_checks: bool = False
    """Whether :meth:`check` sees some of the model's outputs whenever a campaign is opened; otherwise only where the
    acquisition works with them."""

    annotation_kind: str | None = None
    """What people say of a sample: ``"class"``, ``"classes"``, ``"number"``, ``"boxes"`` or ``"mask"``. Labels of such
    a kind are taken from files without the project at hand. None: it is the task's own."""

    regions: int | None = None
    """Pixels each way of the squares that are asked for; None: whole samples, or areas."""

    per_image: bool = True
    """Of regions, whether ``query_size`` is of each image or of the whole pool."""

    @property
    def region_kind(self) -> str | None:
        """What is asked for: ``"squares"`` or ``"superpixels"`` of samples, or None, whole samples."""
        return None

    def superpixel_map(self, batch: Any) -> Any:
        """Return the areas that are asked for, a map (B, H, W) of integers; of a sample (H, W).

        Raises:
            NotImplementedError: If there are none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no areas to ask for.")

    @abstractmethod
    def inputs(self, batch: Any) -> Any:
        """Return what the model is called with: any pytree of tensors with the batch as first dimension."""

    @abstractmethod
    def targets(self, batch: Any) -> Any:
        """Return the targets of a batch. Also called on a single, uncollated sample of the dataset."""

    @abstractmethod
    def with_label(self, sample: Any, label: Any) -> Any:
        """Return a dataset's ``sample`` with its label replaced by ``label``."""

    def completed(self, sample: Any, example: Any) -> Any:
        """Return a sample that may have no target in the form of ``example``, a training sample.

        Its inputs are in their places, and in that of the target its own, or the example's where it has none; what was
        told is put in with :meth:`with_label`. Samples of an ``unlabelled_dataset()`` go through it. Default: as it is.

        Raises:
            TypeError: If it cannot be.
        """
        return sample

    def outputs(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return what the model gives, with a row for each sample: the class scores, unless overridden."""
        return self.logits(model, inputs)

    def logits(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return the raw class scores, (B, C), or (B, C, ...) for samples of several decisions.

        A task that overrides :meth:`score`, :meth:`pseudo_targets`, :meth:`loss` and :meth:`check` may return any
        pytree of tensors with the batch as first dimension; acquisitions that need more than these then refuse it.
        """
        return model(inputs)

    def reduce(self, values: Tensor) -> Tensor:
        """Return one value for each sample from those of its decisions, (B, ...) -> (B,). Default: their mean.

        Scores and losses of every acquisition go through it. Override to look at the most uncertain pixels alone, say.
        Each row must be reduced by itself, differentiably; values (B,) are of samples of a single decision.
        """
        return mean_over_positions(values)

    def score(self, model: nn.Module, inputs: Any, score: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the score of each sample, (B,), by default ``reduce(score(logits))``.

        Override where samples have different numbers of decisions, such as boxes: put the logits of all of them below
        each other, (N, C), take ``score`` of these, (N,), and reduce what belongs to one sample. A sample without any
        decision scores 0, and :meth:`placed` says where it comes.

        Dropout and committees go through :meth:`score_of_several`, gradient norms through :meth:`entropy`.

        Args:
            model: The user's, in ``eval()``.
            inputs: What :meth:`inputs` gave.
            score: Gives every decision's, (B, C, ...) -> (B, ...).
        """
        return self.reduce(score(self.logits(model, inputs)))

    def held(self, model: nn.Module, inputs: Any) -> Any:
        """Return inputs with all that must stay as it is while the weights move, such as where a detector looks.

        Scores by gradients hand it to :meth:`logits` in place of what :meth:`inputs` gave. Default: as they are.
        """
        return inputs

    def entropy(self, logits: Tensor) -> Tensor:
        """Return the entropy of each sample, (B,), by default those of its decisions, reduced.

        ``EntropyGradNorm`` differentiates it; acquisitions that only score by it go through :meth:`score`.
        """
        return self.reduce(entropies(logits))

    def score_of_several(self, model: nn.Module, inputs: Any, score: Callable[[Forward, Any], Tensor]) -> Tensor:
        """Return the score of each sample, (B,), from several looks at its decisions, with dropout or by a committee.

        By default ``score(logits, inputs)``. Override where decisions are found anew in each pass, such as boxes, to
        hold them: give ``score`` a function that looks at the same ones each time.

        Args:
            model: The user's, in ``eval()``.
            inputs: What :meth:`inputs` gave.
            score: ``score(forward, inputs) -> (B,)`` calls ``forward(model, inputs) -> (B, C, ...)`` several times, and
                takes :meth:`reduce` of what it makes of them.
        """
        return score(self.logits, inputs)

    def without_decisions(self, model: nn.Module, inputs: Any, scores: Tensor) -> Tensor | None:
        """Return which samples of a scored batch have no decision, (B,) of bool; None: each has one. Default: None."""
        return None

    def placed(self, scores: Tensor, without: Tensor, draws: Tensor) -> Tensor:
        """Return scores in which samples without a decision have a place among the others. Default: as they are.

        Args:
            scores: Of all candidates by one acquisition, (N,), before any is picked.
            without: Which of them have no decision, as :meth:`without_decisions` says, (N,).
            draws: Drawn from [0, 1) for each, (N,), by the seed and the round.
        """
        return scores

    def pseudo_targets(self, logits: Tensor) -> Any:
        """Return the targets the model itself would give."""
        check_logits_of(self, logits, "pseudo_targets")
        return pseudo_labels(logits)

    def predicted(self, model: nn.Module, inputs: Any) -> list[Any]:
        """Return the label that the model would give each sample, as :meth:`encode_label` takes it."""
        targets = self.pseudo_targets(self.outputs(model, inputs))
        if isinstance(targets, (list, tuple)):  # one for each
            return list(targets)
        leaves, spec = pytree.tree_flatten(targets)
        return [pytree.tree_unflatten(row, spec) for row in zip(*leaves, strict=True)]

    def loss(self, logits: Tensor, targets: Any) -> Tensor:
        """Return the loss of each sample, (B,), by default the cross-entropies of its decisions, reduced."""
        check_logits_of(self, logits, "loss")
        return self.reduce(cross_entropy(logits, targets))

    def loss_of_known(self, logits: Tensor, targets: Any) -> Tensor:
        """Return the loss of each sample, (B,), under the dataset's own targets, of which some may stand for none.

        Decisions whose target is -100, -1 or 255, and no class, are left out; without any other a sample's loss is 0.
        A task with a :meth:`loss` of its own says there what it leaves out.
        """
        if type(self).loss is not Task.loss:
            return self.loss(logits, targets)
        check_logits_of(self, logits, "loss_of_known")
        return loss_of_decisions(logits, targets, self.reduce)

    def known_targets(self, batch: Any) -> Any:
        """Return the dataset's own targets of a batch in which every sample has one, as :meth:`loss` takes them.

        Raises:
            ValueError: If a sample has none. The message is the end of a sentence.
        """
        targets = self.targets(batch)
        if targets is None:
            raise ValueError("some samples have none: their target is None.")
        if isinstance(targets, Tensor) and targets.ndim == 1 and not targets.is_floating_point():
            missing = targets[targets < 0]
            if len(missing):
                raise ValueError(f"some samples have none: their target is {int(missing.min())}.")
        return targets

    def residuals(self, logits: Tensor) -> Tensor:
        """Return the gradient of the loss under the model's own targets towards the last layer's outputs, (B, C).

        With :meth:`features` it makes up the gradient of the last layer, by which ``BADGE`` compares samples.

        Raises:
            ValueError: If there is not one row of outputs for each sample.
        """
        if logits.ndim != 2:
            raise ValueError(
                f"Gradients of the last layer need logits of shape (B, C), got {tuple(logits.shape)}. Use an "
                'acquisition with a score and `selection="top"`, or give the task `residuals(logits)`.'
            )
        return residuals(logits)

    def features(self, model: nn.Module, inputs: Any, layer: str | None = None) -> Tensor:
        """Return what the last layer of the model gets of each sample, or what another layer gives, (B, d).

        Maps and sequences are averaged over their positions.

        Args:
            model: The user's.
            inputs: What :meth:`inputs` gave.
            layer: Name of the layer whose output is meant, as in ``model.named_modules()``. Default: what the last
                linear or convolutional layer that :meth:`outputs` come from gets, of several heads that of its own.

        Raises:
            ValueError: If there is no such layer, or it does not run.
        """
        return self.outputs_and_features(model, inputs, layer)[1]

    def outputs_and_features(self, model: nn.Module, inputs: Any, layer: str | None = None) -> tuple[Tensor, Tensor]:
        """Return :meth:`outputs` and :meth:`features` from one forward pass."""
        if type(self).features is not Task.features:  # a task's own, which may take only two arguments
            where = {} if layer is None else {"layer": layer}
            return self.outputs(model, inputs), self.features(model, inputs, **where)
        if layer is None:
            return outputs_and_features_of_head(self, model, inputs, self.outputs)
        return outputs_and_features_of(model, lambda: self.outputs(model, inputs), layer)

    @property
    def num_classes(self) -> int | None:
        """How many classes there are, where that is known."""
        return None

    @property
    def num_names(self) -> int | None:
        """How many names there are that an annotation may have, where that is known: one for each class."""
        return self.num_classes

    def check(self, model: nn.Module, batch: Any) -> None:
        """Refuse, before anything trains, a model or batch this task cannot work with.

        Returns nothing. Called with a few samples, the model in ``eval()``; what the task learns of the model here,
        such as :attr:`num_classes`, it may keep.

        Raises:
            TypeError: If the model's outputs are of a kind the task has no use for. Override this, where
                :meth:`logits` gives no class scores.
            ValueError: If they are of the wrong shape, or the model fails.
        """
        check_logits_of(self, self.logits(model, self.inputs(batch)), "check")

    def key(self, dataset: Dataset, index: int) -> str:
        """Return what a sample is called, whatever its place in the dataset: the ledger goes by it.

        A name that the data have (:func:`~lightning_al.tasks.keys.namer` says where it looks), or else a hash of the
        sample's input, or else, where that is not the same twice, its index. An override should be quick, and give
        each sample a key of its own.
        """
        return name_of(dataset, index) or self.input_key(dataset, index) or str(index)

    def input_key(self, dataset: Dataset, index: int, draws: int = 2) -> str | None:
        """Return a hash of a sample's input alone, or None where ``draws`` of it differ: it is random.

        Random generators are left as they were.
        """
        return self.input_keys(dataset, [index], draws)[0]

    def input_keys(self, dataset: Dataset, indices: Iterable[int], draws: int = 2) -> list[str | None]:
        """Return :meth:`input_key` of several samples; the state of the generators is kept once for all."""
        with draws_undone():
            hashes = [{hash_of(self._input_of(dataset[index])) for _ in range(draws)} for index in indices]
        return [each.pop() if len(each) == 1 else None for each in hashes]

    def _input_of(self, sample: Any) -> Any:
        try:
            return self.inputs(sample)
        except Exception:  # it knows batches alone, or a sample with its target
            return sample

    def encode_label(self, label: Any) -> Any:
        """Return ``label`` as a JSON value for the ledger, or as a blob (:class:`~.storage.blobs.Blob`): in a file."""
        if isinstance(label, dict):  # boxes and their classes, say
            return {name: self.encode_label(part) for name, part in label.items()}
        return label.tolist() if hasattr(label, "tolist") else label  # tensors and NumPy's values

    def decode_label(self, value: Any) -> Any:
        """Return the label that :meth:`encode_label` encoded; of a blob it gets a blob, which reads its file.

        A mask that people told in a file is a PNG, of which the default makes a tensor (H, W).
        """
        if isinstance(value, Blob) and self.annotation_kind == "mask":
            return torch.from_numpy(mask_from_png(value.data).astype("int64"))
        return value

    def check_label(self, value: Any) -> None:
        """Refuse what :meth:`encode_label` gave, of a ledger or another task, if it is no label of this task.

        Raises:
            TypeError: If it is of another kind.
            ValueError: If it is none that there is.
        """
        self.encode_label(self.decode_label(value))

    def to_annotation(self, label: Any, classes: Sequence[str] | None) -> Annotation:
        """Return a label as people and tools say it; by its form in the ledger, :func:`~.annotations.annotation_of`.

        Args:
            label: What :meth:`encode_label` takes or :meth:`decode_label` gives.
            classes: Names, by class index. None: classes are called by their numbers.

        Raises:
            TypeError: If it has no such form; then override this and :meth:`from_annotation`.
            ValueError: If a class index has no name.
        """
        return annotation_of(self.encode_label(label), classes)

    def from_annotation(self, annotation: Annotation, classes: Sequence[str] | None) -> Any:
        """Return what was said of a sample as a label that :meth:`encode_label` takes.

        Args:
            annotation: As :meth:`to_annotation` gives it.
            classes: Names, by class index. None: classes are called by their numbers.

        Raises:
            TypeError: If it is no annotation.
            ValueError: If there is no class of a name.
        """
        return label_of(annotation, classes, count=self.num_names)


def name_in(task: Task, dataset: Dataset, index: int) -> str | None:
    """Return the name that a task's own ``key``, or else the data, have for a sample; None if they have none."""
    return name_of(dataset, index) if type(task).key is Task.key else task.key(dataset, index)


_CODEC = ("encode_label", "decode_label", "to_annotation", "from_annotation")


def annotation_kind_of(task: Task) -> str | None:
    """Return a task's kind of annotations; None where a class of its own changed how labels are said or kept."""
    for each in type(task).__mro__:
        if "annotation_kind" in vars(each):
            return task.annotation_kind
        if any(name in vars(each) for name in _CODEC):
            return None
    return None
