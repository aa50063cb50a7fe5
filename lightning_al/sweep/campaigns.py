"""Campaigns as jobs: how far each is, by its ledger, and whether it is finished."""

import functools
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_al.campaign.events import has_ledger, read_ledger
from lightning_al.storage.files import atomic_write
from lightning_al.sweep.jobs import Job, Progress

RECORD = "swept.json"
"""File in the folder of a finished campaign that says by which recipes and options it was."""


@dataclass(frozen=True)
class CampaignJob(Job):
    """A campaign that ``lightning-al run ... --resume`` begins or goes on with.

    Args:
        folder: The campaign's.
        recipes: Files of the command.
        options: What the command says besides recipes and folder.
    """

    folder: Path = Path()
    recipes: tuple[Path, ...] = ()
    options: tuple[str, ...] = ()

    def is_done(self) -> bool:
        """Whether its ledger is that of a finished campaign, by the same recipes and options as now."""
        return self._recorded == self._made_by and is_finished(self.folder)

    def is_by_others(self) -> bool:
        """Whether it was finished by other recipes or options than now; where the data lie does not count."""
        recorded = self._recorded
        if not isinstance(recorded, dict) or recorded.keys() != self._made_by.keys():
            return False
        return _without_place(recorded) != _without_place(self._made_by)

    def end(self) -> bool:
        """Take note that the campaign is finished, unless it waits for labels."""
        if not is_finished(self.folder):
            return False
        with atomic_write(self.folder / RECORD) as file:
            file.write((json.dumps(self._made_by) + "\n").encode())
        return True

    def progress(self) -> Progress:
        """How many rounds have been trained, and how many there will be."""
        return self._ledger.progress()

    @functools.cached_property
    def _ledger(self) -> "_Seen":
        return _Seen(self.folder / "ledger")

    @property
    def _recorded(self) -> Any:
        try:
            return json.loads((self.folder / RECORD).read_text())
        except (OSError, ValueError):
            return None

    @functools.cached_property
    def _made_by(self) -> dict[str, Any]:
        return {"recipes": [_digest(path) for path in self.recipes], "options": list(self.options)}


def _without_place(made_by: dict[str, Any]) -> list[Any]:
    return [made_by["recipes"], [option for option in made_by["options"] if not option.startswith("--data.root=")]]


def _digest(recipe: Path) -> str:
    """Return a hash of what a recipe says; comments say nothing."""
    said = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


def is_finished(folder: Path) -> bool:
    """Whether a campaign's last launch came to its end: what was trained last was reported, and asks for nothing more.

    Of one that was told a last round, and whose model is not trained on its labels yet, it is not.
    """
    try:
        events = read_ledger(folder) if has_ledger(folder) else []
    except ValueError:  # it is damaged, as the run will say
        return False
    rounds = {kind: {e["round"] for e in events if e["kind"] == kind} for kind in ("fitted", "reported", "asked")}
    last = max(rounds["fitted"], default=None)
    return last is not None and last in rounds["reported"] and last not in rounds["asked"]


class _Seen:
    """What has been read of a ledger so far; each file is read once, since none ever changes."""

    def __init__(self, ledger: Path) -> None:
        self.ledger = ledger
        self.names: set[str] = set()
        self.seconds: dict[int, float] = {}
        self.trained: set[int] = set()
        self.total: int | None = None

    def progress(self) -> Progress:
        """How far the campaign is now."""
        for path in sorted(self.ledger.glob("[0-9]*.json")):
            if path.name not in self.names:
                self.names.add(path.name)
                self._take(path)
        return Progress([self.seconds[number] for number in sorted(self.trained)], self.total)

    def _take(self, path: Path) -> None:
        kind = path.stem.partition("-")[2]
        if kind not in ("started", "fitted", "asked"):
            return
        try:
            event = json.loads(path.read_text())
            if kind == "started":
                self.total = rounds_planned(event["options"], event["size"])
                return
            number = event["round"]
            self.seconds[number] = self.seconds.get(number, 0.0) + sum(event["seconds"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged, as the run will say
            return
        if kind == "fitted":
            self.trained.add(number)


def rounds_planned(options: dict[str, Any], size: int) -> int | None:
    """Return how many times a campaign will train, as far as the options that it began with tell.

    Example:
        >>> rounds_planned({"initial": 20, "query_size": 10, "rounds": 3}, size=1000)
        4
        >>> rounds_planned({"initial": 20, "query_size": 10, "budget": 45}, size=1000)
        4
    """
    rounds, budget = options.get("rounds"), options.get("budget")
    initial, query_size = options.get("initial"), options.get("query_size")
    counts = [] if rounds is None else [rounds]
    first = len(initial) if isinstance(initial, list) else size if initial == "all" else initial
    if isinstance(first, int) and isinstance(query_size, int) and query_size > 0:
        counts += [math.ceil((most - first) / query_size) for most in (budget, size) if most is not None]
    return None if not counts else max(int(min(counts)), 0) + 1
