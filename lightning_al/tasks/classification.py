"""The task of one class per sample."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from lightning_al.checks import Findings, check_choice
from lightning_al.inference.calling import Forward
from lightning_al.tasks.base import Task
from lightning_al.tasks.entries import BatchEntries, Entries
from lightning_al.tasks.own_logits import check_logits_of, has_own_logits
from lightning_al.words import shown

_ROUNDING = 1e-3  # by which probabilities of low precision may be off


class ClassificationTask(BatchEntries, Task):
    """One class index per sample: outputs (B, C) of batches ``(inputs, target, ...)``, or of dicts.

    Args:
        outputs: What the model gives: ``"logits"`` (also log-probabilities), or ``"probabilities"``, whose logarithm is
            then taken.
        inputs: The entry of a batch that the model is called with: a position, or a name in a dict. Of a list of names
            the entries are keyword arguments of the model (``["input_ids", "attention_mask"]``), of a list of positions
            positional ones.
        target: The entry with the class index.
        output: Which of the model's outputs has the class scores, where it gives several (a dict, a tuple, an object):
            its name or position. Default: the only one, or the entry ``"logits"`` of a dict.
        forward: ``forward(model, inputs) -> outputs``, where outputs do not come from ``model(inputs)``.

    Raises:
        ValueError: If ``outputs`` is neither, or ``inputs`` an empty list.
        TypeError: If an entry is neither a position nor a name, or ``forward`` is no function.

    Example:
        >>> task = ClassificationTask()
        >>> task.with_label((torch.zeros(2), -1), 7)
        (tensor([0., 0.]), 7)
        >>> task = ClassificationTask(inputs=["tokens", "mask"], target="label")
        >>> sorted(task.inputs({"tokens": torch.ones(1, 3), "mask": torch.ones(1, 3), "label": torch.zeros(1)}))
        ['mask', 'tokens']
        >>> task = ClassificationTask(output="kind")  # of a model with two heads
        >>> task.logits(lambda x: {"kind": x, "size": x.sum(1)}, torch.ones(1, 2))
        tensor([[1., 1.]])
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
        self._classes: int | None = None  # of the model, once it was seen

    @property
    def num_classes(self) -> int | None:
        """C of the model's outputs, once it was seen."""
        return self._classes

    def logits(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return the outputs, or their logarithm where they are probabilities."""
        outputs = self.outputs_of(model, inputs)
        if self._outputs == "probabilities":
            outputs = self.check_tensor(outputs).clamp(min=torch.finfo(outputs.dtype).tiny).log()
        return outputs

    def check(self, model: nn.Module, batch: Any) -> None:
        """Refuse logits of another shape than (B, C); warn where they look like probabilities."""
        inputs = self.inputs(batch)
        with self.explaining(inputs):
            if self._outputs == "probabilities" and not has_own_logits(self):
                check_probabilities(self.tensor_of(model, inputs), type(self).__name__)
            logits = self.logits(model, inputs)
            logits = logits if has_own_logits(self) else self.check_tensor(logits)
        check_logits_of(self, logits, "check")
        if isinstance(inputs, Tensor) and len(logits) != len(inputs):
            raise ValueError(
                f"The model gave {len(logits)} rows of logits for {len(inputs)} samples; it must give one for each."
            )
        if logits.ndim != 2:
            raise ValueError(
                f"`ClassificationTask` expects logits of shape (B, C), got {tuple(logits.shape)}. Of a class for each "
                "pixel, (B, C, H, W): `task=SegmentationTask(num_classes=C)`; of other dense outputs a `task=` of your "
                "own, whose `check` allows them."
            )
        self._classes = logits.shape[1]
        sums = logits.float().sum(1)
        if self._outputs == "logits" and bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums)):
            rank_zero_warn(
                "Every row of the model's outputs is non-negative and sums to 1: they look like probabilities, while "
                "scores are computed from logits. If so, pass `task=ClassificationTask(outputs='probabilities')`, or "
                "return the logits from `forward`."
            )

    def _class_index(self, label: int) -> int:
        if label < 0 or (self._classes is not None and label >= self._classes):
            limit = "" if self._classes is None else f" and below {self._classes}, the model's number of classes"
            hidden = " Where a dataset has no labels they are told: `oracle=AwaitTell()`." if label < 0 else ""
            raise ValueError(f"Class indices must be at least 0{limit}; got {shown(label)}.{hidden}")
        return label

    def encode_label(self, label: Any) -> int:
        """Return the class index as an int.

        Raises:
            TypeError: If it is not a single integer.
            ValueError: If it is negative, or the model is known to have fewer classes.
        """
        if isinstance(label, Tensor) and (label.is_floating_point() or label.numel() != 1):
            kind = f"a {label.dtype} tensor of shape {tuple(label.shape)}"
        elif isinstance(label, Tensor) or (hasattr(label, "__index__") and getattr(label, "ndim", 0) == 0):
            return self._class_index(int(label))
        else:
            kind = f"{shown(label)} ({type(label).__name__})"
        if getattr(label, "ndim", 0) == 2 and "float" not in str(getattr(label, "dtype", "float")):  # a mask, no boxes
            raise TypeError(
                f"`ClassificationTask` needs one class index as label, got {kind}. Of a mask, a class for each pixel: "
                "`task=SegmentationTask(num_classes=...)`."
            )
        if isinstance(label, Mapping) and {"boxes", "labels"} <= label.keys():
            raise TypeError(
                f"`ClassificationTask` needs one class index as label, got {kind}. Of boxes: `task=DetectionTask()`."
            )
        raise TypeError(
            f"`ClassificationTask` needs class indices (integers) as labels, got {kind}. If the class is another "
            "entry of the samples, say which: `task=ClassificationTask(inputs=..., target=...)`. For multi-hot "
            "targets there is `task=MultiLabelTask()`, for 0.0 and 1.0 `BinaryTask()`, for real values "
            "`RegressionTask()`; for soft ones give a `task=` with its own `loss`, `encode_label` and "
            "`decode_label`."
        )


def check_probabilities(outputs: Tensor, task: str) -> None:
    """Refuse outputs that are no probabilities.

    Raises:
        ValueError: With one of them, and what to say of logits.
    """
    values = outputs.detach().flatten().float()
    wrong = values[(values < -_ROUNDING) | (values > 1 + _ROUNDING)]
    if len(wrong):
        raise ValueError(
            f'`{task}(outputs="probabilities")` expects outputs between 0 and 1, got {wrong[0].item():g}. Of logits '
            f"say `task={task}()`."
        )


def check_kind_of_outputs(outputs: str) -> None:
    """Refuse an unknown kind of outputs; ``"logits"`` and ``"probabilities"`` are known.

    Raises:
        ValueError: With the value.
    """
    kinds = ("logits", "probabilities")
    try:
        check_choice("outputs", outputs, kinds)
    except ValueError as error:
        raise ValueError(f"{error} Which of the model's outputs is meant is said with `output=`.") from None
