"""The base of acquisitions that compare samples by features: of the model, of an encoder, or from a file."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.query import Rows
from lightning_al.checks import Findings, check_that, check_type, rows_not_finite
from lightning_al.inference.division import as_samples
from lightning_al.inference.entries import batch_size_of, device_of
from lightning_al.inference.outputs import plain_outputs
from lightning_al.inference.pooling import Pooling, channel_dim
from lightning_al.inference.shared_forward import shared_outputs
from lightning_al.storage.rows import take_rows
from lightning_al.words import first_line


class FeatureAcquisition(Acquisition):
    """Compares samples by a vector of features each.

    A layer that gives maps or sequences has them averaged over positions, to one number for each of its C channels.
    Positions that are padding are left out where the model is told of them
    (:class:`~lightning_al.inference.padding.Padding`); features that would depend on a sample's batch even so are
    refused before anything trains.

    Args:
        features: Name of the model's layer whose output they are, as ``"backbone.avgpool"``. Default: what the last
            linear or convolutional layer gets.
        encoder: Where they come from instead: a module that is called with a batch's inputs, trained elsewhere
            (self-supervised, say), which stays as it is; or a file of features computed before, ``.npy`` or ``.pt``,
            one row for each sample of the training dataset, in its order (where there is an ``unlabelled_dataset()``,
            first one for each of its samples), complete before the campaign begins (it is mapped into memory). With one
            of these the acquisition can choose the initial set too, before any training: ``initial_by=``.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If ``encoder`` is neither a module nor a file, or the file holds something else.
        ValueError: If both are given.
    """

    uses_labelled = True

    look = staticmethod(shared_outputs)
    """How the model's features are made: in a forward pass that others may have had before."""

    _home: torch.device | None = None
    """Where the encoder was before it went to the device of the samples."""

    def __init__(self, *, features: str | None = None, encoder: nn.Module | str | Path | None = None) -> None:
        super().__init__()
        with Findings() as findings:
            findings.refuse_if(
                features is not None and encoder is not None,
                f"`features={features!r}` names a layer of the model and `encoder=` takes features from elsewhere: "
                "give one of them.",
            )
            if encoder is not None:
                findings.of(check_type, "encoder", encoder, (nn.Module, str, Path), "a module or a file of features")
            is_name = features is None or isinstance(features, str)
            findings.of(check_that, is_name, "features", features, "the name of a layer or None")
        self.features = features
        self.encoder = encoder
        self._table = None if encoder is None or isinstance(encoder, nn.Module) else _read_features(Path(encoder))
        if encoder is None:
            self.requires = frozenset({"features"})
        else:
            self.requires = frozenset({"encoder"}) if self._table is None else frozenset()

    @property
    def sees_samples(self) -> bool:
        """Whether there is a pass over the samples: not for features from a file."""
        return self._table is None

    def check_pool(self, size: int) -> None:
        """Refuse a file of features of another dataset, or of numbers that cannot be compared."""
        if self._table is not None and len(self._table) != size:
            raise ValueError(
                f"`encoder={str(self.encoder)!r}` holds features of {len(self._table)} samples and the training "
                f"dataset has {size}: it needs one row for each, in the order of the dataset (those of an "
                "`unlabelled_dataset()` first, if there is one)."
            )
        if self._table is not None:
            bad = rows_not_finite(self._table).tolist()
            if bad:
                raise ValueError(
                    f"`encoder={str(self.encoder)!r}` holds NaN or infinite features of {len(bad)} of {size} samples, "
                    f"dataset indices {bad[:10]}."
                )

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return the ``"features"`` of each sample, (B, d), in float32 at least."""
        return {"features": self.make_features(model, self.task.inputs(batch))}

    def make_features(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return the features (B, d) of a batch's inputs, by the encoder or else by the model."""
        if not isinstance(self.encoder, nn.Module):
            return self.look(model, inputs, self._model_features)
        return features_by(self._at_samples(self.encoder, inputs), inputs)

    def _at_samples(self, encoder: nn.Module, inputs: Any) -> nn.Module:
        """Return the encoder on the device of these inputs, where it stays until the next fit, or :meth:`unbind`."""
        here, there = device_of(encoder), device_of(inputs)
        if here != there:
            self._home = self._home or here
            with torch.inference_mode(False):  # in which a pass may be: its tensors could not be trained any more
                encoder.to(there)
        return encoder

    def _send_home(self) -> None:
        if self._home is not None and isinstance(self.encoder, nn.Module):
            self.encoder.to(self._home)
        self._home = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make room for what trains: the encoder goes back to where it was."""
        super().on_fit_start(trainer, pl_module)
        self._send_home()

    def unbind(self) -> None:
        """Leave the loop, and the encoder where it was."""
        super().unbind()
        self._send_home()

    def _model_features(self, model: nn.Module, inputs: Any) -> Tensor:
        if self.features is None:
            return self.task.features(model, inputs)
        return self.task.features(model, inputs, self.features)

    def features_of(self, rows: Rows) -> Tensor:
        """Return the features (N, d) of the samples that ``rows`` are of: made by :meth:`rows`, or in the file."""
        return rows["features"] if self._table is None else take_rows(self._table, rows["index"])

    def centres_of(self, labelled_rows: Rows) -> Tensor | None:
        """Return :meth:`features_of` the labelled samples, None where there are none."""
        return self.features_of(labelled_rows) if labelled_rows else None


def features_by(encoder: nn.Module, inputs: Any) -> Tensor:
    """Return what an encoder makes of a batch's inputs, (B, d), averaged over positions where there are some.

    Raises:
        ValueError: If it does not return one row for each sample.
    """
    size = batch_size_of(as_samples(encoder, inputs))
    pooling = Pooling()
    with pooling.watching(encoder):
        made = plain_outputs(encoder, inputs)
    if not isinstance(made, Tensor) or made.shape[:1] != (size,):
        what = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
        raise ValueError(
            f"`encoder` must return a tensor with one row for each of the {size} samples, got {what}. "
            "Wrap it in a module that does."
        )
    return pooling.average(made, made, channel_dim(made, pooling.channels))


def _read_features(path: Path) -> Tensor:
    if not path.is_file():
        raise FileNotFoundError(f"`encoder={str(path)!r}`: there is no such file of features.")
    if path.suffix not in (".npy", ".pt", ".pth"):
        raise TypeError(f"`encoder={str(path)!r}`: features are read from `.npy` and `.pt` files.")
    try:
        table = _load_mapped(path)
    except Exception as error:  # of many kinds
        raise TypeError(
            f"`encoder={str(path)!r}` cannot be read as numbers alone ({first_line(error)}). Save it with `numpy.save` "
            "or `torch.save`, one floating array."
        ) from None
    if not isinstance(table, Tensor) or table.ndim != 2 or not table.is_floating_point():
        what = f"{table.dtype} of shape {tuple(table.shape)}" if isinstance(table, Tensor) else type(table).__name__
        raise TypeError(f"`encoder={str(path)!r}` must hold floating features (N, d), one row a sample, got {what}.")
    return table


def _load_mapped(path: Path) -> Any:
    """Pages are read as they are used, and no code is run."""
    if path.suffix != ".npy":
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    import numpy as np

    array = np.load(path, mmap_mode="c", allow_pickle=False)
    if not array.dtype.isnative:
        raise TypeError("it has another machine's byte order: save `table.astype('float32')`")
    return torch.from_numpy(array)
