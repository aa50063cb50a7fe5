"""The events of a ledger: one immutable JSON file each, numbered without a gap."""

import contextlib
import fcntl
import functools
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

from lightning_al.storage.blobs import FOLDER, Blob, from_json, keep, to_json
from lightning_al.storage.files import atomic_write
from lightning_al.words import counted, shown

SCHEMA = 1

Event = dict[str, Any]

_FIELDS: dict[str, dict[str, type]] = {
    "started": {"size": int, "options": dict},
    "changed": {"options": dict},
    "asked": {"round": int, "indices": list, "keys": list, "scores": list, "seconds": dict},
    "answered": {"indices": list, "keys": list, "labels": list, "annotator": str},
    "said": {"indices": list, "keys": list, "labels": list, "annotator": str},
    "named": {"annotations": dict},
    "skipped": {"indices": list},
    "void": {"indices": list},
    "released": {"indices": list},
    "known": {"size": int, "digest": str, "indices": list},
    "moved": {"size": int, "root": str, "indices": list, "now": list, "keys": list},
    "forgotten": {"indices": list},
    "fitted": {"round": int, "labelled": int, "digest": str, "metrics": dict, "seconds": dict, "steps": dict},
    "reported": {"round": int},
}


def has_ledger(dirpath: str | Path) -> bool:
    """Whether ``dirpath`` holds a campaign."""
    ledger = Path(dirpath) / "ledger"
    return ledger.is_dir() and any(ledger.glob("[0-9]*.json"))


def check_there(dirpath: str | Path) -> None:
    """Refuse a folder without a campaign.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not has_ledger(dirpath):
        raise FileNotFoundError(f"There is no campaign in {Path(dirpath)} (no `ledger/` folder with events).")


def count_events(dirpath: str | Path) -> int:
    """Return how many events the campaign in ``dirpath`` has, from the names of their files; 0: there is none."""
    return sum(1 for _ in (Path(dirpath) / "ledger").glob("[0-9]*.json"))


def refuse_to_begin(dirpath: str | Path) -> NoReturn:
    """Raise the error of a campaign that is there already, with how far it is."""
    finished = sum(1 for _ in (Path(dirpath) / "ledger").glob("[0-9]*-reported.json"))
    goes_on = f"to go on with it after {counted(finished, 'round')}"
    if finished == 0:
        goes_on = "to go on with it: no round of it is finished, so all are trained and asked for by the options of now"
    raise FileExistsError(
        f"{dirpath} holds a campaign already. Pass `resume=True` (`--resume`) {goes_on}; or another `dirpath`. Nothing "
        "was changed."
    )


def read_ledger(dirpath: str | Path) -> list[Event]:
    """Read the events of the campaign in ``dirpath``.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a file is missing or damaged, or of a newer version; the file is named.
    """
    check_there(dirpath)
    return read_events(Path(dirpath) / "ledger")


def read_events(folder: Path) -> list[Event]:
    """Read the events in ``folder``, oldest first.

    Raises:
        ValueError: If a file is missing or damaged, or of a newer version; the file is named.
    """
    events = []
    blob_of = _blobs_beside(folder)
    for number, path in enumerate(sorted(folder.glob("[0-9]*.json"))):
        name = path.name.split("-")[0]
        if name == f"{number - 1:06d}":
            raise ValueError(f"The ledger has event {name} twice, the second time as {path}. Remove the wrong one.")
        if name != f"{number:06d}":
            raise ValueError(f"The ledger lacks event {number:06d} before {path}. Restore it from a copy.")
        try:
            event = from_json(path.read_text(), blob_of)
            kind, schema = event["kind"], event["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"The ledger file {path} is damaged ({error}). Restore it from a copy.") from None
        if not isinstance(schema, int) or not isinstance(kind, str):
            raise ValueError(
                f"The ledger file {path} is damaged (schema {shown(schema)}, kind {shown(kind)}). Restore it from a "
                "copy."
            )
        if schema > SCHEMA:
            raise ValueError(f"{path} was written by a newer lightning_al (schema {schema}, this one: {SCHEMA}).")
        if kind not in _FIELDS:
            raise ValueError(f"{path} holds an event of unknown kind {shown(kind)}.")
        events.append(event)
    return events


def check_event(event: Event, number: int) -> None:
    """Refuse an event that this package does not write: what is read may have been edited."""
    kind = event["kind"]
    if (kind == "started") != (number == 0):
        raise ValueError("A campaign has one `started` event, its first.")
    for name, type_ in _FIELDS.get(kind, {}).items():
        value = event.get(name)
        if not isinstance(value, type_) or isinstance(value, bool):
            raise ValueError(f"`{name}` must be a {type_.__name__}, got {shown(value)}.")
    if "regions" in event:
        _check_regions(event)
    if kind == "asked" and not isinstance(event.get("acquisition", {}), dict):
        raise ValueError(f"`acquisition` must be a dict, got {shown(event['acquisition'])}.")
    of_each = ("indices", "now", "keys", "labels", "sizes", "regions", "pixels")
    lengths = {name: len(event[name]) for name in of_each if name in event}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"There must be as many of each, got {lengths}.")
    prices = event.get("costs", [])
    if not isinstance(prices, list) or not all(type(p) in (int, float) and 0 <= p < math.inf for p in prices):
        raise ValueError(f"`costs` must be numbers of at least 0, got {shown(prices)}.")
    sizes = event.get("sizes", [])
    if not isinstance(sizes, list) or not all(size is None or _is_size(size) for size in sizes):
        raise ValueError(f"`sizes` must be pairs of width and height, got {shown(sizes)}.")
    if not isinstance(event.get("annotations", {}), dict):
        raise ValueError(f"`annotations` must be a dict, got {shown(event['annotations'])}.")
    if type(event.get("spent", 0)) not in (int, float):
        raise ValueError(f"`spent` must be a number, got {shown(event['spent'])}.")
    if kind == "fitted" and not re.fullmatch("[0-9a-f]{16}", event["digest"]):  # it is part of file names
        raise ValueError(f"`digest` must be 16 hexadecimal digits, got {shown(event['digest'])}.")


def _check_regions(event: Event) -> None:
    """Refuse a question for parts of samples that does not say which."""
    regions, pixels, last = (event.get(name) for name in ("regions", "pixels", "last"))
    if not isinstance(regions, list) or not all(isinstance(region, Blob) for region in regions):
        raise ValueError(f"`regions` must be blobs, got {shown(regions)}.")
    if not isinstance(pixels, list) or not all(type(count) is int and count > 0 for count in pixels):
        raise ValueError(f"`pixels` must be integers of at least 1, got {shown(pixels)}.")
    if not isinstance(last, list) or not all(unit in event["indices"] for unit in last):
        raise ValueError(f"`last` must be some of the indices, got {shown(last)}.")


def _is_size(size: Any) -> bool:
    return isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)


def check_events(
    events: Sequence[Event], dirpath: str | Path, apply: Callable[[Event], None] = lambda event: None
) -> None:
    """Refuse events that are no campaign which this package wrote.

    Args:
        events: Oldest first.
        dirpath: The campaign's folder, named in errors.
        apply: Is given each event once it is checked, and may refuse it too.

    Raises:
        ValueError: Naming the event.
    """
    if not events or events[0].get("kind") != "started":
        raise ValueError(f"The ledger in {Path(dirpath)} does not begin with a `started` event.")
    for number, event in enumerate(events):
        try:
            check_event(event, number)
            apply(event)
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(
                f"Event {number:06d} (`{event.get('kind')}`) of the ledger in {Path(dirpath)} cannot be: {error} It "
                "was edited or damaged: restore it from a copy."
            ) from None


def stamped(kind: str, fields: dict[str, Any]) -> Event:
    """Return an event as it goes to disk."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"schema": SCHEMA, "kind": kind, "time": now, **fields}


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[Callable[[int, Event], Event]]:
    """Give what appends to the ledger in ``folder``; no other process, and no other thread, appends to it meanwhile.

    It waits until the others have done. What holds them off is a lock on the first event, which every campaign has and
    nobody changes (before there is one, on the folder); it ends with the process that has it. On a file system without
    locks there is none.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp(), "ledger")
        >>> folder.mkdir()
        >>> with writing(folder) as append:
        ...     append(0, {"kind": "started"}), append(1, {"kind": "asked"})
        ({'kind': 'started'}, {'kind': 'asked'})
    """
    lock = _open_lock(folder)
    try:
        if lock is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield functools.partial(_append, folder)
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_UN)  # a process forked meanwhile has the file open too
            os.close(lock)


def _open_lock(folder: Path) -> int | None:
    """Open what is locked, for writing where that may be, since locks of network file systems need it."""
    for path in (folder / "000000-started.json", folder):
        for flags in (os.O_RDWR, os.O_RDONLY):
            with contextlib.suppress(OSError):
                return os.open(path, flags)
    return None  # what is written fails too, and says why


def _append(folder: Path, number: int, event: Event) -> Event:
    """Put an event on disk, what is too large for JSON before it, and return it as it will be read.

    Raises:
        FileExistsError: If there is one of this number.
        OSError: If it cannot be written; the ledger is as before.
    """
    path = folder / f"{number:06d}-{event['kind']}.json"
    taken = next(folder.glob(f"{number:06d}-*.json"), None)
    if taken is not None:
        raise FileExistsError(
            f"{taken} was written meanwhile: another process runs the campaign in {folder.parent}. What is on disk is "
            f"intact, and of this `{event['kind']}` nothing was written: once the other has ended run again with "
            "`resume=True` (`--resume`), or `tell` again."
        )
    text, blobs = to_json(event)
    keep(folder.parent / FOLDER, blobs)
    with atomic_write(path) as file:
        file.write((text + "\n").encode())
    return from_json(text, _blobs_beside(folder))


def _blobs_beside(ledger: Path) -> Callable[[str], Blob]:
    return functools.partial(Blob.kept, ledger.parent.absolute() / FOLDER)
