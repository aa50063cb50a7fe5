"""The task of one yes-or-no label per sample, by a model with one logit."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from lightning_al.checks import Findings
from lightning_al.functional.scores.probabilities import residuals
from lightning_al.inference.calling import Forward
from lightning_al.inference.squashed import is_squashed
from lightning_al.tasks.annotations import Annotation
from lightning_al.tasks.base import Task
from lightning_al.tasks.classification import check_kind_of_outputs, check_probabilities
from lightning_al.tasks.entries import BatchEntries, Entries
from lightning_al.words import shown


class BinaryTask(BatchEntries, Task):
    r"""Two classes, by one logit: outputs (B,) or (B, 1) that a sigmoid makes the probability of class 1.

    Targets are 0 and 1, integers, floats or bools, (B,) or (B, 1). :meth:`logits` stacks the output z as (0, z), whose
    softmax is the sigmoid,

    .. math:: p = \mathrm{softmax}(0, z) = (1 - \sigma(z),\ \sigma(z)),

    so that every acquisition for classes has the score, and picks the samples, that it would have of a model with two
    logits (0, z).

    Args:
        outputs: What the model gives: ``"logits"``, or ``"probabilities"``, what comes after the sigmoid, of which
            those near 1 are known less precisely.
        inputs: The entry of a batch that the model is called with, as in :class:`ClassificationTask`.
        target: The entry with the target.
        output: Which of the model's outputs, where it gives several, as in :class:`ClassificationTask`.
        forward: ``forward(model, inputs) -> outputs``, where outputs do not come from ``model(inputs)``.

    Raises:
        ValueError: If ``outputs`` is neither, or ``inputs`` an empty list.
        TypeError: If an entry is neither a position nor a name, or ``forward`` is no function.

    Example:
        >>> task = BinaryTask()
        >>> task.logits(torch.nn.Identity(), torch.tensor([[-2.0], [3.0]])).softmax(1)
        tensor([[0.8808, 0.1192],
                [0.0474, 0.9526]])
        >>> task.encode_label(torch.tensor([1.0]))
        1
        >>> task.with_label((torch.zeros(3), torch.tensor([0.0])), 1)[1]
        tensor([1.])
    """

    annotation_kind = "class"

    def __init__(
        self,
        outputs: str = "logits",
        *,
        inputs: Entries = 0,
        target: int | str = 1,
        output: int | str | None = None,
        forward: Forward | None = None,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(inputs=inputs, target=target, output=output, forward=forward)
            findings.of(check_kind_of_outputs, outputs)
        self._outputs = outputs

    @property
    def num_classes(self) -> int:
        """Two."""
        return 2

    def logits(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return (B, 2): a zero, and the model's output; or the logarithms of both probabilities."""
        outputs = self.tensor_of(model, inputs)
        z = outputs.squeeze(1) if outputs.ndim == 2 and outputs.shape[1] == 1 else outputs
        if self._outputs == "probabilities":
            return torch.stack([1 - z, z], 1).clamp(min=torch.finfo(z.dtype).tiny).log()
        return torch.stack([torch.zeros_like(z), z], 1)

    def loss(self, logits: Tensor, targets: Any) -> Tensor:
        """Return the binary cross-entropy of each sample, (B,)."""
        return super().loss(logits, targets.reshape(len(logits)).long())

    def known_targets(self, batch: Any) -> Tensor:
        """Return the dataset's own targets as class indices, (B,)."""
        targets = torch.as_tensor(super().known_targets(batch)).flatten()
        wrong = targets[(targets != 0) & (targets != 1)]
        if len(wrong):
            raise ValueError(f"some samples have none: their target is {wrong[0].item():g}.")
        return targets.long()

    def residuals(self, logits: Tensor) -> Tensor:
        """Return sigmoid less pseudo-label, (B, 1): the last layer has one output."""
        return residuals(logits)[:, 1:]

    def check(self, model: nn.Module, batch: Any) -> None:
        """Refuse outputs of another shape than (B,) or (B, 1); warn where a sigmoid comes last."""
        inputs = self.inputs(batch)
        with self.explaining(inputs):
            outputs, squashed = is_squashed(lambda: self.tensor_of(model, inputs))
        if self._outputs == "probabilities":
            check_probabilities(outputs, type(self).__name__)
        if not outputs.is_floating_point() or outputs.ndim == 0 or outputs.shape[1:] not in [(), (1,)]:
            two = " For two logits there is `task=ClassificationTask()`." if outputs.shape[1:] == (2,) else ""
            raise ValueError(
                "`BinaryTask` expects one floating output for each sample, (B,) or (B, 1), got "
                f"{outputs.dtype} of shape {tuple(outputs.shape)}.{two} Say with `output=` or `forward=` where it is."
            )
        if isinstance(inputs, Tensor) and len(outputs) != len(inputs):
            raise ValueError(
                f"The model gave {len(outputs)} outputs for {len(inputs)} samples; it must give one for each."
            )
        if squashed and self._outputs == "logits":
            rank_zero_warn(
                "The model's outputs come from a sigmoid, while scores are computed from what is before it. Say "
                "`task=BinaryTask(outputs='probabilities')`, or return the logit from `forward`."
            )

    def encode_label(self, label: Any) -> int:
        """Return the label as 0 or 1.

        Raises:
            TypeError: If it is no single number.
            ValueError: If it is another one.
        """
        value = label.tolist() if hasattr(label, "tolist") else label
        while isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
        if not isinstance(value, (bool, int, float)):
            raise TypeError(f"`BinaryTask` needs 0 or 1 as labels, got {shown(label)} ({type(label).__name__}).")
        if value not in (0, 1):
            hidden = value != value or value < 0
            way = " Where a dataset has no labels they are told: `oracle=AwaitTell()`." if hidden else ""
            raise ValueError(f"`BinaryTask` needs 0 or 1 as labels, got {shown(value)}.{way}")
        return int(value)

    def to_annotation(self, label: Any, classes: Sequence[str] | None) -> Annotation:
        """Return the name of the class, also of a label that is a float."""
        return super().to_annotation(self.encode_label(label), classes)

    def new_target(self, label: Any) -> Tensor:
        """Return a label as a float, as losses of one logit take them."""
        return torch.tensor(float(label))
