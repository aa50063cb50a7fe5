"""A guard around ``setup``, so that layers which it makes anew do not undo what a round starts from."""

import contextlib
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_al._compat import is_overridden
from lightning_al.inference.replaced import replaced
from lightning_al.storage.weights import load_weights, whole_copy


@contextlib.contextmanager
def weights_kept_in_setup(model: pl.LightningModule) -> Iterator[None]:
    """Let ``model.setup`` change no weights, inside the block, once it was called for a first time.

    A module may make or draw its layers there. Called for ``validate`` or ``predict`` it would replace the weights that
    were just fitted by new ones, which then were evaluated and scored.
    """
    if not is_overridden("setup", model):
        yield
        return
    original = model.setup
    called = False

    def setup(stage: str) -> None:
        nonlocal called
        before = whole_copy(model.state_dict())
        original(stage)
        after = whole_copy(model.state_dict())
        if called and any(name not in after or not _same_weights(value, after[name]) for name, value in before.items()):
            load_weights(model, before)
        called = True

    with replaced(model, "setup", setup):
        yield


def _same_weights(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return True  # extra state, which need not compare; weights say whether layers were made anew
    return one.shape == other.shape and torch.equal(one, other)
