"""Weights and what else is learnt, in files of plain values beside the ledger."""

import contextlib
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch

from lightning_al.campaign.events import Event
from lightning_al.distributed.ranks import Ranks
from lightning_al.storage.blobs import FOLDER
from lightning_al.storage.files import atomic_write
from lightning_al.words import first_line

INITIAL_WEIGHTS = "initial.ckpt"
"""The weights that a campaign begins with, beside its ledger."""

RESUME = "resume.ckpt"
"""In a round's folder, what a killed fit goes on from."""

RETURNED = "returned.ckpt"
"""What processes that are copies of the one that launched them hand back, until it is read."""

KEPT = "kept"
"""Names the files of what each round's model was, which stay for later looks at it."""

State = dict[str, Any]
"""Ints, strings, tensors, and lists and dicts of them: what loads with ``weights_only=True``."""

_OF_A_FIT = re.compile(r"_[0-9a-f]{8}\.ckpt$")


def state_file(name: str, fit: Event) -> str:
    """Return the file of a state that goes with a fit: a later fit of the same round has its own."""
    return f"round_{fit['round']}/{name}_{fit['digest'][:8]}.ckpt"


def write_state(path: Path, state: State) -> None:
    """Write a state to a file that appears whole or not at all."""
    with atomic_write(path) as file:
        torch.save(state, file)


class States:
    """The files of plain state in a campaign's folder, written by the first rank and known to all.

    Args:
        dirpath: The campaign's folder.
        ranks: Of the launch.
    """

    def __init__(self, dirpath: Path, ranks: Ranks) -> None:
        self.dirpath = dirpath
        self.ranks = ranks

    def save(self, name: str, state: State) -> None:
        """Save a state on the first rank, in a file that appears whole or not at all."""
        if self.ranks.is_first:
            write_state(self.dirpath / name, state)

    def load(self, name: str) -> State | None:
        """Load what :meth:`save` saved, or None.

        Raises:
            ValueError: If the file is damaged or holds anything but plain state.
        """
        path = self.dirpath / name
        if not path.is_file():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # of many kinds, and torch advises to load such a file unsafely
            raise ValueError(
                f"{path} is damaged, or holds more than tensors and plain values ({first_line(error)}). Nothing in it "
                "was run. Restore it from a copy, or remove it: what can be learnt again will be, and what cannot "
                "will be named."
            ) from None
        if not isinstance(state, dict):
            raise ValueError(f"{path} is damaged: it holds a {type(state).__name__}. Restore it from a copy.")
        return state

    def take(self, name: str) -> State:
        """Load a state that must be there, and remove its file.

        Raises:
            FileNotFoundError: If it is not there.
        """
        state = self.load(name)
        if state is None:
            raise FileNotFoundError(
                f"{self.dirpath / name} is missing, in which the launched processes hand back what they did. Was it "
                "removed meanwhile? The ledger is whole: run again with `resume=True`."
            )
        (self.dirpath / name).unlink()
        return state

    def shared(self, name: str) -> State | None:
        """Load a state on the first rank, for all."""
        return self.ranks.first(lambda: self.load(name))

    def keep(self, name: str, make: Callable[[], State]) -> State:
        """Return on every rank what ``make()`` gives on the first.

        Every rank must call this, and all run ``make``. It is not run again after a kill if its result was saved.
        """
        state = self.shared(name)
        if state is not None:
            return state
        new_state = make()

        def put() -> State:
            self.save(name, new_state)
            return new_state

        return self.ranks.first(put)

    def remove_old(self, fits: list[Event], next_fit: Event, *, needed: Collection[str] = ()) -> None:
        """Remove, on the first rank, what belongs to other fits than the last one, and what a kill left.

        What is learnt from the present labels stays, fitted or not yet; and of each round what is kept for good.

        Args:
            fits: The recorded ones, oldest first.
            next_fit: Round and digest of the fit that the present labels ask for.
            needed: Files that stay, whichever fit they go with.
        """
        if not self.ranks.is_first:
            return
        patterns = (RETURNED, "*.ckpt.tmp", "round_*/*.ckpt.tmp", f"{FOLDER}/*.tmp")
        old = [path for pattern in patterns for path in self.dirpath.glob(pattern)]
        last_of_rounds = {fit["round"]: fit for fit in fits}
        kept = {*needed, *(state_file(KEPT, fit) for fit in last_of_rounds.values())}
        old += self._of_other_fits([next_fit, *fits[-1:]], but=kept)
        for fit in fits:
            # The last fit may have begun again, with labels that came since.
            if fit["round"] != fits[-1]["round"] or fits[-1]["digest"] == next_fit["digest"]:
                old += self.dirpath.glob(f"round_{fit['round']}/{RESUME}")
        for path in old:
            path.unlink(missing_ok=True)
        for folder in self.dirpath.glob("round_*"):
            with contextlib.suppress(OSError):  # the user's checkpoints may be in it
                folder.rmdir()

    def _of_other_fits(self, fits: list[Event], *, but: set[str]) -> list[Path]:
        endings = {state_file("", fit) for fit in fits}
        others = []
        for path in self.dirpath.glob("round_*/*.ckpt"):
            ending = _OF_A_FIT.search(path.name)  # the user's own checkpoints may be beside them
            if ending and f"{path.parent.name}/{ending.group()}" not in endings:
                others.append(path)
        return [path for path in others if f"{path.parent.name}/{path.name}" not in but]
