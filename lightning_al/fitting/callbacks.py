"""The user's callbacks, given the state back before each fit that they had before the first."""

import contextlib
import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch.utils.weak import WeakIdKeyDictionary

from lightning_al.fitting.hooks import keeps_its_state
from lightning_al.fitting.ownership import held_by_others

_RELEASED = WeakIdKeyDictionary()
"""Of callbacks that were renewed before: their first state, and the one that they were left in."""


class RenewedCallbacks:
    """A Trainer's callbacks, as new for each fit.

    They are renewed *in place*, from a copy of their state taken here, so that references to them stay valid. What
    others hold too (a dataset that a curriculum sets the level of, a list of the caller's) is no state of theirs: it
    stays itself and is never put back. Callbacks that know of the rounds (they define ``on_round_start`` or its like
    and no ``state_dict``) are left alone. Those of a Trainer that another campaign had begin as they did in that one,
    but for what somebody has set since.

    Args:
        trainer: The user's, before its first fit.
        shared: What is known to be held by others too.
    """

    def __init__(self, trainer: pl.Trainer, shared: Iterable[Any]) -> None:
        self.trainer = trainer
        self._shared: dict[int, Any] = {id(thing): thing for thing in (*shared, trainer, *trainer.callbacks)}
        self._first: list[tuple[Callback, dict[str, Any]]] = []
        for callback in trainer.callbacks:
            if keeps_its_state(callback):
                continue
            self._shared |= held_by_others(callback, known=self._shared)
            try:
                self._first.append((callback, self._copy(_first_state(callback))))
            except (TypeError, UnpicklingError, AttributeError, RuntimeError) as error:
                rank_zero_warn(
                    f"{type(callback).__name__} cannot be copied ({error}), so its state is carried from round to "
                    "round. Give it an `on_round_start(trainer, pl_module, loop)` that resets it."
                )

    def renew(self, folder: Path) -> None:
        """Give callbacks their first state back, and let them save below ``folder`` or in one of its name."""
        for callback, state in self._first:
            _set_state(callback, self._copy(state))
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                users = next((state.get("dirpath") for c, state in self._first if c is callback), None)
                callback.dirpath = str(folder / "checkpoints" if users is None else Path(users) / folder.name)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Give callbacks the state back at the end that they have now."""
        callbacks = [*(callback for callback, _ in self._first), *self.trainer.checkpoint_callbacks]
        states = [dict(vars(callback)) for callback in callbacks]  # shallow is enough: `renew` puts others in its place
        try:
            yield
        finally:
            for callback, state in zip(callbacks, states, strict=True):
                _set_state(callback, state)

    def release(self) -> None:
        """Give checkpoint callbacks the folder back that the user gave them, for other runs of the Trainer."""
        for callback, state in self._first:
            if isinstance(callback, ModelCheckpoint):
                callback.dirpath = state.get("dirpath")
            _RELEASED[callback] = state, dict(vars(callback))

    def _copy(self, state: dict[str, Any]) -> dict[str, Any]:
        return copy.deepcopy(state, dict(self._shared))


def _first_state(callback: Callback) -> dict[str, Any]:
    """Return the state that a callback had before its first fit of all campaigns, with what was set since the last."""
    now = vars(callback)
    if callback not in _RELEASED:
        return now
    first, left = _RELEASED[callback]
    unset = object()
    set_since = {name: value for name, value in now.items() if left.get(name, unset) is not value}
    return {name: value for name, value in {**first, **set_since}.items() if name in now or name not in left}


def _set_state(callback: Callback, state: dict[str, Any]) -> None:
    vars(callback).clear()
    vars(callback).update(state)
