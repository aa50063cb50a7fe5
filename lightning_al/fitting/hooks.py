"""Round hooks, called on every callback that defines them."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, ModelSummary, ProgressBar

from lightning_al.acquisition.base import Acquisition

ROUND_HOOKS = ("on_round_start", "on_round_end", "on_query_start", "on_query_end", "on_round_reported")


def call_round_hook(trainer: pl.Trainer, name: str, *said: Any, loop: Any) -> None:
    """Call a hook of the loop, ``hook(trainer, pl_module, loop, *said)``, on every callback that defines it."""
    for callback in trainer.callbacks:
        hook = getattr(callback, name, None)
        if callable(hook):
            hook(trainer, loop.model, loop, *said)


def keeps_its_state(callback: Callback) -> bool:
    """Whether a callback is left alone between rounds.

    Progress bars live through the rounds, and SaveConfigCallback must. A callback that defines a hook of the loop
    knows of the rounds and looks after itself, unless it declares state of a fit (``state_dict``).
    """
    if isinstance(callback, (Acquisition, ProgressBar, ModelSummary)):
        return True
    if any(base.__name__ == "SaveConfigCallback" for base in type(callback).__mro__):
        return True
    knows_rounds = any(callable(getattr(callback, name, None)) for name in ROUND_HOOKS)
    return knows_rounds and type(callback).state_dict is Callback.state_dict
