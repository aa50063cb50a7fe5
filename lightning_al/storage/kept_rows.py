"""Rows that are kept on disk from one pass over samples to another, by 128-bit keys; a part is there whole or not."""

import contextlib
import os
import shutil
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_al.storage.files import atomic_write

PART_BYTES = 2**26
"""Bytes of rows that make a file, of which a kill loses no more."""


_AROUND = 2**13  # bytes of a file that are no rows, at most


class FoundRows(NamedTuple):
    """Rows that were kept.

    Attributes:
        which: Of the keys that were looked for, (B,) of bool.
        leaves: Theirs, tensors with as many rows.
        form: What was said of them when they were kept.
    """

    which: Tensor
    leaves: list[Tensor]
    form: str


@dataclass
class _Table:
    """Rows of one kind and form, in parts, found by binary search."""

    form: str
    parts: list[list[Tensor]] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    _sorted: tuple[Tensor, Tensor, Tensor] | None = None

    def add(self, keys: Tensor, leaves: list[Tensor]) -> None:
        self.keys.append(keys)
        self.parts.append(leaves)
        self._sorted = None

    def _index(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return all keys, sorted, and of each which part it is in and where."""
        if self._sorted is None:
            keys = torch.cat(self.keys)
            part = torch.cat([torch.full((len(some),), number) for number, some in enumerate(self.keys)])
            row = torch.cat([torch.arange(len(some)) for some in self.keys])
            order = keys[:, 0].argsort(stable=True)
            self._sorted = keys[order], part[order], row[order]
        return self._sorted

    def find(self, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return which keys are there, and of all in which part and row they would be."""
        known, part, row = self._index()
        at = torch.searchsorted(known[:, 0].contiguous(), keys[:, 0].contiguous()).clamp(max=len(known) - 1)
        return (known[at] == keys).all(1), part[at], row[at]

    def take(self, part: Tensor, row: Tensor) -> list[Tensor]:
        """Return these rows."""
        taken = [leaf.new_empty((len(row), *leaf.shape[1:])) for leaf in self.parts[0]]
        for number in part.unique().tolist():
            here = part == number
            for whole, leaf in zip(taken, self.parts[number], strict=True):
                whole[here] = leaf[row[here]]
        return taken


class KeptRowsOnDisk:
    """Rows in files of one folder. Several processes may keep rows in it at the same time, each in files of its own.

    Args:
        folder: Of the files; made when the first is written.
        limit: Bytes that this process may write.
        expected: How many rows of a kind will come, at most: a kind for which there is no room is not begun.
        say: Told in a sentence why something is not kept.

    Example:
        >>> import tempfile
        >>> keys = torch.tensor([[1, 2], [3, 4]])
        >>> rows = KeptRowsOnDisk(Path(tempfile.mkdtemp()), limit=2**20, expected=2, say=print)
        >>> rows.add("outputs", keys, [torch.tensor([0.5, 0.25])], "")
        >>> rows.flush()
        >>> again = KeptRowsOnDisk(rows.folder, limit=2**20, expected=2, say=print)
        >>> again.find("outputs", torch.tensor([[9, 9], [3, 4]]))
        FoundRows(which=tensor([False,  True]), leaves=[tensor([0.2500])], form='')
    """

    def __init__(self, folder: Path, *, limit: int, expected: int, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._left = limit
        self._expected = expected
        self._say = say
        self._tables: dict[str, dict[Any, _Table]] = {}
        self._refused: set[str] = set()
        self._waiting: list[tuple[str, Tensor, list[Tensor], str]] = []
        self._waiting_bytes = 0
        self._writes = True
        for path in sorted(folder.glob("*.pt")):
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as file:
                if file.testzip():  # torch does not look at the checksums
                    raise zipfile.BadZipFile
            part = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            keys, leaves = part["keys"], part["leaves"]
            right = keys.ndim == 2 and keys.shape[1] == 2 and all(len(leaf) == len(keys) for leaf in leaves)
            if right and len(keys) and leaves:
                self._table(part["kind"], leaves, part["form"]).add(keys, leaves)
        except Exception:  # of many kinds; what is damaged is made again
            with contextlib.suppress(OSError):
                path.unlink()

    def _table(self, kind: str, leaves: list[Tensor], form: str) -> _Table:
        layout = form, tuple((leaf.dtype, tuple(leaf.shape[1:])) for leaf in leaves)
        return self._tables.setdefault(kind, {}).setdefault(layout, _Table(form))

    def find(self, kind: str, keys: Tensor) -> FoundRows | None:
        """Return the rows of this kind that there are of these keys, (B, 2), in their order; None if there is none."""
        found = [(table, *table.find(keys)) for table in self._tables.get(kind, {}).values()]
        if not found:
            return None
        table, which, part, row = max(found, key=lambda each: int(each[1].sum()))
        return FoundRows(which, table.take(part[which], row[which]), table.form) if bool(which.any()) else None

    def add(self, kind: str, keys: Tensor, leaves: list[Tensor], form: str) -> None:
        """Keep rows, which are on disk once enough have come, or with :meth:`flush`."""
        size = keys.nbytes + sum(leaf.nbytes for leaf in leaves)
        if not self._writes or kind in self._refused:
            return
        if not any(kind == other for other, *_ in self._waiting) and kind not in self._tables:
            needed = size / len(keys) * max(self._expected, len(keys))
            if needed > self._left:
                self._refused.add(kind)
                self._say(f"{kind.split()[0]} of {self._expected:,} samples take {needed / 1e9:.2g} GB")
                return
        self._waiting.append((kind, keys, [leaf.clone() for leaf in leaves], form))
        self._waiting_bytes += size
        if self._waiting_bytes >= PART_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has come."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        together: dict[Any, list[tuple[Tensor, list[Tensor]]]] = {}
        for kind, keys, leaves, form in waiting:
            layout = kind, form, tuple((leaf.dtype, tuple(leaf.shape[1:])) for leaf in leaves)
            together.setdefault(layout, []).append((keys, leaves))
        for (kind, form, _), some in together.items():
            keys = torch.cat([each for each, _ in some])
            leaves = [torch.cat(parts) for parts in zip(*(leaves for _, leaves in some), strict=True)]
            self._write({"kind": kind, "form": form, "keys": keys, "leaves": leaves})
            self._table(kind, leaves, form).add(keys, leaves)

    def _write(self, part: dict[str, Any]) -> None:
        size = part["keys"].nbytes + sum(leaf.nbytes for leaf in part["leaves"])
        if not self._writes or size + _AROUND > self._left:
            self._writes = False
            return
        path = self.folder / f"{uuid.uuid4().hex}.pt"
        try:
            with atomic_write(path) as file:
                torch.save(part, file)
            self._left -= path.stat().st_size
        except OSError as error:
            self._writes = False
            self._say(f"it cannot be written ({os.strerror(error.errno) if error.errno else error})")

    def drop(self, why: str) -> None:
        """Forget all rows, and keep none any more."""
        self._tables.clear()
        self._waiting.clear()
        self._writes = False
        self._say(why)
        shutil.rmtree(self.folder, ignore_errors=True)


def make_room(root: Path, folder: Path, limit: int) -> int:
    """Remove folders of kept rows, those used longest ago first, until all files take no more than ``limit`` bytes.

    Args:
        root: Has such folders, and nothing else.
        folder: The one that is used now.
        limit: In bytes, half of which is left for new files where others than this folder's can make room.

    Returns:
        How many bytes may be written.
    """
    if not root.is_dir():
        return limit
    with contextlib.suppress(OSError):
        for path in root.glob("*/*.tmp"):  # which a kill left
            path.unlink()
    sizes: dict[Path, int] = {}
    used: dict[Path, float] = {}
    for each in root.iterdir():
        with contextlib.suppress(OSError):
            sizes[each] = sum(path.stat().st_size for path in each.iterdir())
            used[each] = each.stat().st_mtime
    for each in sorted(used, key=lambda each: used[each]):
        if each != folder and sum(sizes.values()) > limit // 2:
            shutil.rmtree(each, ignore_errors=True)
            sizes.pop(each)
    with contextlib.suppress(OSError):
        if folder.is_dir():
            folder.touch()
    return max(limit - sum(sizes.values()), 0)
