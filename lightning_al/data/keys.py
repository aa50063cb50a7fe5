"""The keys of a campaign's samples: how the ledger knows them, wherever they are in the dataset today."""

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.data.validation import spread_over
from lightning_al.distributed.randomness import draws_undone, seed_reading
from lightning_al.distributed.ranks import gather_objects
from lightning_al.tasks.base import Task
from lightning_al.tasks.keys import FileName, Namer, first_of, namer


def common_folder(paths: Collection[str]) -> str:
    """Return the folder that all of these are in, with a slash at its end, or "".

    Example:
        >>> common_folder(["/data/cat/1.jpg", "/data/cat/2.jpg", "/data/cats.jpg"])
        '/data/'
    """
    first, last = min(paths), max(paths)  # what these two share all share
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("/", 0, shared) + 1]


_DRAWS = 3  # of each of a few samples, to find out whether inputs are random


class SampleKeys:
    """Says what each sample of an opened dataset is called.

    A sample's key is its name, if it has one that no other sample has; else a hash of its un-augmented input. Samples
    with one and the same input have one and the same key, and may stand in for each other. Where inputs are random
    and there are no names, samples are known by their index alone, and have no key.

    Names are all read, once; an input is drawn when somebody asks for its hash.

    Args:
        train_set: The training samples.
        pool_set: The same samples, un-augmented.
        task: Names samples, and finds inputs in them.
        un_augmented: What to give where inputs are random, for the warning.
    """

    def __init__(
        self, train_set: Dataset, pool_set: Dataset, task: Task, *, un_augmented: str = "a `pool_dataset()`"
    ) -> None:
        self.train_set = train_set
        self.pool_set = pool_set
        self.task = task
        self.un_augmented = un_augmented

    def __len__(self) -> int:
        return len(self.train_set)  # type: ignore[arg-type]

    # -- names -----------------------------------------------------------------------------------------------------

    @cached_property
    def _namer(self) -> Namer | None:
        if type(self.task).key is not Task.key:  # the user's own
            return lambda index: self.task.key(self.train_set, index)
        return first_of([namer(self.train_set), None if self.pool_set is self.train_set else namer(self.pool_set)])

    def _given_names(self) -> Iterator[str | None]:
        """Go through the names of all samples, if there are any."""
        return iter(()) if self._namer is None else map(self._namer, range(len(self)))

    @cached_property
    def _scan(self) -> tuple[frozenset[str], str]:
        """Names that several samples have, and the folder that all paths begin with.

        Eight bytes a name: there may be millions.
        """
        hashes = array("q")
        ends: list[str] = []  # the first and the last path, which share what all share
        for name in self._given_names():
            if name is not None:
                hashes.append(hash(name))
                if isinstance(name, FileName):
                    ends = [min([*ends, name]), max([*ends, name])]
        ordered = torch.tensor(hashes, dtype=torch.int64).sort().values
        suspects = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        names = Counter(name for name in self._given_names() if hash(name) in suspects) if suspects else Counter[str]()
        repeated = frozenset(name for name, times in names.items() if name is not None and times > 1)
        return repeated, common_folder(ends) if ends else ""

    @property
    def _repeated(self) -> frozenset[str]:
        return self._scan[0]

    @property
    def root(self) -> str:
        """The folder that all names begin with that are paths, "" if there is none."""
        return self._scan[1]

    def name(self, index: int) -> str | None:
        """Return the name of a sample, or None if it has none of its own."""
        name = None if self._namer is None else self._namer(index)
        return None if name is None or name in self._repeated else name

    def places(self, names: Collection[str]) -> dict[str, int]:
        """Return where the samples of these names are, those that are there."""
        if not names:
            return {}
        found = ((name, index) for index, name in enumerate(self._given_names()))
        return {
            name: index for name, index in found if name is not None and name in names and name not in self._repeated
        }

    def warn(self) -> None:
        """Warn of samples that have no key of their own."""
        self._warn_of_repeated()
        if self.by_index:
            rank_zero_warn(
                "The inputs of the pool are random and its samples have no names, so the campaign knows them by their "
                "index: keep their order and number. To be free of this, give the dataset `sample_key(index)`, or the "
                f"datamodule {self.un_augmented} without augmentation."
            )

    def _warn_of_repeated(self) -> None:
        if self._repeated:
            first = min(self._repeated)
            at = [index for index, name in enumerate(self._given_names()) if name == first]
            rank_zero_warn(
                f"{len(self._repeated)} name(s) are of more than one sample: {first!r} of dataset indices "
                f"{', '.join(map(str, at[:5]))}{', ...' * (len(at) > 5)}, for one. The campaign knows such samples by "
                "a hash of their input instead. For names that are distinct give the dataset `sample_key(index)`."
            )

    # -- hashes ----------------------------------------------------------------------------------------------------

    def hash(self, index: int, draws: int = 1) -> str | None:
        """Return the hash of a sample's input; None where ``draws`` of it differ, or there is none."""
        return self.hashes([index], draws)[0]

    def hashes(self, indices: Iterable[int], draws: int = 1) -> list[str | None]:
        """Return the hash of each of these samples, as :meth:`hash` does."""
        return self.task.input_keys(self.pool_set, indices, draws)

    def are_random(self, indices: Collection[int]) -> bool:
        """Whether one of these samples has an input that is not the same each time, or that has no hash."""
        return any(self.hash(index, _DRAWS) is None for index in indices)

    @cached_property
    def by_index(self) -> bool:
        """Whether samples without a name are known by their index alone, since inputs are random."""
        nameless = [index for index in spread_over(len(self)) if self.name(index) is None]
        return self.are_random(nameless)

    def key(self, index: int) -> str | None:
        """Return a sample's key; None where it is known by its index alone."""
        return self.keys([index])[0]

    def keys(self, indices: Iterable[int]) -> list[str | None]:
        """Return the key of each of these samples, as :meth:`key` does."""
        names = {index: self.name(index) for index in indices}
        nameless = [index for index, name in names.items() if name is None]
        if nameless and not self.by_index:
            names.update(zip(nameless, self.hashes(nameless, draws=2), strict=True))
        return list(names.values())

    # -- several processes -----------------------------------------------------------------------------------------

    def check_same_on_every_rank(self) -> None:
        """Refuse data that processes have in different orders, from a look at a few samples.

        Raises:
            RuntimeError: On every rank, with an index.
        """
        rows = spread_over(len(self))
        looks = gather_objects([self._look(index) for index in rows])
        apart = [i for i, keys in enumerate(zip(*looks, strict=True)) if None not in keys and len(set(keys)) > 1]
        if len(apart) > len(rows) // 4:  # rare augmentation may have made some inputs another
            raise RuntimeError(
                f"The processes have other samples at dataset index {rows[apart[0]]}: "
                f"{dict(enumerate(look[apart[0]] for look in looks))}. Every process must have the same samples in the "
                "same order: sort what is listed, and shuffle with a fixed seed."
            )

    def _look(self, index: int) -> str | None:
        name = self.name(index)
        if isinstance(name, FileName):  # each machine may have the files in a folder of its own
            return name.removeprefix(self.root)
        if name is not None or self.by_index:
            return name
        with draws_undone():
            seed_reading("look", index)
            return self.hash(index)


class Keys(Sequence[str | None]):
    """The keys of samples, each found when it is looked at.

    Args:
        indices: (N,) dataset indices.
        key_of: Gives the key of one; None where a sample is known by its index alone.
    """

    def __init__(self, indices: Tensor, key_of: Callable[[int], str | None]) -> None:
        self.indices = indices
        self.key_of = key_of

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, position: int) -> str | None: ...
    @overload
    def __getitem__(self, position: slice) -> list[str | None]: ...
    def __getitem__(self, position: int | slice) -> str | list[str | None] | None:
        if isinstance(position, slice):
            return [self.key_of(index) for index in self.indices[position].tolist()]
        return self.key_of(int(self.indices[position]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
