"""The task of real values: one or several for each sample."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from lightning_al.checks import Findings, check_number
from lightning_al.inference.calling import Forward
from lightning_al.tasks.annotations import Annotation
from lightning_al.tasks.base import Task
from lightning_al.tasks.entries import BatchEntries, Entries
from lightning_al.words import shown


class RegressionTask(BatchEntries, Task):
    r"""Real values: outputs (B,), (B, 1) or (B, M) and targets of the same size.

    There are no classes, so no entropy, margin or pseudo-label. What works: the variance of passes with dropout or of a
    committee, and the model change that they expect (``MCDropout`` and ``QueryByCommittee`` with ``score="variance"``
    or ``"model_change"``), ``BADGE``, ``CoreSet``, ``TypiClust``, ``ProbCover(clusters=...)``, ``CoreGCN``,
    ``UncertainGCN``, ``VAAL``, ``LearningLoss`` and ``Random``. All others are refused before anything trains.
    (``SAAL`` too: with the model's own prediction as target the squared error is 0, and so is its gradient, along which
    nothing would be perturbed. The gradient norms too: the entropy of a Gaussian of fixed variance is a constant.)

    The loss is squared error, and a sample's scores are means over its M outputs, unless :meth:`reduce` is overridden.
    Where the outputs have different units, the largest decides: standardise the targets in the dataset, or give
    ``scale``. Of a model that predicts a mean and a variance, ``output=`` says which is the mean.

    Args:
        inputs: The entry of a batch that the model is called with, as in :class:`ClassificationTask`.
        target: The entry with the target.
        output: Which of the model's outputs, where it gives several, as in :class:`ClassificationTask`.
        scale: What counts as one unit of each output, a number above 0 or M of them, such as their standard deviations:
            outputs and targets are divided by it for scores and losses. Labels stay as they are.
        forward: ``forward(model, inputs) -> outputs``, where outputs do not come from ``model(inputs)``.

    Raises:
        TypeError: If an entry is neither a position nor a name, ``forward`` is no function, or ``scale`` no number.
        ValueError: If ``inputs`` is an empty list, or ``scale`` not above 0.

    Example:
        >>> task = RegressionTask(scale=[1.0, 100.0])
        >>> task.outputs(torch.nn.Identity(), torch.tensor([[2.0, 300.0]]))
        tensor([[2., 3.]])
        >>> task.encode_label(torch.tensor([0.5, 20.0]))
        [0.5, 20.0]
        >>> RegressionTask().with_label((torch.zeros(3), torch.tensor([0.0])), 2.5)[1]
        tensor([2.5000])
    """

    gives: ClassVar[frozenset[str]] = frozenset({"outputs", "values", "features", "gradients"})
    always_checks = True  # how many values a label has, the model alone says

    def __init__(
        self,
        *,
        inputs: Entries = 0,
        target: int | str = 1,
        output: int | str | None = None,
        scale: float | list[float] | None = None,
        forward: Forward | None = None,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(inputs=inputs, target=target, output=output, forward=forward)
            findings.of(_check_scale, scale)
        self.scale = scale
        self._size: int | None = None  # M, once the model was seen

    @property
    def annotation_kind(self) -> str | None:  # type: ignore[override]
        """A number, of one output; several are the task's own."""
        return "number" if self._size in (None, 1) else None

    def outputs(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return the model's outputs, in units of ``scale``."""
        return self._scaled(self.tensor_of(model, inputs))

    def logits(self, model: nn.Module, inputs: Any) -> Tensor:
        """Refuse to give class scores.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "`RegressionTask` has real values and no class scores. An acquisition of one's own gets them from "
            '`self.task.outputs(model, inputs)`, and says so: `requires = frozenset({"values"})`.'
        )

    def pseudo_targets(self, logits: Tensor) -> Tensor:
        """Return what the model predicts, in the unit of the targets."""
        return logits if self.scale is None else logits * self._unit(logits)

    def loss(self, logits: Tensor, targets: Any) -> Tensor:
        """Return the squared errors of each sample's outputs, reduced to one, (B,)."""
        return self.reduce((logits - self._scaled(targets.reshape(logits.shape))).square())

    def known_targets(self, batch: Any) -> Any:
        """Return the dataset's own targets.

        Raises:
            ValueError: If one is NaN.
        """
        targets = super().known_targets(batch)
        if isinstance(targets, Tensor) and bool(targets.isnan().any()):
            raise ValueError("some samples have none: their target is NaN.")
        return targets

    def residuals(self, logits: Tensor) -> Tensor:
        r"""Return ones, (B, 1): under the model's own targets the gradient of squared error is 0.

        What is left of the last layer's gradient is that of the outputs themselves,
        :math:`\nabla_W f_m = e_m \otimes h`, whose inner products are those of the features :math:`h`.
        """
        return logits.new_ones(len(logits), 1)

    def check(self, model: nn.Module, batch: Any) -> None:
        """Refuse outputs that are no floating numbers, one row for each sample, or not as many as ``scale`` has.

        Warns where outputs are (B, 1) and targets (B,), or the other way round, whose difference is (B, B).
        """
        inputs = self.inputs(batch)
        with self.explaining(inputs):
            outputs = self.tensor_of(model, inputs)
        if not outputs.is_floating_point() or outputs.ndim == 0:
            raise ValueError(
                "`RegressionTask` expects floating outputs with one row for each sample, got "
                f"{outputs.dtype} of shape {tuple(outputs.shape)}. Say with `output=` or `forward=` where they are."
            )
        if isinstance(inputs, Tensor) and len(outputs) != len(inputs):
            raise ValueError(
                f"The model gave {len(outputs)} rows of outputs for {len(inputs)} samples; it must give one for each."
            )
        self._size = outputs[0].numel() if len(outputs) else None
        if isinstance(self.scale, list) and len(self.scale) != (outputs.shape[-1] if outputs.ndim > 1 else 1):
            raise ValueError(
                f"`RegressionTask(scale=...)` has {len(self.scale)} numbers, and the model's outputs are "
                f"{tuple(outputs.shape)}: give one for each output, or a single one."
            )
        self._compare_shapes(outputs, batch)

    def _compare_shapes(self, outputs: Tensor, batch: Any) -> None:
        try:
            targets = self.targets(batch)
        except (TypeError, LookupError):
            return  # there are none
        if not isinstance(targets, Tensor):
            return
        shapes = tuple(outputs.shape[1:]), tuple(targets.shape[1:])
        if shapes in [((1,), ()), ((), (1,))]:
            of_outputs, of_targets = ("(B, 1)", "(B,)") if shapes[0] else ("(B,)", "(B, 1)")
            rank_zero_warn(
                f"The model's outputs are {of_outputs} and the targets {of_targets}: the difference of the two is "
                "(B, B), every output against every target, and a loss of it teaches the mean alone. Make sure that "
                "`training_step` brings them to one shape, as `self(x).squeeze(1)` or `y.unsqueeze(1)`."
            )

    def encode_label(self, label: Any) -> Any:
        """Return the label as a float, or as a list of several.

        Raises:
            TypeError: If it is no number, nor a list, array or tensor of them.
            ValueError: If one is NaN or infinite, or the model is known to have another number of outputs.
        """
        values = label.tolist() if hasattr(label, "tolist") else label
        while isinstance(values, (list, tuple)) and len(values) == 1:
            values = values[0]
        flat = _flattened(values)
        if not flat or not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in flat):
            raise TypeError(
                f"`RegressionTask` needs real numbers as labels, got {shown(label)} ({type(label).__name__})."
            )
        missing = [value for value in flat if not math.isfinite(value)]
        if missing:
            raise ValueError(
                f"{shown(label)} is no label: {missing[0]} stands for none. Where a dataset has no labels they are "
                "told: `oracle=AwaitTell()`; a sample that is not to be labelled is `SKIP`."
            )
        if self._size is not None and len(flat) != self._size:
            raise ValueError(f"The model has {self._size} outputs, and {shown(label)} has {len(flat)}.")
        return _as_floats(values)

    def to_annotation(self, label: Any, classes: Sequence[str] | None) -> float:
        """Return the number.

        Raises:
            TypeError: If there are several.
        """
        value = self.encode_label(label)
        if isinstance(value, list):
            raise TypeError(
                f"People say one number of a sample, and {shown(label)} has several: tell such labels by `loop.tell`, "
                "or give the task `to_annotation` and `from_annotation`."
            )
        return float(value)

    def from_annotation(self, annotation: Annotation, classes: Sequence[str] | None) -> float:
        """Return the number that was said.

        Raises:
            TypeError: If it is none, or several.
            ValueError: If the model has several outputs.
        """
        if isinstance(annotation, bool) or not isinstance(annotation, (int, float)):
            raise TypeError(
                f"People say one number of a sample, got {shown(annotation)}: tell labels of several by `loop.tell`, "
                "or give the task `to_annotation` and `from_annotation`."
            )
        return float(annotation)

    def new_target(self, label: Any) -> Tensor:
        """Return a label as a tensor of torch's default precision, as the model's outputs are."""
        return torch.as_tensor(label, dtype=torch.get_default_dtype())

    def _scaled(self, values: Tensor) -> Tensor:
        return values if self.scale is None else values / self._unit(values)

    def _unit(self, values: Tensor) -> Tensor:
        dtype = values.dtype if values.is_floating_point() else torch.get_default_dtype()
        return torch.as_tensor(self.scale, dtype=dtype, device=values.device)


def _check_scale(scale: Any) -> None:
    if scale is None:
        return
    several = scale if isinstance(scale, list) else [scale]
    if not several:
        raise ValueError("`scale` is an empty list; give one number for each output.")
    for number in several:
        check_number("scale", number, above=0)


def _flattened(values: Any) -> list[Any]:
    return [part for entry in values for part in _flattened(entry)] if isinstance(values, (list, tuple)) else [values]


def _as_floats(values: Any) -> Any:
    return [_as_floats(value) for value in values] if isinstance(values, (list, tuple)) else float(values)
