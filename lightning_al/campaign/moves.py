"""Where a campaign's samples are in today's dataset: found again by their keys."""

import functools
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import Dataset, Subset

from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.events import Event
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.keys import SampleKeys, common_folder
from lightning_al.tasks.keys import HASH, FileName
from lightning_al.words import shown

_NEAR = sorted(range(-8, 9), key=abs)  # around where a sample is expected, looked at first
_FEW = 16  # samples that are drawn again, to find out whether inputs are random


class Search:
    """Finds the samples that a campaign knows in today's dataset.

    A sample that still is where it was costs one look at its key. The others are looked for by name, which costs no
    draw; or by the hash of their input, near their old place first and then in all of the dataset. Samples that have
    one and the same input stand in for each other, those with the dataset's own label of then first.

    Args:
        campaign: As it was when it was last opened.
        keys: Of today's samples.
        own_label: Gives the dataset's own label of an index, encoded.
        keeps_target: Whether a sample has the same target whenever it is drawn.
        same_label: Whether two labels, encoded, are the same.
        are_known: Says of keys which of them a training set beside the dataset has: of labelled samples that are gone,
            these are not missed. None: there is none.
    """

    def __init__(
        self,
        campaign: Campaign,
        keys: SampleKeys,
        *,
        own_label: Callable[[int], Any],
        keeps_target: Callable[[int], bool],
        same_label: Callable[[Any, Any], bool] = operator.eq,
        are_known: Callable[[list[str | None]], list[bool]] | None = None,
    ) -> None:
        self.campaign = campaign
        self.keys = keys
        self.own_label = functools.cache(own_label)
        self.same_label = same_label
        self.keeps_target = keeps_target
        self.are_known = are_known
        self._known: list[int] = []  # labelled samples that are gone from the dataset into the training set beside it
        self._recorded = {unit: campaign.key_of(unit) for unit in campaign.known}
        self._given_back = campaign.keys.keys() - {*campaign.pool.touched, *campaign.regions.units}
        self._places: dict[int, int] = {}  # of what was found, by old index, or number among the gone
        self._by_index: list[int] = []  # known by their index alone
        self._in_new_folder = False
        self._hashes: dict[int, str | None] = {}

    @classmethod
    def among(cls, campaign: Campaign, data: ActiveDataModule) -> "Search":
        """Return a search for the campaign's samples among those of a data module that is open."""
        pool = data.samples.pool
        return cls(
            campaign,
            data.sample_keys,
            own_label=pool.own_label,
            keeps_target=pool.keeps_target,
            same_label=pool.same_label,
            are_known=None if data.known_samples is None else data.known_samples.found_among,
        )

    def move(self) -> Event | None:
        """Return the fields of the event that says what moved; None if nothing did.

        Raises:
            ValueError: If labelled samples are gone or have other labels of their own, or nothing says where samples
                are.
        """
        missing = self._look_in_place()
        self._find_names(missing)
        self._find_hashes([unit for unit in missing if self._has_hash(unit) and unit not in self._places])
        self._check_by_index()
        self._check_gone()
        self._check_own_labels()
        return self._event()

    # -- where samples were ----------------------------------------------------------------------------------------

    def _look_in_place(self) -> list[int]:
        """Take note of what is where it was, or known by its index alone; return the others."""
        missing: list[int] = []
        for unit, key in self._recorded.items():
            if key is None or self._is_old_index(unit, key):
                self._by_index.append(unit)
            elif unit >= 0 and self._is_at(unit, key):
                self._places[unit] = unit
            else:
                missing.append(unit)
        lost = [unit for unit in missing if unit >= 0 and self._has_hash(unit)]
        if lost and (self.keys.by_index or self.keys.are_random([u for u in lost if u < len(self.keys)][:_FEW])):
            self._by_index += lost
            missing = [unit for unit in missing if unit not in lost]
        # One of two that are alike may be where the other was.
        own_labels = _some(self.campaign.own_labels)
        others = [u for u, label in own_labels if self._is_twin(u) and not self.same_label(self.own_label(u), label)]
        twins = [u for u in others if self.keeps_target(u)]
        for unit in twins:
            del self._places[unit]
        return missing + twins

    def _is_old_index(self, unit: int, key: str) -> bool:
        """Whether a key is the index of its sample, as it was before hashes were keys."""
        if self.campaign.root is not None or unit < 0 or not key.isdecimal():
            return False
        return unit >= len(self.keys) or (key == _index_below(self.keys.train_set, unit) != self.keys.name(unit))

    def _has_hash(self, unit: int) -> bool:
        key = self._recorded[unit]
        return key is not None and key.startswith(HASH)

    def _is_twin(self, unit: int) -> bool:
        return unit in self._places and self._has_hash(unit)

    def _is_at(self, index: int, key: str) -> bool:
        if index >= len(self.keys):
            return False
        return self.keys.name(index) == key or (key.startswith(HASH) and self._hash(index) == key)

    def _hash(self, index: int) -> str | None:
        if index not in self._hashes:
            self._hashes[index] = self.keys.hash(index)
        return self._hashes[index]

    # -- where else they may be ------------------------------------------------------------------------------------

    def _find_names(self, units: list[int]) -> None:
        unit_of = {self._recorded[unit]: unit for unit in units}
        by_name = self.keys.places({name for name in unit_of if name is not None})
        self._places |= {unit_of[name]: index for name, index in by_name.items()}
        named = [unit for unit in units if not self._has_hash(unit)]
        if named and all(self._has_hash(unit) for unit in self._places):
            found = self._in_another_folder(named)
            self._places |= found
            self._in_new_folder = len(found) > 0

    def _in_another_folder(self, units: list[int]) -> dict[int, int]:
        """Return where samples are if their common folder is another one now, the same for most of them."""
        root = self.campaign.root
        if root is None or root == self.keys.root:
            return {}
        names = {unit: str(self._recorded[unit]) for unit in units}
        above = len(common_folder([root, *names.values()]))
        ends: dict[str, list[int]] = defaultdict(list)  # of paths below the folder, by their last part
        for unit, name in names.items():
            ends[name.rpartition("/")[2]].append(unit)
        folders: dict[str, dict[int, int]] = defaultdict(dict)
        for index in range(len(self.keys)):
            file = self.keys.name(index)
            if not isinstance(file, FileName):
                continue
            for unit in ends.get(file.rpartition("/")[2], []):
                below = names[unit][above:]
                if f"/{file}".endswith(f"/{below}"):
                    folders[file[: len(file) - len(below)]][unit] = index
        by_count = sorted(folders.values(), key=len)
        return by_count[-1] if by_count and 2 * len(by_count[-1]) > len(units) else {}

    def _find_hashes(self, units: list[int]) -> None:
        lost = [unit for unit in units if unit >= 0]
        if not units or (not lost and len(self.keys) == len(self.campaign.pool)):
            return  # those that were gone before are not looked for at every start
        wanted: dict[str, list[int]] = defaultdict(list)
        for unit in units:
            wanted[str(self._recorded[unit])].append(unit)
        taken = set(self._places.values()) | set(self._by_index)
        spare: dict[str, list[int]] = defaultdict(list)  # of samples with another label of their own
        for index in self._nearest_first(lost, taken):
            key = str(self._hash(index))
            if key not in wanted or index in taken:
                continue
            alike = [unit for unit in wanted[key] if self._has_own_label(unit, index)]
            if not alike:
                spare[key].append(index)
                continue
            self._put(alike[0], index, wanted, taken)
            if not wanted:
                return
        for key, indices in spare.items():
            for unit in list(wanted[key]):
                if indices:
                    self._put(unit, indices.pop(indices.index(unit) if unit in indices else 0), wanted, taken)

    def _put(self, unit: int, index: int, wanted: dict[str, list[int]], taken: set[int]) -> None:
        key = str(self._recorded[unit])
        self._places[unit] = index
        taken.add(index)
        wanted[key].remove(unit)
        if not wanted[key]:
            del wanted[key]

    def _nearest_first(self, units: list[int], taken: set[int]) -> Iterator[int]:
        """Go through the indices that are not taken, those around where ``units`` are expected first, each once."""
        seen: set[int] = set()
        shift = 0
        for unit in sorted(units):
            around = iter(unit + shift + near for near in _NEAR)
            while unit not in self._places and (index := next(around, None)) is not None:
                if 0 <= index < len(self.keys) and index not in seen and index not in taken:
                    seen.add(index)
                    yield index
            shift = self._places.get(unit, unit + shift) - unit
        yield from (index for index in range(len(self.keys)) if index not in seen and index not in taken)

    def _has_own_label(self, unit: int, index: int) -> bool:
        labels = self.campaign.own_labels
        return unit not in labels or self.same_label(self.own_label(index), labels[unit])

    # -- what is refused -------------------------------------------------------------------------------------------

    def _check_by_index(self) -> None:
        then, now = len(self.campaign.pool), len(self.keys)
        lost = [u for u in self._recorded if u >= 0 and u not in self._by_index and self._places.get(u) != u]
        if then == now and not lost:
            self._places |= {unit: unit for unit in self._by_index}
            return
        waited_for = [unit for unit in self._by_index if unit not in self._given_back]
        if not waited_for:
            return
        what = f"is of a dataset of {then} samples; this one has {now}" if then != now else "has samples that moved"
        raise ValueError(
            f"The campaign in {self.campaign.dirpath} {what}, and it knows {len(waited_for)} of its samples by "
            f"their index alone ({_few(waited_for)}): their inputs are random, or they were told of before the "
            "data were opened. Open it once with the samples in their former order and number, and with a "
            "`sample_key(index)` of the dataset (or a `pool_dataset()` without augmentation), which then names them."
        )

    def _check_gone(self) -> None:
        gone = [unit for unit in self._recorded if unit in self.campaign.labels and unit not in self._places]
        if gone and self.are_known is not None:
            found = self.are_known([self._recorded[unit] for unit in gone])
            self._known = [unit for unit, is_known in zip(gone, found, strict=True) if is_known]
            gone = [unit for unit in gone if unit not in self._known]
        if not gone:
            return
        folder = str(self.campaign.dirpath)
        keys = [str(self._recorded[unit]) for unit in gone]
        names = [self._called(unit) for unit in gone]
        hashed = any(self._has_hash(unit) for unit in gone)
        raise ValueError(
            f"{len(gone)} of {len(self.campaign.labels)} labelled samples of the campaign in {folder} are not in the "
            f"dataset any more, and training needs them: {_few(names)}. Put them back as they were"
            + (", their inputs before random augmentation to the last bit" if hashed else "")
            + "; or go on without their labels, which takes these back for good: "
            f"`Campaign.load({folder!r}).forget({keys[:1]!r})`, with all {len(gone)} keys."
        )

    def _called(self, unit: int) -> str:
        key = self._recorded[unit]
        return f"dataset index {unit} ({key})" if self._has_hash(unit) else repr(key)

    def _check_own_labels(self) -> None:
        for unit, label in _some(self.campaign.own_labels):
            if unit in self._known:
                continue
            place = self._places[unit]
            label_now = self.own_label(place)
            if not self.same_label(label_now, label) and self.keeps_target(place):
                raise ValueError(
                    f"Sample {place} of the training set had label {shown(label)} when the campaign in "
                    f"{self.campaign.dirpath} asked for it and has {shown(label_now)} now: the dataset is another, or "
                    "in another order; or targets were random then, moved by augmentation, and are not since there is "
                    "a `pool_dataset()` or `augment`. Then go on without it as before, or begin anew, with it, in "
                    "another `dirpath`."
                )

    # -- what is written -------------------------------------------------------------------------------------------

    def _event(self) -> Event | None:
        campaign = self.campaign
        number = min(campaign.gone, default=0)
        changes: list[tuple[int, int, str | None]] = []
        gone: list[tuple[str | None, str]] = []
        for unit, key_then in self._recorded.items():
            if unit in self._places:
                place, key = self._places[unit], self._key_now(unit)
            elif unit < 0:
                continue
            else:
                number -= 1
                place, key = number, key_then
                if unit not in self._known:
                    gone.append((key, self._called(unit)))
            if (place, key) != (unit, key_then):
                changes.append((unit, place, key))
        size = len(self.keys)
        if not changes and size == len(campaign.pool) and campaign.root is not None:
            return None
        self._tell(sum(unit != place for unit, place, _ in changes) - len(gone) - len(self._known), gone)
        return {
            **({"known": self._known} if self._known else {}),
            "size": size,
            "root": self.keys.root,
            "indices": [unit for unit, _, _ in changes],
            "now": [place for _, place, _ in changes],
            "keys": [key for _, _, key in changes],
        }

    def _tell(self, moved: int, gone: list[tuple[str | None, str]]) -> None:
        """Say in one line what changed, if anything did that a user would call so."""
        then, now = len(self.campaign.pool), len(self.keys)
        said = [f"The dataset has {now} samples ({then} when the campaign in {self.campaign.dirpath} was last opened)."]
        if moved:
            said.append(f"Of the {len(self._recorded)} that the campaign knows, {moved} were found in other places.")
        if self._in_new_folder:
            said.append(f"Their files are in {self.keys.root!r} now, and were in {self.campaign.root!r}.")
        if self._known:
            said.append(f"{len(self._known)} that had a label are in the training set now, with the label there.")
        found = [] if self.are_known is None else self.are_known([key for key, _ in gone])
        if any(found):
            said.append(f"{sum(found)} that had none, of {len(gone)} that are gone, are in the training set now.")
        elif gone:
            said.append(f"{len(gone)} without a label are gone: {_few(name for _, name in gone)}.")
        if then != now or len(said) > 1:
            rank_zero_info(" ".join(said))

    def _key_now(self, unit: int) -> str | None:
        """Return a sample's key as it is to be recorded: a name that it has now, say, where it had none."""
        key, place = self._recorded[unit], self._places[unit]
        name = self.keys.name(place)
        if name is not None or self._has_hash(unit):
            return name or key
        return self.keys.key(place)


def _index_below(dataset: Dataset, index: int) -> str:
    """Return the index of a sample in the dataset that subsets are made of."""
    while isinstance(dataset, Subset):
        index, dataset = int(dataset.indices[index]), dataset.dataset
    return str(index)


def _some(of_samples: dict[int, Any]) -> list[tuple[int, Any]]:
    return list(of_samples.items())[:: max(1, len(of_samples) // 100)]


def _few(values: Iterable[Any]) -> str:
    shown = [str(value) for value in values]
    return ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")
