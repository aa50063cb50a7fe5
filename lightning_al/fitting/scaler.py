"""The Trainer's fp16 loss scaler, given the state back before each fit that it had before the first."""

import copy
from typing import Any

import lightning.pytorch as pl
from torch.utils.weak import WeakIdKeyDictionary

_RELEASED = WeakIdKeyDictionary()
"""Of scalers that were renewed before: their first state, and the one that they were left in."""


class RenewedScaler:
    """The loss scaler of a Trainer's precision plugin, if it has one.

    That of a Trainer which another campaign had begins as it did in that one, unless somebody used it since.

    Args:
        trainer: The user's, before its first fit.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self._scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._first = self.state
        if self._scaler in _RELEASED:
            first, left = _RELEASED[self._scaler]
            if self._first == left:
                self._first = first

    @property
    def state(self) -> dict[str, Any] | None:
        """A copy of its present state; None where there is no scaler."""
        return None if self._scaler is None else copy.deepcopy(self._scaler.state_dict())

    def renew(self) -> None:
        """Give it its first state back."""
        self.load(self._first)

    def load(self, state: dict[str, Any] | None) -> None:
        """Give it the state of an earlier time; None: leave it as it is."""
        if self._scaler is not None and state is not None:
            self._scaler.load_state_dict(state)

    def release(self) -> None:
        """Leave it as it is, for whoever looks at it, and note that for the next campaign."""
        if self._scaler is not None:
            _RELEASED[self._scaler] = self._first, self.state
