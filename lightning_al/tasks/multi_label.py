"""The task of several yes-or-no labels per sample: multi-hot targets, each label a decision of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from lightning_al.functional.scores.probabilities import residuals
from lightning_al.inference.calling import Forward
from lightning_al.tasks.annotations import Annotation, label_of
from lightning_al.tasks.base import Task
from lightning_al.tasks.entries import BatchEntries, Entries
from lightning_al.tasks.ignored import loss_of_decisions
from lightning_al.words import shown

_ENOUGH_TO_TELL = 32


class MultiLabelTask(BatchEntries, Task):
    """Any number of L labels per sample: multi-hot targets (L,), outputs (B, L) that a sigmoid makes probabilities.

    Each label is a decision of its own between two classes: :meth:`logits` stacks the output z as (0, z), and scores
    are means over the labels, unless :meth:`reduce` is overridden. So ``Entropy`` asks where the mean binary entropy
    is largest. Acquisitions that need one distribution over classes (``BatchBALD``, ``SRAAL``) refuse it.

    Args:
        inputs: The entry of a batch that the model is called with, as in :class:`ClassificationTask`.
        target: The entry with the multi-hot target.
        output: Which of the model's outputs, where it gives several, as in :class:`ClassificationTask`.
        forward: ``forward(model, inputs) -> outputs``, where outputs do not come from ``model(inputs)``.

    Raises:
        TypeError: If an entry is neither a position nor a name, or ``forward`` is no function.
        ValueError: If ``inputs`` is an empty list.

    Example:
        >>> task = MultiLabelTask()
        >>> task.encode_label(torch.tensor([0.0, 1.0, 1.0]))
        [0, 1, 1]
        >>> task.logits(torch.nn.Identity(), torch.tensor([[-2.0, 3.0]])).softmax(1)[0, 1]
        tensor([0.1192, 0.9526])
    """

    annotation_kind = "classes"

    def __init__(
        self,
        *,
        inputs: Entries = 0,
        target: int | str = 1,
        output: int | str | None = None,
        forward: Forward | None = None,
    ) -> None:
        super().__init__(inputs=inputs, target=target, output=output, forward=forward)
        self._labels: int | None = None  # of the model, once it was seen

    def logits(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return (B, 2, L): for every label a zero, and the model's output."""
        outputs = self.tensor_of(model, inputs)
        return torch.stack([torch.zeros_like(outputs), outputs], 1)

    def loss(self, logits: Tensor, targets: Any) -> Tensor:
        """Return the binary cross-entropies of each sample's labels, reduced to one, (B,)."""
        return super().loss(logits, targets.long())

    def loss_of_known(self, logits: Tensor, targets: Any) -> Tensor:
        """Return the same without the labels that are not known, -1 say; without any other a sample's loss is 0."""
        return loss_of_decisions(logits, targets.long(), self.reduce)

    def residuals(self, logits: Tensor) -> Tensor:
        """Return sigmoid less pseudo-label, (B, L)."""
        return residuals(logits)[:, 1]

    def check(self, model: nn.Module, batch: Any) -> None:
        """Refuse outputs of another shape than (B, L)."""
        inputs = self.inputs(batch)
        with self.explaining(inputs):
            outputs = self.tensor_of(model, inputs)
        if not outputs.is_floating_point() or outputs.ndim != 2:
            raise ValueError(
                "`MultiLabelTask` expects one floating output for each label, (B, L), before the sigmoid; got "
                f"{outputs.dtype} of shape {tuple(outputs.shape)}. Say with `output=` or `forward=` where they are."
            )
        self._labels = outputs.shape[1]
        # Logits of few numbers may happen to lie there: of so many, once in a thousand million times.
        if outputs.numel() >= _ENOUGH_TO_TELL and bool(((outputs >= 0) & (outputs <= 1)).all()):
            rank_zero_warn(
                "Every output of the model is between 0 and 1: they look like probabilities, while scores are computed "
                "from what comes before the sigmoid. Return that from `forward`, or say with `forward=` where it is."
            )

    def encode_label(self, label: Any) -> list[int]:
        """Return the multi-hot label as a list of 0 and 1.

        Raises:
            TypeError: If it is not a list, array or tensor of zeros and ones.
            ValueError: If the model is known to have another number of labels.
        """
        values = label.tolist() if hasattr(label, "tolist") else label
        if not isinstance(values, (list, tuple)) or any(value not in (0, 1) for value in values):
            raise TypeError(
                f"`MultiLabelTask` needs multi-hot labels, one 0 or 1 for each label, got {shown(label)} "
                f"({type(label).__name__})."
            )
        if self._labels is not None and len(values) != self._labels:
            raise ValueError(f"The model has {self._labels} labels, and {shown(values)} has {len(values)}.")
        return [int(value) for value in values]

    def decode_label(self, value: Any) -> Tensor:
        """Return the label as a float tensor (L,)."""
        return torch.tensor(value, dtype=torch.float32)

    def from_annotation(self, annotation: Annotation, classes: Sequence[str] | None) -> list[int]:
        """Return the multi-hot label, 1 for each name.

        Raises:
            TypeError: If it is no list of names.
            ValueError: If there is no label of a name, or it is not known how many there are.
        """
        if not isinstance(annotation, (list, tuple)):
            raise TypeError(f"`MultiLabelTask` takes a list of the names of labels, got {shown(annotation)}.")
        return label_of(list(annotation), classes, count=self.num_names)

    @property
    def num_names(self) -> int | None:
        """L, once the model was seen."""
        return self._labels
