"""Where each sample of a campaign stands and what people said of it, read from its events without torch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_al.campaign.events import Event, check_events, read_ledger
from lightning_al.campaign.history import History, rounds_of
from lightning_al.campaign.regions import AskedRegions
from lightning_al.campaign.results import LABELS, PIXELS
from lightning_al.oracle.people.agreement import Said
from lightning_al.oracle.skip import SKIP
from lightning_al.tasks.annotations import annotation_of


@dataclass
class Sample:
    """A sample that was asked for or answered.

    Args:
        key: What it is called; None: it is known by its index alone.
        state: ``"pending"``, ``"labelled"``, ``"skipped"`` or ``"unlabelled"``, where a question was taken back. One
            that is pending may have a label too, of other parts.
        label: As the ledger has it.
        cost: Of the label.
        said: What people said of it, as the ledger has it, in the order they did.
        size: Width and height of its image, where a mask was asked for.
        before: How much of what people said was before the last question for a part of it, and so of other parts.
    """

    key: str | None
    state: str
    label: Any = None
    cost: float = 0.0
    said: list[Said] = field(default_factory=list)
    size: tuple[int, int] | None = None
    before: int = 0


class Standing:
    """A campaign as the people who label for it see it.

    Args:
        dirpath: The campaign's folder.

    Raises:
        FileNotFoundError: If there is no campaign.
        ValueError: If its ledger is damaged, or of a newer version.
    """

    def __init__(self, dirpath: str | Path) -> None:
        self.dirpath = Path(dirpath)
        events = read_ledger(dirpath)
        self.samples: dict[int, Sample] = {}
        """By dataset index, as the data were when last opened; by negative numbers those that they have no more."""
        self.regions = AskedRegions()
        """Which pixels were asked for, where questions are for parts of samples."""
        self.known: frozenset[int] = frozenset()
        """Samples that a training set beside the pool has too: they are in no state, whatever was said of them."""
        self.size = 0
        self.options: dict[str, Any] = {}
        self.annotations: dict[str, Any] = {}
        self.event_count = len(events)
        self.last_time = ""
        check_events(events, dirpath, self._apply)
        self.rounds: History = rounds_of(events)

    @property
    def kind(self) -> str | None:
        """What people say of a sample; None: it is the task's own."""
        return self.annotations.get("kind")

    @property
    def classes(self) -> list[str] | None:
        """Names, by class index."""
        return self.annotations.get("classes")

    @property
    def counts(self) -> str:
        """What is paid for: ``"labels"``, or ``"pixels"`` where regions are asked for."""
        return LABELS if self.options.get("asks_for") is None else PIXELS

    @property
    def spent(self) -> float:
        """What the labels cost."""
        return sum(sample.cost for sample in self.samples.values())

    def name(self, unit: int) -> str:
        """Return what files call a sample: its key, or ``index:3`` where it has none."""
        return self.samples[unit].key or f"index:{unit}"

    def units(self, state: str) -> list[int]:
        """Return the dataset indices in a state, of samples of the pool alone, in the order they came to be in it."""
        of_state = {unit for unit, sample in self.samples.items() if sample.state == state}
        if state == "labelled":
            of_state |= {unit for unit, sample in self.samples.items() if sample.label is not None}
        return [unit for unit in self.samples if unit in of_state and unit >= 0 and unit not in self.known]

    def annotation(self, unit: int) -> Any:
        """Return the label of a sample as people say it, ``SKIP``, or None."""
        sample = self.samples[unit]
        if sample.state == "skipped":
            return SKIP
        return annotation_of(sample.label, self.classes) if sample.state == "labelled" else None

    # -- events ----------------------------------------------------------------------------------------------------

    def _apply(self, event: Event) -> None:
        self.last_time = str(event.get("time", ""))
        apply = _APPLY.get(event["kind"])
        if apply is not None:
            apply(self, event)

    def _put(self, unit: int, key: str | None, state: str) -> Sample:
        """Let a sample be in a state, as the last that came to it."""
        sample = self.samples.get(unit) or Sample(key, state)
        if sample.state != state or unit not in self.samples:
            self.samples.pop(unit, None)
            self.samples[unit] = sample
        sample.state, sample.key = state, sample.key if key is None else key
        return sample

    def _apply_started(self, event: Event) -> None:
        self.size, self.options = event["size"], event["options"]
        self.annotations = event.get("annotations", {})

    def _apply_changed(self, event: Event) -> None:
        self.options = event["options"]

    def _apply_named(self, event: Event) -> None:
        self.annotations = event["annotations"]

    def _apply_asked(self, event: Event) -> None:
        sizes = event.get("sizes") or [None] * len(event["indices"])
        for unit, key, size in zip(event["indices"], event["keys"], sizes, strict=True):
            sample = self._put(unit, key, "pending")
            sample.size = sample.size if size is None else tuple(size)
            sample.before = len(sample.said) if "regions" in event else 0
        if "regions" in event:
            self.regions.ask(event["indices"], event["regions"], event["pixels"], event["last"])

    def _apply_answered(self, event: Event) -> None:
        costs = event.get("costs") or [1.0] * len(event["indices"])
        rows = zip(event["indices"], event["keys"], event["labels"], costs, strict=True)
        for unit, key, label, cost in rows:
            sample = self._put(unit, key, "labelled")
            sample.label, sample.cost = label, cost
            people = event.get("annotators") or [event["annotator"]]
            sample.said += [Said(who, event.get("time"), label) for who in people]
        self.regions.settle(event["indices"])

    def _apply_said(self, event: Event) -> None:
        for unit, key, label in zip(event["indices"], event["keys"], event["labels"], strict=True):
            sample = self.samples.setdefault(unit, Sample(key, "unlabelled"))
            sample.said.append(Said(event["annotator"], event.get("time"), SKIP if label is None else label))

    def _apply_skipped(self, event: Event) -> None:
        for unit, key in zip(event["indices"], event.get("keys") or [None] * len(event["indices"]), strict=True):
            sample = self.samples.get(unit)
            if sample is None or sample.label is None:
                sample = self._put(unit, key, "skipped")
            else:
                sample = self._put(unit, key, "labelled")
            people = event.get("annotators") or [event.get("annotator", "")]
            sample.said += [Said(who, event.get("time"), SKIP) for who in people]
        self.regions.settle(event["indices"])

    def _apply_void(self, event: Event) -> None:
        for unit in event["indices"]:
            without = "unlabelled" if self.regions.has_more(unit) else "skipped"
            self._put(unit, None, without if self.samples[unit].label is None else "labelled")
        self.regions.settle(event["indices"])

    def _apply_released(self, event: Event) -> None:
        for unit in event["indices"]:
            self._put(unit, None, "unlabelled" if self.samples[unit].label is None else "labelled")
        self.regions.release(event["indices"])

    def _apply_known(self, event: Event) -> None:
        self.known = frozenset(event["indices"])

    def _apply_forgotten(self, event: Event) -> None:
        for unit in event["indices"]:
            sample = self._put(unit, None, "skipped")
            sample.label, sample.cost, sample.said, sample.before = None, 0.0, [], 0
        self.regions.forget(event["indices"])

    def _apply_moved(self, event: Event) -> None:
        places = dict(zip(event["indices"], event["now"], strict=True))
        keys = dict(zip(event["indices"], event["keys"], strict=True))
        for unit, sample in self.samples.items():
            sample.key = keys.get(unit, sample.key)
        # Samples that were given back are followed by their keys, and in older ledgers not at all.
        others, size = set(places.values()), event["size"]
        given_back = {unit for unit, each in self.samples.items() if each.state == "unlabelled" and unit not in places}
        lost = {u for u in given_back if self.samples[u].key is None or u in others or u >= size}
        self.samples = {places.get(unit, unit): each for unit, each in self.samples.items() if unit not in lost}
        self.regions = self.regions.moved(places)
        self.known = frozenset()  # which they are now the next event says
        self.size = size


_APPLY: dict[str, Callable[[Standing, Event], None]] = {
    "started": Standing._apply_started,
    "changed": Standing._apply_changed,
    "named": Standing._apply_named,
    "asked": Standing._apply_asked,
    "answered": Standing._apply_answered,
    "said": Standing._apply_said,
    "skipped": Standing._apply_skipped,
    "void": Standing._apply_void,
    "released": Standing._apply_released,
    "known": Standing._apply_known,
    "forgotten": Standing._apply_forgotten,
    "moved": Standing._apply_moved,
}
