"""The ledger of a campaign on disk: one immutable file per event, enough to go on after a kill at any point."""

import hashlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lightning_al.campaign.beside import Gone, Known
from lightning_al.campaign.blobs_sent import readable_everywhere
from lightning_al.campaign.events import Event, check_events, has_ledger, read_ledger, refuse_to_begin, stamped, writing
from lightning_al.campaign.history import History, ShowsRounds, rounds_of
from lightning_al.campaign.regions import AskedRegions
from lightning_al.campaign.results import INITIAL_ROUND, after_move
from lightning_al.campaign.states import INITIAL_WEIGHTS, State, States, state_file, write_state
from lightning_al.completion import OffersLess
from lightning_al.data.pool import Pool
from lightning_al.distributed.ranks import Ranks
from lightning_al.oracle.skip import DATASET
from lightning_al.storage.blobs import to_json
from lightning_al.storage.files import write_errors_explained
from lightning_al.words import counted


class Campaign(ShowsRounds, OffersLess):
    """A campaign's ledger: which questions were asked and answered, and what each round yielded.

    Everything is derived from the events: ``started``, ``changed``, ``named``, ``known``, ``asked``, ``answered``,
    ``said``, ``skipped``, ``void``, ``released``, ``fitted``, ``reported``, ``moved``, ``forgotten``. Indices are those
    of the dataset as it was when the campaign was last opened. Files are JSON: reading one cannot run code.
    Labels that are too large for JSON are files in ``labels/``; what is learnt is in :attr:`states`.

    Args:
        dirpath: The campaign's folder.
        events: Its events so far, oldest first, the first one ``started``.
        ranks: Of the launch: the first one reads and writes, and all know. Default: outside of a launch.

    Raises:
        ValueError: If the events are not a campaign this version understands.
    """

    _not_offered = """annotations apply beside check_free check_writable create fits gone key_of label_digest last_fit
        next_fit next_round own_labels ranks read_events record reported root round_file write"""

    def __init__(self, dirpath: str | Path, events: list[Event], ranks: Ranks | None = None) -> None:
        self.dirpath = Path(dirpath)
        self.ranks = Ranks() if ranks is None else ranks
        self.states = States(self.dirpath, self.ranks)
        self._event_count = 0
        self.options: dict[str, Any] = {}
        self.annotations: dict[str, Any] = {}
        """How people say labels: their ``kind``, the names of ``classes``, their ``count``; empty in older ledgers."""
        self.pool = Pool(0)
        self.labels: dict[int, Any] = {}
        self.keys: dict[int, str] = {}
        """What the samples are called that were asked for or answered, by dataset index."""
        self.sizes: dict[int, tuple[int, int]] = {}
        """Width and height of images of which a mask was asked for, by dataset index."""
        self.root: str | None = None
        """The folder that all names of samples began with; None in older ledgers, which had no hashes for keys."""
        self.regions = AskedRegions()
        """Which pixels were asked for, where questions are for parts of samples."""
        self.gone: dict[int, Gone] = {}
        """Samples that the dataset has no more, by negative numbers."""
        self.own_labels: dict[int, Any] = {}
        """Labels that are the dataset's own, of a simulated campaign."""
        self.beside = Known()
        """The training set beside the pool, of which no sample is asked for."""
        self.reported: set[int] = set()
        """Rounds whose results the loggers have."""
        self.fits: list[Event] = []
        """The ``fitted`` events, oldest first."""
        self._asked: list[Event] = []
        self._first: dict[int, int] = {}  # where samples were when they were first asked for, by where they are
        check_events(events, self.dirpath, self.apply)

    def __repr__(self) -> str:
        return f"Campaign({self.dirpath}: {counted(len(self.rounds), 'round')}, {self.pool!r})"

    # -- reading ---------------------------------------------------------------------------------------------------

    @staticmethod
    def exists(dirpath: str | Path) -> bool:
        """Whether ``dirpath`` holds a campaign."""
        return has_ledger(dirpath)

    @staticmethod
    def check_free(dirpath: str | Path) -> None:
        """Refuse a folder in which no campaign can begin, or not without overwriting something.

        Raises:
            NotADirectoryError: If it, or a part of its path, is a file.
            FileExistsError: If weights of a campaign are there, but not its ledger.
        """
        path = Path(dirpath)
        ledger = path / "ledger"
        for part in (ledger, path, *path.parents):
            if part.exists() and not part.is_dir():
                raise NotADirectoryError(f"`dirpath={str(path)!r}`: {part} is a file. Name another folder.")
        weights = sorted(path.glob("round_*/**/*.ckpt"))
        if not ledger.is_dir():  # a campaign makes it first
            weights += path.glob(INITIAL_WEIGHTS)
        if weights:
            raise FileExistsError(
                f"{path} holds {weights[0].relative_to(path)}, but its ledger is empty or missing, and starting over "
                "would overwrite it. Restore `ledger/` from a copy, or name another `dirpath`; nothing was changed."
            )

    @staticmethod
    def read_events(dirpath: str | Path) -> list[Event]:
        """Read the events of the campaign in ``dirpath``.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If a file is missing or damaged, or of a newer version; the file is named.
        """
        return read_ledger(dirpath)

    @classmethod
    def load(cls, dirpath: str | Path) -> "Campaign":
        """Read a campaign back without running it.

        Raises:
            FileNotFoundError: If there is none in ``dirpath``.
            ValueError: If the ledger is damaged.
        """
        return cls(dirpath, cls.read_events(dirpath))

    @property
    def rounds(self) -> History:  # type: ignore[override]
        """What each round yielded so far, oldest first."""
        return rounds_of([*self.fits, *self._asked])

    @property
    def known(self) -> list[int]:
        """Indices of samples ever asked for or answered, then of those gone; of samples given back those with keys."""
        in_part = [unit for unit in self.regions.units if unit >= 0]
        return list(dict.fromkeys([*self.pool.touched, *in_part, *self.keys, *self.gone]))

    def key_of(self, unit: int) -> str | None:
        """Return the key of a sample of :attr:`known`; None where it is known by its index alone."""
        return self.gone[unit].key if unit in self.gone else self.keys.get(unit)

    @property
    def last_fit(self) -> Event | None:
        """The newest ``fitted`` event."""
        return self.fits[-1] if self.fits else None

    @property
    def next_fit(self) -> Event:
        """Round and digest of the fit that the present labels ask for."""
        return {"round": self.next_round, "digest": self.label_digest}

    def round_file(self, name: str) -> str:
        """Return the file of a state that is learnt in this round from the present labels."""
        return state_file(name, self.next_fit)

    @property
    def next_round(self) -> int:
        """The round whose question has not been asked yet; the initial set comes before round 0."""
        return max((e["round"] for e in self._asked), default=INITIAL_ROUND - 1) + 1

    @property
    def label_digest(self) -> str:
        """A hash of all labels in the order they came, to tell whether a fit saw them, wherever samples are now."""
        labels: list[Any] = [(self._first.get(i, i), self.labels[i]) for i in self.pool.labelled.tolist()]
        if self.beside.size:
            labels.append(self.beside)
        return hashlib.sha256(to_json(labels)[0].encode()).hexdigest()[:16]

    # -- writing ---------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        dirpath: str | Path,
        *,
        size: int,
        options: dict[str, Any],
        root: str = "",
        annotations: dict[str, Any] | None = None,
        states: dict[str, State] | None = None,
        beside: dict[str, Any] | None = None,
    ) -> list[Event]:
        """Begin a campaign in ``dirpath`` and return its events, the first one.

        Args:
            dirpath: The folder; made where it is not there.
            size: Number of units of the dataset.
            options: The loop's, as JSON values.
            root: The folder that all names of samples begin with.
            annotations: How people say labels, see :attr:`annotations`.
            states: What :attr:`states` must have from the first event on, by file name.
            beside: What else is known of the beginning: ``versions`` of packages, ``weights`` of the model as hashes.

        Raises:
            FileExistsError: If there is one already.
            OSError: If the folder cannot be written to.
        """
        path = Path(dirpath)
        if cls.exists(path):
            refuse_to_begin(path)
        ledger = path / "ledger"
        with write_errors_explained(ledger, ledger / ".tmp"):
            ledger.mkdir(parents=True, exist_ok=True)  # first: weights without it are another's, see `check_free`
        for name, state in (states or {}).items():
            write_state(path / name, state)
        fields = {"size": size, "options": options, "root": root, "annotations": annotations or {}}
        with writing(ledger) as append:
            return [append(0, stamped("started", {**fields, **(beside or {})}))]

    def write(self, kind: str, **fields: Any) -> Event:
        """Put an event on disk and return it; :meth:`apply` takes note of it.

        Raises:
            OSError: If it cannot be written; the ledger is as before.
        """
        event = stamped(kind, fields)
        if not self.ranks.is_first:
            return event
        with writing(self.dirpath / "ledger") as append:
            return append(self._event_count, event)

    def record(self, kind: str, make: Callable[[], dict[str, Any]]) -> Event:
        """Put an event on disk on rank 0, where ``make`` gives its fields, then take note of it on every rank."""
        written: Event = self.ranks.first(lambda: self.write(kind, **make()))
        [event] = readable_everywhere([written], self.ranks)
        self.apply(event)
        return event

    def forget(self, keys: Iterable[str]) -> None:
        """Take the labels of samples back for good, as of those that the dataset has no more; they are never asked for.

        For use between launches; the next one trains without them.

        Args:
            keys: What the samples are called, see :attr:`keys`; all of one and the same input have one.

        Raises:
            ValueError: If a key is of no labelled sample.
        """
        key_of = {index: key for index, key in self.keys.items() if index in self.labels}
        wanted, known = dict.fromkeys([keys] if isinstance(keys, str) else keys), {*key_of.values()}
        unknown = [key for key in wanted if key not in known]
        if unknown:
            raise ValueError(f"No labelled sample is called {unknown[0]!r}. The `keys` of this campaign say what is.")
        self.record("forgotten", lambda: {"indices": [index for index, key in key_of.items() if key in wanted]})

    def check_writable(self) -> None:
        """Refuse a folder that cannot be written to, before anything is trained or asked for.

        Raises:
            OSError: As the system says why.
        """
        probe = self.dirpath / "ledger" / "writable.tmp"
        with write_errors_explained(probe, probe):
            probe.touch()
            probe.unlink(missing_ok=True)  # another process may look too

    def apply(self, event: Event) -> None:
        """Take note of an event that is on disk."""
        _APPLY[event["kind"]](self, event)
        self._event_count += 1

    def _apply_started(self, event: Event) -> None:
        self.pool = Pool(event["size"])
        self.options = event["options"]
        self.root = event.get("root")
        self.annotations = event.get("annotations", {})

    def _apply_changed(self, event: Event) -> None:
        self.options = event["options"]

    def _apply_named(self, event: Event) -> None:
        self.annotations = event["annotations"]

    def _apply_said(self, event: Event) -> None:
        """Do nothing: it is no label, or not yet."""

    def _apply_asked(self, event: Event) -> None:
        self.pool.ask(event["indices"])
        if "regions" in event:
            self.regions.ask(event["indices"], event["regions"], event["pixels"], event["last"])
        self._take_keys(event)
        sizes = zip(event["indices"], event.get("sizes", ()), strict=False)
        self.sizes.update((index, tuple(size)) for index, size in sizes if size is not None)
        self._asked.append(event)

    def _take_keys(self, event: Event) -> None:
        keys = zip(event["indices"], event["keys"], strict=True)
        self.keys.update((index, key) for index, key in keys if key is not None)  # None: known by the index alone

    def _apply_answered(self, event: Event) -> None:
        in_part = [index for index in event["indices"] if self.regions.has_more(index)]
        self.pool.label(event["indices"], event.get("costs"), in_part=in_part)
        self.regions.settle(event["indices"])
        self._take_keys(event)
        for index, label in zip(event["indices"], event["labels"], strict=True):
            self.labels[index] = label
            if event["annotator"] == DATASET and not self.regions.is_asked(index):
                self.own_labels[index] = label
            else:
                self.own_labels.pop(index, None)

    def _apply_skipped(self, event: Event) -> None:
        self.pool.skip(event["indices"])
        self.regions.settle(event["indices"])
        if "keys" in event:
            self._take_keys(event)

    def _apply_void(self, event: Event) -> None:
        """Of what was asked for nothing has a class: other pixels may be asked for, where there are some."""
        more = [index for index in event["indices"] if self.regions.has_more(index)]
        self.pool.release(more)
        self.pool.skip([index for index in event["indices"] if index not in more])
        self.regions.settle(event["indices"])

    def _apply_released(self, event: Event) -> None:
        self.pool.release(event["indices"])
        self.regions.release(event["indices"])

    def _apply_known(self, event: Event) -> None:
        self.pool.know(event["indices"])
        self.beside = Known(event["size"], event["digest"])

    def _apply_forgotten(self, event: Event) -> None:
        self.pool.forget(event["indices"])
        self.regions.forget(event["indices"])
        for index in event["indices"]:
            self.labels.pop(index, None)
            self.own_labels.pop(index, None)

    def _apply_moved(self, event: Event) -> None:
        places = dict(zip(event["indices"], event["now"], strict=True))
        for unit in set(event["now"]) - places.keys():  # of older ledgers, which did not follow what was given back
            self.keys.pop(unit, None)
        known = set(self.known)
        self.pool.know([])
        left = {unit: Gone(None, "unlabelled") for unit in known if unit >= 0 and unit not in self.labels}
        for state in ("pending", "skipped"):
            left |= {unit: Gone(None, state) for unit in getattr(self.pool, state).tolist() if unit not in self.labels}
        for unit in event.get("known", []):
            in_part = self.regions.has_more(unit)
            left[unit] = Gone(None, "labelled", self.labels.get(unit), self.pool.cost(unit), in_part=in_part)
        lost = [unit for unit in places if places[unit] < 0 and unit not in left]
        if lost:
            raise ValueError(f"Sample {lost[0]} cannot be gone: it is labelled, or was never asked for.")
        moved = list(zip(event["indices"], event["now"], event["keys"], strict=True))
        back = {now: self.gone[unit] for unit, now, _ in moved if unit in self.gone}
        gone = {unit: sample for unit, sample in self.gone.items() if unit not in places}
        gone |= {now: left[unit]._replace(key=key) for unit, now, key in moved if now < 0}
        paid = math.fsum(sample.cost for sample in gone.values())
        self.pool = self.pool.moved(places, event["size"], paid_for_gone=paid)
        self.gone = gone
        self.regions = self.regions.moved(places)
        self.labels = {places.get(unit, unit): label for unit, label in self.labels.items()}
        self.own_labels = {places.get(unit, unit): label for unit, label in self.own_labels.items()}
        for labels in (self.labels, self.own_labels):
            for unit in [unit for unit in labels if unit < 0]:
                del labels[unit]
        for now, sample in back.items():
            self._come_back(now, sample)
        self._first = {places.get(unit, unit): self._first.get(unit, unit) for unit in known}
        self.sizes = {places.get(unit, unit): size for unit, size in self.sizes.items() if unit in known}
        keys = {places.get(unit, unit): key for unit, key in self.keys.items()}
        keys |= dict(zip(event["now"], event["keys"], strict=True))
        self.keys = {unit: key for unit, key in keys.items() if unit >= 0 and key is not None}
        self._asked = [after_move(question, event) for question in self._asked]
        self.root = event["root"]

    def _come_back(self, unit: int, sample: Gone) -> None:
        """Let a sample that was gone be again what it was."""
        if sample.state == "labelled":
            self.pool.label([unit], [sample.cost], in_part=[unit] if sample.in_part else [])
            self.labels[unit] = sample.label
            self.regions.settle([unit])
            return
        if sample.state == "unlabelled":
            return
        self.pool.ask([unit])
        if sample.state == "skipped":
            self.pool.skip([unit])

    def _apply_fitted(self, event: Event) -> None:
        self.fits.append(event)

    def _apply_reported(self, event: Event) -> None:
        self.reported.add(event["round"])


_APPLY: dict[str, Callable[[Campaign, Event], None]] = {
    name.removeprefix("_apply_"): method for name, method in vars(Campaign).items() if name.startswith("_apply_")
}
