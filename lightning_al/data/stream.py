"""Samples that come one after the other, of which nobody knows how many: each is known by the key that it carries."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lightning_al.data.collate import Collate, CollateWithoutTargets, check_collate
from lightning_al.data.readable import UnreadableSampleError
from lightning_al.distributed.randomness import draws_undone
from lightning_al.inference.batches import copy_of
from lightning_al.tasks.base import Task
from lightning_al.tasks.keys import ID_COLUMNS
from lightning_al.words import cut, first_line, shown

_KEYS = ("__key__", "key", *ID_COLUMNS)

KeyOf = Callable[[Any], Any]


def is_stream(dataset: Any) -> bool:
    """Whether samples can be had one after the other only.

    Example:
        >>> class Numbers(IterableDataset):
        ...     def __iter__(self):
        ...         return iter(range(3))
        >>> is_stream(Numbers()), is_stream([1, 2, 3])
        (True, False)
    """
    return isinstance(dataset, IterableDataset) and not has_indices(dataset)


def has_indices(dataset: Any) -> bool:
    """Whether a dataset gives a sample by its index and has a length, whatever else it does."""
    own = getattr(type(dataset), "__getitem__", None)
    return own is not None and own is not Dataset.__getitem__ and hasattr(dataset, "__len__")


def check_counted(dataset: Any, where: str) -> None:
    """Refuse a stream with indices whose length is that of one process's part: the rest would never be asked for.

    Args:
        dataset: With indices.
        where: What gave it, for the error.

    Raises:
        ValueError: If it gives a sample at the index after its last.
    """
    if not isinstance(dataset, IterableDataset):
        return
    size = len(dataset)  # type: ignore[arg-type]
    try:
        dataset[size]  # type: ignore[index]
    except Exception:  # as it should; of many kinds
        return
    raise ValueError(
        f"{where} ({type(dataset).__name__}) says that it has {size} samples and gives a sample {size} too: its length "
        "is that of the part that one process, or its full batches, would go through. Wrap it in a map-style dataset "
        "whose `__len__` is the number of all samples and whose `__getitem__(index)` returns `stream[index]`."
    )


def check_map_style(dataset: Any, where: str) -> None:
    """Refuse what is no dataset whose samples have indices; ``where`` is where it comes from.

    Raises:
        TypeError: With its type.
        ValueError: If its length is that of a part.
    """
    if isinstance(dataset, (str, Tensor, dict)) or not has_indices(dataset):
        raise TypeError(
            f"{where} must be a map-style dataset, with `__getitem__` and `__len__`, got {shown(dataset)} "
            f"({type(dataset).__name__})."
        )
    check_counted(dataset, where)


class Stream:
    """A loader over a stream, and the keys of the batches that it gave.

    Args:
        loader: The user's, over an ``IterableDataset``; its batch size, collate function and workers are kept.
        task: Finds inputs in batches, whose rows must be the samples in their order.
        batch_size: Samples of a batch; default the loader's.
        where: Where it comes from, for errors.

    Raises:
        ValueError: If the loader makes no batches itself.

    Example:
        >>> from lightning_al.tasks import ClassificationTask
        >>> class Texts(IterableDataset):
        ...     def __iter__(self):
        ...         yield from ({"key": name, "x": len(name)} for name in ("a", "bb", "ccc"))
        >>> stream = Stream(DataLoader(Texts(), batch_size=2), ClassificationTask(inputs="x", target="y"))
        >>> [(stream.next_keys(), batch["x"].tolist()) for batch in stream.loader()]
        [(['a', 'bb'], [1, 2]), (['ccc'], [3])]
    """

    def __init__(
        self, loader: DataLoader, task: Task, batch_size: int | None = None, *, where: str = "`dataset`"
    ) -> None:
        self.dataset: Any = loader.dataset
        self._task = task
        size = batch_size or loader.batch_size
        if loader.batch_size is None or size is None:
            raise ValueError(
                f"{where} is a stream whose loader has `batch_size=None`: what comes is scored sample by sample, and "
                "each carries a key. Let the stream give samples, and the loader put them into batches."
            )
        self.batch_size = size
        self._loader = loader
        self._keys: deque[list[str]] = deque()
        self._opened = 0

    def loader(self) -> "_Batches":
        """Return a loader over the stream from its beginning, of batches as the user's makes them.

        Raises:
            RuntimeError: If it has begun before and can be gone through once only.
        """
        if self._opened and iter(self.dataset) is self.dataset:
            raise RuntimeError(
                f"{type(self.dataset).__name__} can be gone through once only, and must be gone through again: a "
                "faster way to the scores did not agree with the plain loop. Let `__iter__` begin anew each time."
            )
        self._opened += 1
        self._keys.clear()
        names = ("num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor")
        loader = DataLoader(
            _Keyed(self.dataset),
            batch_size=self.batch_size,
            collate_fn=_CollateKeyed(self._loader.collate_fn, self._task),
            **{name: getattr(self._loader, name) for name in names},
        )
        return _Batches(loader, self._keys)

    def next_keys(self) -> list[str]:
        """Return the keys of the samples of the next batch, in their order."""
        return self._keys.popleft()


class _Batches:
    """A loader's batches, whose keys are put into a queue."""

    def __init__(self, loader: DataLoader, keys: deque[list[str]]) -> None:
        self._loader, self._queue = loader, keys

    def __iter__(self) -> Iterator[Any]:
        for keys, batch in self._loader:
            self._queue.append(keys)
            yield batch


class _Keyed(IterableDataset):
    """The samples of a stream, each with its key before it."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        count, key, key_of = 0, "", _key_of(self.dataset)
        samples = iter(self.dataset)
        while True:
            try:
                sample = next(samples)
            except StopIteration:
                return
            except Exception as error:
                after = f"after {count} samples, the last {key!r}" if count else "before its first sample"
                raise UnreadableSampleError(
                    f"The stream broke {after}: {cut(first_line(error), 300)}. Nothing is kept "
                    "of it: repair it, or let it leave out what cannot be read."
                ) from error
            count, key = count + 1, _checked(key_of(sample), sample)
            yield key, sample


class _CollateKeyed:
    """Makes keys, and a batch, of samples that have their keys before them; looks at the order of the first ones."""

    def __init__(self, collate: Collate, task: Task) -> None:
        self.users, self.collate = collate, CollateWithoutTargets(collate)
        self.task = task
        self.is_checked = False

    def __call__(self, pairs: list[tuple[str, Any]]) -> tuple[list[str], Any]:
        if not self.is_checked and len(pairs) > 1:
            with draws_undone():
                check_collate(self.users, [copy_of(sample) for _, sample in pairs[:8]], self.task, whose="The loader")
            self.is_checked = True
        return [key for key, _ in pairs], self.collate([sample for _, sample in pairs])


def _key_of(dataset: Any) -> KeyOf:
    own = getattr(dataset, "sample_key", None)
    return own if callable(own) else _key_in


def _key_in(sample: Any) -> Any:
    names = sample if isinstance(sample, Mapping) else {}
    return next((names[name] for name in _KEYS if name in names), None)


def _checked(key: Any, sample: Any) -> str:
    if isinstance(key, bytes):
        key = key.decode(errors="surrogateescape")
    if hasattr(key, "__index__") and not isinstance(key, bool):
        key = str(int(key))
    if not isinstance(key, str) or not key:
        what = f"a {type(sample).__name__}" + (f" of {', '.join(map(repr, sample))}" if _is_dict(sample) else "")
        raise ValueError(
            "The samples of a stream have no index, so each must carry a key, and this one carries "
            f"{'none' if key is None else shown(key)}: {cut(what, 200)}. Give dicts with a `key` (or `__key__`, `id`), "
            "or give the dataset a method `sample_key(sample)`."
        )
    return key


def _is_dict(sample: Any) -> bool:
    return isinstance(sample, Mapping)


def drawn(seed: int, key: str) -> int:
    """Return a number that follows from seed and key, by which ties are broken wherever a sample comes.

    Example:
        >>> drawn(0, "a.png") == drawn(0, "a.png"), drawn(0, "a.png") == drawn(1, "a.png")
        (True, False)
    """
    digest = hashlib.sha256(f"{seed} {key}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")
