"""Checkpoints of Lightning's: written whole, and read without making any object that they may hold but tensors."""

import os
import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_al.storage.files import publish, write_errors_explained


def save_checkpoint(trainer: pl.Trainer, path: Path) -> None:
    """Write a Trainer's checkpoint, on all its processes; the file appears under its name whole or not at all."""
    beside = path.with_name(path.name + ".tmp")
    with write_errors_explained(path, beside):
        if trainer.is_global_zero:
            beside.parent.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(beside, weights_only=False)
        if trainer.is_global_zero:
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            publish(beside, path)
    trainer.strategy.barrier("checkpoint")


class _Foreign:
    """Stands where a checkpoint has an object of some class, or what some function makes; it does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Foreign":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "_Foreign":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    extend = append
    add = append


class _TensorsOnly(pickle.Unpickler):
    """Makes tensors, and a :class:`_Foreign` of everything else."""

    def find_class(self, module: str, name: str) -> Any:
        rebuilds = (module, name) == ("torch._tensor", "_rebuild_from_type_v2") or (
            module == "torch._utils" and name.startswith("_rebuild_")
        )
        if rebuilds or (module, name) == ("collections", "OrderedDict"):
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return _Foreign


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return what a checkpoint of Lightning's holds, ``state_dict`` among it, on the CPU; of a plain state that alone.

    Hyperparameters in it may be anything that the user's module took; objects of classes other than tensors and plain
    values come as stand-ins that do nothing, and no code of theirs runs.

    Raises:
        ValueError: If it is no file that ``torch.save`` wrote, or holds no ``state_dict``.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no checkpoint, or is damaged.")
    tensors_only = SimpleNamespace(Unpickler=_TensorsOnly, __name__=__name__)
    content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=tensors_only)
    if isinstance(content, dict) and content and all(isinstance(value, torch.Tensor) for value in content.values()):
        return {"state_dict": content}
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise ValueError(
            f"{path} holds no weights: neither a `state_dict`, as Lightning's checkpoints have it, nor tensors alone."
        )
    return content


def hyperparameters(path: str | Path) -> dict[str, Any]:
    """Return the arguments that the model of a checkpoint of Lightning's was made with, those of plain values.

    A module that kept them as one argument (``save_hyperparameters(config)``) has that argument.

    Raises:
        ValueError: If it is no checkpoint.
    """
    content = read_checkpoint(path)
    saved, name = content.get("hyper_parameters"), content.get("hparams_name")
    if not isinstance(saved, dict):
        return {}
    if isinstance(name, str) and name != "kwargs":
        saved = {name: saved}
    return {key: value for key, value in saved.items() if isinstance(key, str) and _is_plain(value)}


def beside_weights(model: pl.LightningModule) -> dict[str, Any]:
    """Return what makes a file with a ``state_dict`` one that ``load_from_checkpoint`` takes, in plain values.

    Hyperparameters that are no plain values are left out, as those of a module that itself is one of them: they are
    arguments of ``load_from_checkpoint`` then.
    """
    found: dict[str, Any] = {"pytorch-lightning_version": pl.__version__}
    saved = {name: _plain(value) for name, value in model.hparams.items() if isinstance(name, str) and _is_plain(value)}
    if saved:
        found["hyper_parameters"] = saved
        name = getattr(model, "_hparams_name", None)
        found |= {"hparams_name": name} if isinstance(name, str) else {}
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _plain(value: Any) -> Any:
    """Return plain values in Python's own dicts, lists and tuples, which load with ``weights_only=True``."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(map(_plain, value))
    return value
