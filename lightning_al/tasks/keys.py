"""What a sample is called, whatever its place in the dataset: a name that the data have, or a hash of its input."""

import bisect
import dataclasses
import hashlib
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, StackDataset, Subset

HASH = "sha256:"
"""How the keys begin that are hashes of inputs."""

_PATH_LISTS = ("samples", "imgs", "files", "paths", "image_paths", "images", "image_files", "filenames")
ID_COLUMNS = ("id", "_id", "uid", "uuid", "guid", "idx", "sample_id", "image_id", "file_name", "filename", "path")
"""How columns are called that name samples."""

_LONGEST_PATH = 4096  # a longer string is a text, and no path

Namer = Callable[[int], str | None]
"""Gives the name that the data have for an index, or None."""


class FileName(str):
    """A name that is a path: the folders it begins with may be others tomorrow.

    Args:
        name: The path below the dataset's root.
        path: All of it, as the dataset lists it.
    """

    __slots__ = ("path",)
    path: str

    def __new__(cls, name: str, path: str | None = None) -> "FileName":  # noqa: D102
        file = super().__new__(cls, name)
        file.path = name if path is None else path
        return file

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]  # for other processes
        return str(self), self.path


# -- names that the data have ------------------------------------------------------------------------------------------


def namer(dataset: Any) -> Namer | None:
    """Return what names the samples of a dataset; None if nothing does.

    In this order: its ``sample_key(index)``; the id column of a Hugging Face dataset; the path in its ``samples``,
    ``imgs``, ``files``, ``paths``, ``image_paths``, ``images``, ``image_files`` or ``filenames``, below its ``root``
    where it has one. Of ``Subset``, ``ConcatDataset`` and ``StackDataset`` the names are those of what they are made
    of.

    Example:
        >>> class Files:
        ...     root, paths = "/data", ["/data/cat/1.jpg", "/data/dog/2.jpg"]
        ...     def __len__(self):
        ...         return 2
        >>> name_of(Subset(Files(), [1]), 0)
        'dog/2.jpg'
    """
    sample_key = getattr(dataset, "sample_key", None)
    if callable(sample_key):
        return lambda index: _checked(sample_key(index), dataset)
    if isinstance(dataset, Subset):
        return _name_in_subset(namer(dataset.dataset), dataset.indices)
    if isinstance(dataset, ConcatDataset):
        return _name_in_parts([namer(part) for part in dataset.datasets], dataset.cumulative_sizes)
    if isinstance(dataset, StackDataset):
        sides = dataset.datasets
        return first_of([namer(side) for side in (sides.values() if isinstance(sides, dict) else sides)])
    return _name_in_columns(dataset) or _name_in_lists(dataset)


def name_of(dataset: Dataset, index: int) -> str | None:
    """Return the name that the data have for one sample, or None; see :func:`namer`."""
    name = namer(dataset)
    return None if name is None else name(index)


def file_of(dataset: Any, index: int) -> PurePath | None:
    """Return the path that a dataset lists for a sample, below its ``root`` where it is relative; None if it has none.

    Example:
        >>> class Files:
        ...     root, paths = "/data", ["cat/1.jpg", "/data/dog/2.jpg"]
        ...     def __len__(self):
        ...         return 2
        >>> str(file_of(Subset(Files(), [1, 0]), 0)), str(file_of(Files(), 0))
        ('/data/dog/2.jpg', '/data/cat/1.jpg')
    """
    if isinstance(dataset, Subset):
        return file_of(dataset.dataset, int(dataset.indices[index]))
    if isinstance(dataset, ConcatDataset):
        number = bisect.bisect_right(dataset.cumulative_sizes, index)
        start = dataset.cumulative_sizes[number - 1] if number else 0
        return file_of(dataset.datasets[number], index - start)
    if isinstance(dataset, StackDataset):
        sides = dataset.datasets.values() if isinstance(dataset.datasets, dict) else dataset.datasets
        return next((file for side in sides if (file := file_of(side, index)) is not None), None)
    entries = _list_of_paths(dataset)
    path = None if entries is None else _path(entries[index])
    if path is None:
        return None
    root = getattr(dataset, "root", None)
    below_root = isinstance(root, (str, PurePath)) and not path.startswith(PurePath(root).as_posix())
    return PurePath(root) / path if below_root else PurePath(path)  # type: ignore[arg-type]


def first_of(namers: Sequence[Namer | None]) -> Namer | None:
    """Return what gives the first name that one of these has."""
    some = [each for each in namers if each is not None]

    def name(index: int) -> str | None:
        for each in some:
            found = each(index)
            if found is not None:
                return found
        return None

    return some[0] if len(some) == 1 else name if some else None


def _checked(key: Any, dataset: Any) -> str | None:
    if key is None or isinstance(key, str):
        return key
    if hasattr(key, "__index__") and not isinstance(key, bool):
        return str(int(key))
    if isinstance(key, PurePath):
        return key.as_posix()
    raise TypeError(
        f"`{type(dataset).__name__}.sample_key` must return a string (or None: it has no name), got "
        f"{type(key).__name__}."
    )


def _name_in_subset(whole: Namer | None, indices: Sequence[int]) -> Namer | None:
    return None if whole is None else lambda index: whole(int(indices[index]))


def _name_in_parts(parts: list[Namer | None], ends: list[int]) -> Namer | None:
    def name(index: int) -> str | None:
        number = bisect.bisect_right(ends, index)
        part = parts[number]
        return None if part is None else part(index - (ends[number - 1] if number else 0))

    return name if any(part is not None for part in parts) else None


def _name_in_columns(dataset: Any) -> Namer | None:
    """Name the rows of a Hugging Face dataset by a column of ids, if it has one."""
    columns = getattr(dataset, "column_names", None)
    if not isinstance(columns, (list, tuple)) or not hasattr(dataset, "features"):
        return None
    column = next((c for c in ID_COLUMNS if c in columns), None)
    if column is None:
        return None
    ids: list[Any] = []

    def name(index: int) -> str | None:
        if not ids:  # once, and only if somebody asks
            plain = dataset.with_format(None) if hasattr(dataset, "with_format") else dataset
            ids.extend(plain[column])
        return None if ids[index] is None else str(ids[index])

    return name


def _name_in_lists(dataset: Any) -> Namer | None:
    """Name samples by the paths that the dataset lists, if it does."""
    entries = _list_of_paths(dataset)
    return None if entries is None else _name_in_list(entries, getattr(dataset, "root", None))


def _list_of_paths(dataset: Any) -> Sequence[Any] | None:
    for attribute in _PATH_LISTS:
        entries = getattr(dataset, attribute, ())
        # A tensor has no paths, and looking at its first row makes all of them.
        listed = hasattr(entries, "__len__") and hasattr(entries, "__iter__")
        listed = listed and not isinstance(entries, (Mapping, str, Tensor))
        if not listed or len(entries) == 0 or len(entries) != len(dataset):
            continue
        if _path(next(iter(entries))) is not None:
            return entries if isinstance(entries, (list, tuple)) else list(entries)  # a table's column, say
    return None


def _name_in_list(entries: Any, root: Any) -> Namer:
    above = PurePath(root).as_posix() if isinstance(root, (str, PurePath)) else "."
    above = "" if above == "." else above.rstrip("/") + "/"

    def name(index: int) -> str | None:
        path = _path(entries[index])
        return None if path is None else FileName(path.removeprefix(above), path)

    return name


def _path(entry: Any) -> str | None:
    if isinstance(entry, (tuple, list)) and entry:
        entry = entry[0]
    if isinstance(entry, PurePath):
        return entry.as_posix()
    text = entry if isinstance(entry, str) else ""
    return _plain(text) if 0 < len(text) <= _LONGEST_PATH else None


_ODD = re.compile(r"//|/\./|^\./|/\.?$|\\")


def _plain(path: str) -> str:
    """Return a path as ``PurePath`` would write it, in a fraction of the time where it is so already."""
    return PurePath(path).as_posix() if _ODD.search(path) else path


# -- hashes of inputs --------------------------------------------------------------------------------------------------


def hash_of(inputs: Any) -> str | None:
    """Return a hash of a sample's input by its content alone: types, shapes and bytes; None where it has no such thing.

    Example:
        >>> hash_of({"x": torch.ones(2), "n": 1}) == hash_of({"n": 1, "x": torch.ones(2)})
        True
        >>> hash_of(torch.ones(2)) == hash_of(torch.ones(2, 1))
        False
    """
    digest = hashlib.sha256()
    try:
        for part in _bytes_of(inputs):
            digest.update(part)
    except (TypeError, ValueError, AttributeError, RuntimeError, NotImplementedError, pickle.PicklingError):
        return None  # generators, locks, tensors without values
    return HASH + digest.hexdigest()[:32]


def _bytes_of(value: Any) -> Iterator[bytes]:
    if isinstance(value, Tensor):
        dense = (value if value.layout == torch.strided else value.to_dense()).detach().cpu().resolve_conj()
        yield f"tensor {dense.dtype} {tuple(dense.shape)} ".encode()
        yield dense.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        yield f"array {value.dtype.str} {value.shape} ".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif value is None or isinstance(value, (bool, int, float, complex, str, bytes, PurePath)):
        text = value if isinstance(value, bytes) else str(value).encode()
        yield f"{type(value).__name__} {len(text)} ".encode()
        yield text
    elif isinstance(value, Mapping):
        yield f"dict {len(value)} ".encode()
        for name in sorted(value, key=str):
            yield from _bytes_of(name)
            yield from _bytes_of(value[name])
    elif isinstance(value, (list, tuple, np.ndarray)):
        yield f"list {len(value)} ".encode()
        for entry in value:
            yield from _bytes_of(entry)
    elif hasattr(value, "tobytes") and hasattr(value, "mode") and hasattr(value, "size"):  # a PIL image
        yield f"image {value.mode} {value.size} {value.getpalette() if value.mode == 'P' else ''} ".encode()
        yield value.tobytes()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield f"{type(value).__name__} ".encode()
        yield from _bytes_of({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    else:
        yield pickle.dumps(value)
