"""Weights and what else is learnt, in files beside the ledger."""

import re
from pathlib import Path
from typing import Any

import torch

from lightning_al.campaign.events import Event
from lightning_al.storage.files import atomic_write

INITIAL_WEIGHTS = "initial.ckpt"
"""The weights that a campaign begins with, beside its ledger."""

RESUME = "resume.ckpt"
"""In a round's folder, what a killed fit goes on from."""

RETURNED = "returned.ckpt"
"""What processes that are copies of the one that launched them hand back, until it is read."""

OF_A_FIT = re.compile(r"_[0-9a-f]{8}\.ckpt$")


def state_file(name: str, fit: Event) -> str:
    """Return the file of a state that goes with a fit: a later fit of the same round has its own."""
    return f"round_{fit['round']}/{name}_{fit['digest'][:8]}.ckpt"


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write plain state to a file that appears whole or not at all."""
    with atomic_write(path) as file:
        torch.save(state, file)
