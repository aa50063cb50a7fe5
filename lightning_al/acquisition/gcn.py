"""Acquisitions by a graph network that learns to tell labelled samples from candidates."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al import functional as F_al
from lightning_al.acquisition.features import FeatureAcquisition
from lightning_al.acquisition.query import Rows
from lightning_al.checks import Findings, needed_generator
from lightning_al.functional.selection.gcn import GCNOptions, check_margin
from lightning_al.inference.division import as_samples
from lightning_al.inference.entries import batch_size_of, samples_at
from lightning_al.inference.outputs import plain_outputs

_CHUNK = 32  # samples at a time


class GraphAcquisition(FeatureAcquisition):
    """Trains a graph network on the candidates and the labelled samples, anew for each query.

    It is trained in :meth:`select`, on rank zero alone, where the features of both are together, on the device on which
    they were made (those of a file: on the CPU). Its graph is that query's, so it is of no use to another and is not
    kept: a campaign that was killed trains it again from the same seed, to the same picks.

    The options of its constructor are those of :class:`~lightning_al.acquisition.CoreGCN`, which has no others.

    Raises:
        ValueError: If an option is out of range.
    """

    look = staticmethod(plain_outputs)  # of chunks of its own

    _device = torch.device("cpu")

    def __init__(
        self,
        steps: int = 200,
        hidden: int = 128,
        dropout: float = 0.3,
        lr: float = 1e-3,
        weight_decay: float = 5e-4,
        unlabelled_weight: float = 1.2,
        features: str | None = None,
        encoder: nn.Module | str | Path | None = None,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                options = GCNOptions(
                    steps=steps,
                    hidden=hidden,
                    dropout=dropout,
                    lr=lr,
                    weight_decay=weight_decay,
                    unlabelled_weight=unlabelled_weight,
                )
            with findings.of_block():
                super().__init__(features=features, encoder=encoder)
        self.requires |= {"labels"}
        self._options = options
        self.__dict__.update(asdict(options))

    def make_features(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return the features (B, d) of a batch's inputs, the same to the last bit in whatever batches they come.

        The training does not forgive less. So they are made in chunks of one size, the last one padded with its first
        sample.
        """
        if isinstance(self.encoder, nn.Module):
            inputs = as_samples(self._at_samples(self.encoder, inputs), inputs)
        else:
            inputs = as_samples(model, inputs, self.task.outputs)
        count = batch_size_of(inputs)
        chunks = [_chunk(inputs, start, count) for start in range(0, count, _CHUNK)]
        features = torch.cat([FeatureAcquisition.make_features(self, model, chunk) for chunk in chunks])[:count]
        # What is trained in float64 needs a device that has it.
        self._device = features.device if features.device.type == "cuda" else torch.device("cpu")
        return features

    def _training(self, rows: Rows, labelled_rows: Rows, generator: torch.Generator | None) -> dict[str, Any]:
        """What :func:`lightning_al.functional.train_gcn` takes, by name."""
        name = type(self).__name__
        generator = needed_generator(generator, name, "trains a network from a random start")
        labelled = self.centres_of(labelled_rows)
        if labelled is None:
            raise ValueError(f"`{name}` learns from what is labelled, and no sample is.")
        return {
            "features": self.features_of(rows).to(self._device),
            "labelled": labelled,
            "generator": generator,
            **asdict(self._options),
        }


def _chunk(inputs: Any, start: int, count: int) -> Any:
    places = torch.arange(start, start + _CHUNK)
    places[places >= count] = start
    return samples_at(inputs, places)


class UncertainGCN(GraphAcquisition):
    r"""Samples of which a graph network cannot say whether they are labelled (Caramalau et al., CVPR 2021).

    .. math:: \arg\min_x |s(x) - s_\mathrm{margin}|, \qquad s = P(\text{labelled})

    See :func:`lightning_al.functional.uncertain_gcn` and, for the network, :func:`lightning_al.functional.train_gcn`.

    Args:
        margin: :math:`s_\mathrm{margin}`, from 0, samples most unlike the labelled, to 1.
        steps: As in :class:`CoreGCN`, like all that follow.
        hidden: As in CoreGCN.
        dropout: As in CoreGCN.
        lr: As in CoreGCN.
        weight_decay: As in CoreGCN.
        unlabelled_weight: As in CoreGCN.
        features: As in CoreGCN.
        encoder: As in CoreGCN.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> rows = {"index": torch.arange(3), "features": torch.eye(3)}
        >>> labelled = {"index": torch.tensor([7]), "features": torch.tensor([[0.0, 0.0, 1.0]])}
        >>> generator = torch.Generator().manual_seed(0)
        >>> UncertainGCN(margin=1.0).select(rows, 1, labelled_rows=labelled, generator=generator)  # like the labelled
        tensor([2])
    """

    def __init__(
        self,
        margin: float = 0.1,
        steps: int = 200,
        hidden: int = 128,
        dropout: float = 0.3,
        lr: float = 1e-3,
        weight_decay: float = 5e-4,
        unlabelled_weight: float = 1.2,
        features: str | None = None,
        encoder: nn.Module | str | Path | None = None,
    ) -> None:
        with Findings() as findings:
            findings.of(check_margin, margin)
            with findings.of_block():
                super().__init__(
                    steps=steps,
                    hidden=hidden,
                    dropout=dropout,
                    lr=lr,
                    weight_decay=weight_decay,
                    unlabelled_weight=unlabelled_weight,
                    features=features,
                    encoder=encoder,
                )
        self.margin = margin

    def select(self, rows: Rows, k: int, *, labelled_rows: Rows, generator: torch.Generator | None) -> Tensor:
        """Train the network, and take the candidates whose probability is nearest to the margin."""
        training = self._training(rows, labelled_rows, generator)
        scores = F_al.uncertain_gcn(margin=self.margin, **training)
        return super().select({**rows, "score": scores}, k, labelled_rows=labelled_rows, generator=generator)


class CoreGCN(GraphAcquisition):
    """Samples farthest from all labelled or picked, as a graph network sees them (Caramalau et al., CVPR 2021).

    See :func:`lightning_al.functional.core_gcn` and, for the network, :func:`lightning_al.functional.train_gcn`.

    Args:
        steps: Of Adam, each on the whole graph.
        hidden: Width of the network's hidden layer.
        dropout: Of the hidden layer, in training.
        lr: Learning rate.
        weight_decay: As Adam has it, added to the gradient.
        unlabelled_weight: Weight of the unlabelled samples' part of the loss.
        features: Name of the model's layer to take features from; default what the last layer gets, as in the
            paper.
        encoder: A module or a file that gives features in the model's place; see :class:`FeatureAcquisition`.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> rows = {"index": torch.arange(3), "features": torch.eye(3)}
        >>> labelled = {"index": torch.tensor([7]), "features": torch.tensor([[0.0, 0.0, 1.0]])}
        >>> generator = torch.Generator().manual_seed(0)
        >>> CoreGCN().select(rows, 3, labelled_rows=labelled, generator=generator)[2]  # it coincides with the labelled
        tensor(2)
    """

    def select(self, rows: Rows, k: int, *, labelled_rows: Rows, generator: torch.Generator | None) -> Tensor:
        """Train the network, and take the farthest candidates, one after the other."""
        return F_al.core_gcn(k=k, **self._training(rows, labelled_rows, generator))
