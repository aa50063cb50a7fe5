"""What is known beside a pool: the samples of a training set, and which of the pool's are among them too."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightning_al.data.keys import SampleKeys
from lightning_al.data.validation import spread_over
from lightning_al.tasks.keys import HASH, FileName

MOST_HASHED = 2_000
"""Samples without names that are drawn at a start, at most, to find those that are in both sets."""

_READ_AT_ONCE = 2**20


class KnownSamples:
    """The samples of a training set, beside a pool of others: which samples are in both is a matter of their content.

    A file that was moved, or copied, from the folder of unlabelled files to that of a class is known by its name
    without folders, and its bytes; another sample by its name and the hash of its input, or where it has no name by the
    hash alone. Names alone do not do: `cat/1.jpg` may be there in both folders, and be two pictures.

    Args:
        keys: Of the training set.
        pool_keys: Of the pool.
    """

    def __init__(self, keys: SampleKeys, pool_keys: SampleKeys) -> None:
        self.keys = keys
        self.pool_keys = pool_keys

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def digest(self) -> str:
        """A hash that tells this training set, in its order, from others: of its names, or else of a few inputs."""
        looks: list[str | None] = [self.keys.name(index) for index in range(len(self))]
        if None in looks:
            looks = [] if self.keys.by_index else [self.keys.hash(index) for index in spread_over(len(self))]
        return hashlib.sha256(json.dumps(looks).encode()).hexdigest()[:16]

    @cached_property
    def _by_last_part(self) -> dict[str, list[int]]:
        """Where the samples are, by their names without folders."""
        places: dict[str, list[int]] = defaultdict(list)
        for index in range(len(self)):
            name = self.keys.name(index)
            if name is not None:
                places[_last_part(name)].append(index)
        return places

    @cached_property
    def _by_hash(self) -> dict[str, int]:
        """Where the samples are, by the hash of their input; none where inputs are random."""
        if self.keys.are_random(spread_over(len(self))[::4]):
            return {}
        hashes = self.keys.hashes(range(len(self)))
        return {hashed: index for index, hashed in enumerate(hashes) if hashed is not None}

    @cached_property
    def in_pool(self) -> list[int]:
        """The pool's samples that are known, ascending."""
        pool = range(len(self.pool_keys))
        if any(self.pool_keys.name(index) is not None for index in pool):
            return [index for index in pool if self._has_named(index)]
        if self.pool_keys.by_index or not len(pool):
            return []
        if len(self) + len(pool) > MOST_HASHED:
            rank_zero_info(
                f"Which of the {len(pool)} unlabelled samples are among the {len(self)} of the training set is not "
                f"looked for: they have no names to compare, and are more than {MOST_HASHED} together. Give both "
                "datasets `sample_key(index)`, or a list of `paths`."
            )
            return []
        hashes = self.pool_keys.hashes(pool) if self._by_hash else []
        return [index for index, hashed in enumerate(hashes) if hashed in self._by_hash]

    def _has_named(self, index: int) -> bool:
        name = self.pool_keys.name(index)
        return name is not None and any(
            self._is_same(index, name, other) for other in self._by_last_part.get(_last_part(name), [])
        )

    def _is_same(self, index: int, name: str, other: int) -> bool:
        """Whether a sample of the pool is this one of the training set, whose name ends alike."""
        other_name = self.keys.name(other)
        if isinstance(name, FileName) and isinstance(other_name, FileName):
            files = Path(name.path), Path(other_name.path)
            if all(file.is_file() for file in files):
                return _have_same_bytes(*files)
        hashes = self.pool_keys.hash(index, draws=2), self.keys.hash(other, draws=2)
        if None in hashes:  # random inputs: nothing but a name that somebody gave
            return name == other_name and not isinstance(name, FileName)
        return hashes[0] == hashes[1]

    def has(self, key: str) -> bool:
        """Whether a sample that was in the pool, and is not any more, is here now.

        Its content cannot be compared any more, so the one name must do.
        """
        if key.startswith(HASH):
            return key in self._by_hash
        names = (self.keys.name(index) for index in self._by_last_part.get(_last_part(key), []))
        return any(name == key or isinstance(name, FileName) for name in names)

    def found_among(self, keys: Iterable[str | None]) -> list[bool]:
        """Say of each key whether :meth:`has` finds it."""
        return [key is not None and self.has(key) for key in keys]


def _last_part(name: str) -> str:
    """Return a path without its folders, and any other name as it is: what comes back from a ledger is text alone."""
    return name.rpartition("/")[2]


def _have_same_bytes(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            parts = left.read(_READ_AT_ONCE), right.read(_READ_AT_ONCE)
            if parts[0] != parts[1]:
                return False
            if not parts[0]:
                return True
