"""Campaigns as jobs: how far each is, by its ledger, and whether it is finished."""

import functools
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightning_al.campaign.events import has_ledger, read_ledger
from lightning_al.storage.files import atomic_write
from lightning_al.sweep.jobs import Job, Progress

RECORD = "swept.json"
"""File in the folder of a campaign that says by which recipes and options it was begun, or else finished."""
_AMOUNTS = ("rounds", "budget", "stop")
"""Of `loop`: what may be another when a campaign goes on."""
_ELSEWHERE = re.compile(
    r"--(loop\.(rounds|budget|stop)|data\..*(root|num_workers)|trainer\.(accelerator|devices|enable_.*))$"
)
"""Options that may be others when a campaign goes on: how far, and on which machine."""


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
        try:
            recorded = json.loads((self.folder / RECORD).read_text())
        except (OSError, ValueError):
            return False
        return bool(recorded == self._made_by) and is_finished(self.folder)

    def begin(self) -> None:
        """Take note by what the campaign is, where there is none yet."""
        if not has_ledger(self.folder):
            self._record()

    def end(self) -> bool:
        """Take note that the campaign is finished, unless it waits for labels."""
        if not is_finished(self.folder):
            return False
        self._record()
        return True

    def made_otherwise(self) -> list[str]:
        """Return in what the campaign that is there is another than this one would be; nothing: in nothing known."""
        try:
            recorded = json.loads((self.folder / RECORD).read_text())
            settings, options = list(recorded["settings"]), [str(word) for word in recorded["options"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        if not has_ledger(self.folder):
            return []
        changed = settings != self._made_by["settings"]
        then, now = _that_matter(options), _that_matter(self.options)
        without, more = ([word for word in a if word not in b] for a, b in ((then, now), (now, then)))
        return [
            *(["it is of recipes that said something else"] if changed else []),
            *([f"it had `{' '.join(without)}`"] if without else []),
            *([f"it had no `{' '.join(more)}`"] if more else []),
        ]

    def _record(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.folder / RECORD) as file:
            file.write((json.dumps(self._made_by) + "\n").encode())

    def progress(self) -> Progress:
        """How many rounds have been trained, and how many there will be."""
        return self._ledger.progress()

    @functools.cached_property
    def _ledger(self) -> "_Seen":
        return _Seen(self.folder / "ledger")

    @functools.cached_property
    def _made_by(self) -> dict[str, Any]:
        said = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in self.recipes]
        return {
            "recipes": [_digest(each) for each in said],
            "options": list(self.options),
            "settings": [_digest(_without_amounts(each)) for each in said],
        }


def findings_of_others(jobs: Sequence[CampaignJob]) -> list[str]:
    """Return a sentence on campaigns in whose folders others lie, if there are any: going on would make one of both."""
    others = {job: differences for job in jobs if (differences := job.made_otherwise())}
    if not others:
        return []
    first, differences = next(iter(others.items()))
    more = f" (and so of {len(others) - 1} more)" if len(others) > 1 else ""
    return [
        f"There is another campaign in {first.folder}: {', and '.join(differences)}{more}. Give another "
        f"`--dirpath`, or recipes and options as they were; if they make no difference, remove {RECORD} there."
    ]


def _digest(said: Any) -> str:
    """Return a hash of what a recipe says; comments say nothing."""
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _without_amounts(said: Any) -> Any:
    """Return what a recipe says without how far a campaign goes, and where it lies."""
    if not (isinstance(said, dict) and isinstance(said.get("loop"), dict)):
        return said
    loop = {key: value for key, value in said["loop"].items() if key not in (*_AMOUNTS, "dirpath")}
    return {**said, "loop": loop}


def _that_matter(words: Sequence[str]) -> list[str]:
    """Return options, each with its value, without those that may be others when a campaign goes on.

    Example:
        >>> _that_matter(["--loop.rounds", "3", "--data.root=x", "--trainer.max_epochs", "3", "--loop.seed=0"])
        ['--trainer.max_epochs=3', '--loop.seed=0']
    """
    options: list[str] = []
    takes_value = False
    for word in words:
        if takes_value and not word.startswith("--"):
            options[-1] += f"={word}"
        else:
            options.append(word)
        takes_value = word.startswith("--") and "=" not in word
    return [option for option in options if not _ELSEWHERE.match(option.partition("=")[0])]


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
