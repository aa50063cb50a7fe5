"""What a batch means: where its inputs and targets are, what the model's outputs are, what its loss is."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from lightning_al.functional.scores.probabilities import check_logits, mean_cross_entropy, pseudo_labels, residuals
from lightning_al.inference.layers import logits_and_features_of


class Task(ABC):
    """Translates between a project's batches and what acquisitions and the ledger need.

    A task of one's own overrides three methods, :meth:`inputs`, :meth:`targets` and :meth:`with_label`, and the others
    where classification's defaults do not fit.
    """

    @abstractmethod
    def inputs(self, batch: Any) -> Any:
        """Return what the model is called with: any pytree of tensors with the batch as first dimension."""

    @abstractmethod
    def targets(self, batch: Any) -> Any:
        """Return the targets of a batch. Also called on a single, uncollated sample of the data set."""

    @abstractmethod
    def with_label(self, sample: Any, label: Any) -> Any:
        """Return a data set's ``sample`` with its label replaced by ``label``."""

    def logits(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return the raw class scores, (B, C) or (B, C, ...)."""
        return model(inputs)

    def pseudo_targets(self, logits: Tensor) -> Any:
        """Return the targets the model itself would give."""
        return pseudo_labels(logits)

    def loss(self, logits: Tensor, targets: Any) -> Tensor:
        """Return the loss of each sample, (B,), averaged over its pixels or boxes."""
        return mean_cross_entropy(logits, targets)

    def residuals(self, logits: Tensor) -> Tensor:
        """Return the gradient of the loss under the model's own targets towards the last layer's outputs, (B, C).

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
        """Return what the model makes of a sample before its last layer, (B, d).

        Args:
            model: The user's.
            inputs: What :meth:`inputs` gave.
            layer: Name of the layer whose output is meant, as in ``model.named_modules()``. Default: what the last
                ``nn.Linear`` that runs gets.

        Raises:
            ValueError: If there is no such layer, or it does not run.
        """
        return self.logits_and_features(model, inputs, layer)[1]

    def logits_and_features(self, model: nn.Module, inputs: Any, layer: str | None = None) -> tuple[Tensor, Tensor]:
        """Return :meth:`logits` and :meth:`features` from one forward pass."""
        if type(self).features is not Task.features:  # a task's own, which may take only two arguments
            where = {} if layer is None else {"layer": layer}
            return self.logits(model, inputs), self.features(model, inputs, **where)
        return logits_and_features_of(model, lambda: self.logits(model, inputs), layer)

    @property
    def num_classes(self) -> int | None:
        """How many classes there are, where that is known."""
        return None

    def check(self, model: nn.Module, batch: Any) -> None:
        """Refuse, before anything trains, a model or batch this task cannot work with."""
        check_logits(self.logits(model, self.inputs(batch)))

    def key(self, dataset: Dataset, index: int) -> str:
        """Return a name for a sample that outlives a reordering: its file's where there is one, else its index."""
        while isinstance(dataset, Subset):
            index, dataset = dataset.indices[index], dataset.dataset
        samples = getattr(dataset, "samples", None)
        try:
            path = samples[index]  # type: ignore[index]
        except (TypeError, IndexError, KeyError):
            return str(index)
        if isinstance(path, (tuple, list)) and path:
            path = path[0]
        if not isinstance(path, (str, Path)):
            return str(index)
        root = getattr(dataset, "root", None)
        if isinstance(root, (str, Path)) and Path(path).is_relative_to(root):
            path = Path(path).relative_to(root)
        return Path(path).as_posix()

    def encode_label(self, label: Any) -> Any:
        """Return ``label`` as a JSON value for the ledger."""
        return label.tolist() if hasattr(label, "tolist") else label  # tensors and NumPy's values

    def decode_label(self, value: Any) -> Any:
        """Return the label that :meth:`encode_label` encoded."""
        return value
