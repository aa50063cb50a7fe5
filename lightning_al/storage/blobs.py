"""Labels that are too large for JSON, such as masks: files called by the hash of what is in them; without torch."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lightning_al.storage.files import publish, sync_folder, write_errors_explained

FOLDER = "labels"
"""Beside a campaign's ledger, where its blobs are."""

_KEY = "blob"
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
_NAME = re.compile(r"([0-9a-f]{64})(\.[a-z0-9]{1,8})")


class Blob:
    """Bytes of which a ledger keeps the name alone, the hash of them; they are in a file of this name.

    Two are the same if their names are. One that is kept in a file is as small as its name: it reads at every look at
    :attr:`data`. It is frozen, and may be pickled.

    Args:
        data: The content.
        suffix: Of the file, by which people open it.

    Raises:
        TypeError: If ``data`` is no bytes.
        ValueError: If the suffix is none.

    Example:
        >>> Blob(b"all", ".png").name[:8], Blob(b"all", ".png") == Blob(b"all", ".png")
        ('5ef5ef03', True)
    """

    __slots__ = ("_content", "_folder", "_name")
    _content: bytes | None
    _folder: Path | None
    _name: str

    def __init__(self, data: bytes, suffix: str) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"A blob is of bytes, got {type(data).__name__}.")
        if not isinstance(suffix, str) or not _SUFFIX.fullmatch(suffix):
            raise ValueError(f'A suffix is a point and 1 to 8 letters or digits, as ".png", got {suffix!r}.')
        self._set(hashlib.sha256(data).hexdigest() + suffix, None, data)

    @classmethod
    def kept(cls, folder: str | Path, name: str) -> "Blob":
        """Return the blob of a file; it is not looked at before somebody asks for the content.

        Raises:
            ValueError: If it is no name of a blob.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a blob.")
        blob = cls.__new__(cls)
        blob._set(name, folder if isinstance(folder, Path) else Path(folder), None)
        return blob

    def _set(self, name: str, folder: Path | None, content: bytes | None) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_folder", folder)
        object.__setattr__(self, "_content", content)

    @property
    def name(self) -> str:
        """The SHA-256 of the content, in hexadecimal digits, and the suffix."""
        return self._name

    @property
    def suffix(self) -> str:
        """Of the file."""
        return Path(self._name).suffix

    @property
    def path(self) -> Path | None:
        """The file that it is kept in, if it is."""
        return None if self._folder is None else self._folder / self._name

    @property
    def data(self) -> bytes:
        """The content, read anew if it is in a file.

        Raises:
            ValueError: If the file is missing or damaged; it is named.
            OSError: If it cannot be read.
        """
        if self._content is not None:
            return self._content
        path = Path(self._folder or "", self._name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ValueError(f"The file {path} is missing. Restore it from a copy.") from None
        if hashlib.sha256(data).hexdigest() != path.stem:
            raise ValueError(f"The file {path} is damaged: it is not what was written. Restore it from a copy.")
        return data

    @property
    def is_there(self) -> bool:
        """Whether its content is at hand, in memory or in a file, which is not read for it."""
        return self._content is not None or (self.path is not None and self.path.is_file())

    @property
    def is_whole(self) -> bool:
        """Whether the file that it is kept in, if it is, can be read."""
        try:
            return len(self.data) >= 0
        except ValueError:
            return False

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"A blob is frozen: `{name}` cannot be set.")

    def __eq__(self, other: object) -> bool:
        return self._name == other._name if isinstance(other, Blob) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f"Blob({self._name[:8]}...{self.suffix})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._content is not None:
            return Blob, (self._content, self.suffix)
        return Blob.kept, (self._folder, self._name)


def keep(folder: Path, blobs: Iterable[Blob]) -> None:
    """Put blobs on disk, each whole or not at all; those that are there already are not written again.

    Args:
        folder: Made where it is not there.
        blobs: Any number.

    Raises:
        OSError: If one cannot be written; what was on disk before is intact.
    """
    new = [blob for blob in dict.fromkeys(blobs) if not Blob.kept(folder, blob.name).is_whole]
    if not new:
        return
    with write_errors_explained(folder, folder / ".tmp"):
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
    for blob in new:
        path = folder / blob.name
        beside = path.with_name(path.name + ".tmp")
        with write_errors_explained(path, beside):
            with beside.open("wb") as file:
                file.write(blob.data)
                file.flush()
                os.fsync(file.fileno())
            publish(beside, path)


def to_json(value: Any) -> tuple[str, list[Blob]]:
    """Return a value as JSON, in which each blob is its name, and the blobs in it.

    Raises:
        TypeError: If there is anything in it that JSON does not know.

    Example:
        >>> to_json([1, Blob(b"all", ".png")])[0][:22]
        '[1, {"blob": "5ef5ef03'
    """
    blobs: list[Blob] = []

    def name_of(part: Any) -> dict[str, str]:
        if not isinstance(part, Blob):
            raise TypeError(f"Object of type {type(part).__name__} is not JSON serializable")
        blobs.append(part)
        return {_KEY: part.name}

    return json.dumps(value, default=name_of), blobs


def from_json(text: str, find: Callable[[str], Blob]) -> Any:
    """Return the value of a JSON text, with its blobs in their places.

    Args:
        text: Of :func:`to_json`.
        find: Gives the blob of a name.

    Raises:
        ValueError: If it is no JSON.
    """

    def blob_of(entries: dict[str, Any]) -> Any:
        name = entries.get(_KEY)
        return find(name) if len(entries) == 1 and isinstance(name, str) and _NAME.fullmatch(name) else entries

    return json.loads(text, object_hook=blob_of)


def is_same(label: Any, other: Any) -> bool:
    """Whether a label is, and still has, what another is: one whose file is damaged is to be written again."""
    return bool(label == other) and (not isinstance(other, Blob) or other.is_whole)


def as_read(value: Any) -> Any:
    """Return a value as it is read back from JSON, its blobs as they are."""
    text, blobs = to_json(value)
    return from_json(text, {blob.name: blob for blob in blobs}.__getitem__)
