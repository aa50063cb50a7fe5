"""Places at which a campaign can die, reached by patching the process that is to die: the package has no hooks."""

import functools
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.optim.optimizer import register_optimizer_step_post_hook

from lightning_al.loop import query
from lightning_al.scoring import pick
from lightning_al.storage.rows import RowStore
from tests.helpers.projects import Net
from tests.reliability.campaigns import Bureau

STAGES = {
    "fit",
    "a committee member's fit",
    "a helper network's training",
    "evaluation",
    "pool pass",
    "selection",
    "the oracle was asked",
    "the oracle answered",
    "old files are removed",
    *(
        f"{file}: {when}"
        for file in ("ledger", "weights", "checkpoint", "mask")
        for when in ("half written", "before the rename", "after the rename")
    ),
    *(f"rank 1: {stage}" for stage in ("fit", "evaluation", "pool pass")),
}


class Point(NamedTuple):
    """Die on coming to the stage for the ``hit``-th time, from 1; stages of ranks other than 0 say so."""

    stage: str
    hit: int


class Faults:
    """Kills this process, or one forked from it, at a point; or writes down every point that is reached.

    Args:
        at: Where to die. None: nowhere.
        trace: A file that gets a line with the stage for each point that is reached.
    """

    def __init__(self, at: Point | None = None, trace: Path | None = None) -> None:
        self.at = at
        self.trace = trace
        self.hits: Counter[str] = Counter()
        self.in_member = False

    def reach(self, stage: str, last_words: Callable[[], Any] = lambda: None) -> None:
        """Die here if it is here; ``last_words`` are done first."""
        if rank_zero_only.rank != 0:
            stage = f"rank {rank_zero_only.rank}: {stage}"
        self.hits[stage] += 1
        if self.trace is not None:
            with self.trace.open("a") as file:
                file.write(f"{stage}\n")
        if self.at == (stage, self.hits[stage]):
            last_words()
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Patch this process, once and for all."""
        register_optimizer_step_post_hook(self._stepped)
        after(Net, "validation_step", lambda *_: self.reach("evaluation"))
        after(RowStore, "add", lambda *_: self.reach("pool pass"))
        after(pick, "check_positions", lambda *_: self.reach("selection"))
        after(Bureau, "request", lambda *_: self.reach("the oracle was asked"))
        after(Bureau, "poll", lambda *_: self.reach("the oracle answered"))
        self._install_writes()
        refit = query.refit

        def member(*args: Any, **kwargs: Any) -> Any:
            self.in_member = True
            try:
                return refit(*args, **kwargs)
            finally:
                self.in_member = False

        query.refit = member

    def _stepped(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if isinstance(optimizer, torch.optim.Adam):
            self.reach("a helper network's training")
        else:
            self.reach("a committee member's fit" if self.in_member else "fit")

    def _install_writes(self) -> None:
        rename, unlink = Path.replace, Path.unlink

        def replace(beside: Path, path: Path) -> Any:
            of_suffix = {".json": "ledger", ".png": "mask"}
            what = of_suffix.get(path.suffix, "weights" if "resume" not in path.name else "checkpoint")
            self.reach(f"{what}: half written", lambda: os.truncate(beside, beside.stat().st_size // 2))
            self.reach(f"{what}: before the rename")
            done = rename(beside, path)
            self.reach(f"{what}: after the rename")
            return done

        def removed(path: Path, missing_ok: bool = False) -> None:
            there = path.exists()
            unlink(path, missing_ok=missing_ok)
            if there:
                self.reach("old files are removed")

        Path.replace, Path.unlink = replace, removed


def after(owner: Any, name: str, function: Callable[..., None]) -> None:
    """Call ``function`` with its result whenever ``owner.name`` has returned."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        function(result)
        return result

    setattr(owner, name, wrapped)
