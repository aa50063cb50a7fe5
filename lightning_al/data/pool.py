"""The pool: which units of a dataset are unlabelled, pending, labelled or skipped."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lightning_al.completion import OffersLess
from lightning_al.distributed.randomness import shuffled
from lightning_al.words import shown

UNLABELLED, PENDING, LABELLED, SKIPPED, KNOWN = range(5)
_MOST_UNITS = torch.iinfo(torch.int64).max
_NAMES = ("unlabelled", "pending", "labelled", "skipped", "known")

Indices = Sequence[int] | Tensor


def integers(units: Indices) -> list[int]:
    """Return dataset indices as a list of ints.

    Raises:
        TypeError: If it is no list of integers.
    """
    values = units.tolist() if isinstance(units, Tensor) else units
    if not isinstance(values, Iterable):
        raise TypeError(f"Expected a list of dataset indices, got {shown(units)}.")
    values = list(values)
    wrong = [u for u in values if isinstance(u, bool) or not hasattr(u, "__index__") or getattr(u, "ndim", 0) != 0]
    if wrong:
        raise TypeError(f"Dataset indices must be integers, got {shown(wrong[0])} ({type(wrong[0]).__name__}).")
    return [u.__index__() for u in values]


class Pool(OffersLess):
    """The state of every unit of a dataset, as plain index arrays.

    A unit is a dataset index unless the task says otherwise. Each is *unlabelled*, *pending* (asked, not yet
    answered), *labelled* or *skipped* (the annotator gave no label). Those that a training set beside the pool has too
    are *known* (:meth:`know`): none of the four, for as long as they are. A unit that is labelled in part may be asked
    for again (:attr:`askable`), and is then labelled and pending at once. The pool knows no Lightning, no labels and no
    disk.

    Args:
        size: Number of units.

    Raises:
        ValueError: If ``size`` is negative.

    Example:
        >>> pool = Pool(5)
        >>> pool.ask([3, 1])
        >>> pool.label([3])
        >>> pool.labelled.tolist(), pool.pending.tolist(), pool.unlabelled.tolist()
        ([3], [1], [0, 2, 4])
    """

    _not_offered = "askable check check_pending cost is_in_part is_used_up know moved touched"

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"A pool needs a size of at least 0, got {shown(size)}.")
        if size > _MOST_UNITS:
            raise ValueError(f"A pool has a size of at most {_MOST_UNITS}, got {shown(size)}.")
        self._state = torch.zeros(size, dtype=torch.uint8)
        self._labelled: list[int] = []  # in the order in which the labels arrived
        self._pending: dict[int, None] = {}  # in the order asked
        self._costs: dict[int, float] = {}  # of labels that did not cost 1
        self._in_part: set[int] = set()  # of the labelled: those of which something is left to ask for
        self._known: frozenset[int] = frozenset()
        self._paid_for_gone = 0.0

    def __len__(self) -> int:
        return len(self._state)

    def __repr__(self) -> str:
        counts = [f"{n} {name}" for name, n in zip(_NAMES, self.counts(), strict=False)]
        counts += [f"{len(self._known)} known"] if self._known else []
        return f"Pool({len(self)} units: {', '.join(counts)})"

    def counts(self) -> tuple[int, int, int, int]:
        """Return how many units are unlabelled, pending, labelled and skipped; one in part may be in two of them."""
        states = self._states()
        unlabelled, skipped = (int((states == state).sum()) for state in (UNLABELLED, SKIPPED))
        return unlabelled, len(self.pending), len(self.labelled), skipped

    def _states(self) -> Tensor:
        """The state of every unit, those that are known included."""
        states = self._state
        if self._known:
            states = states.clone()
            states[self.known] = KNOWN
        return states

    def _units_in(self, state: int) -> Tensor:
        return torch.nonzero(self._states() == state).flatten()

    def _not_known(self, units: Iterable[int]) -> Tensor:
        return torch.tensor([unit for unit in units if unit not in self._known], dtype=torch.long)

    @property
    def unlabelled(self) -> Tensor:
        """Units without a label that nobody was asked for, ascending."""
        return self._units_in(UNLABELLED)

    @property
    def askable(self) -> Tensor:
        """Units that may be asked for, ascending: the unlabelled ones, and those that are labelled in part."""
        again = self._asked_again()
        if not again:  # most pools are large, and have none
            return self.unlabelled
        return torch.cat([self.unlabelled, torch.tensor(list(again), dtype=torch.long)]).sort().values

    def _asked_again(self) -> set[int]:
        """Units that are labelled in part, and may be asked for again."""
        return self._in_part - self._pending.keys() - self._known

    @property
    def is_used_up(self) -> bool:
        """Whether no unit is :attr:`askable`."""
        return not self._asked_again() and not bool((self._states() == UNLABELLED).any())

    @property
    def pending(self) -> Tensor:
        """Units asked for and not yet answered, in the order asked."""
        return self._not_known(self._pending)

    @property
    def skipped(self) -> Tensor:
        """Units that the annotator skipped, ascending."""
        return self._units_in(SKIPPED)

    @property
    def labelled(self) -> Tensor:
        """Labelled units, in the order in which the labels arrived."""
        return self._not_known(self._labelled)

    @property
    def known(self) -> Tensor:
        """Units that a training set beside the pool has too, ascending."""
        return torch.tensor(sorted(self._known), dtype=torch.long)

    @property
    def touched(self) -> list[int]:
        """Units that were labelled, asked for or skipped, whether or not they are known by now."""
        skipped = torch.nonzero(self._state == SKIPPED).flatten().tolist()
        return list(dict.fromkeys([*self._labelled, *self._pending, *skipped]))

    def cost(self, unit: int) -> float:
        """How much of the budget the label of ``unit`` took; 1 unless :meth:`label` was given another cost."""
        return self._costs.get(unit, 1.0)

    @property
    def spent(self) -> float:
        """What all labels cost, those of units that are known or gone by now included."""
        return len(self._labelled) - len(self._costs) + math.fsum(self._costs.values()) + self._paid_for_gone

    def is_labelled(self, unit: int) -> bool:
        """Whether ``unit`` has a label."""
        return int(self._state[unit]) == LABELLED

    def is_pending(self, unit: int) -> bool:
        """Whether ``unit`` is asked for and not yet answered."""
        return unit in self._pending and unit not in self._known

    def is_in_part(self, unit: int) -> bool:
        """Whether ``unit`` has a label, of which a part is left to ask for."""
        return unit in self._in_part

    def check(self, units: Indices) -> list[int]:
        """Return ``units`` as a list of ints, refusing what is not a set of units of this pool.

        Raises:
            TypeError: If an entry is not an integer.
            IndexError: If an entry is outside the pool.
            ValueError: If an entry is repeated.
        """
        values = integers(units)
        outside = [u for u in values if not 0 <= u < len(self)]
        if outside:
            raise IndexError(f"Dataset indices must be between 0 and {len(self) - 1}, got {shown(outside)}.")
        if len(set(values)) != len(values):
            repeated = sorted(unit for unit, times in Counter(values).items() if times > 1)
            raise ValueError(f"Dataset indices must be distinct, got {repeated[:10]} more than once.")
        return values

    def ask(self, units: Indices) -> None:
        """Mark :attr:`askable` ``units`` as pending; those labelled in part stay labelled too.

        Raises:
            ValueError: If one of them may not be asked for; nothing changes then.
        """
        values = self.check(units)
        is_unlabelled = (self._state[values] == UNLABELLED).tolist()  # a pool may have millions of others
        again = self._asked_again()
        askable = [
            unit in again or (free and unit not in self._known)
            for unit, free in zip(values, is_unlabelled, strict=True)
        ]
        taken = [unit for unit, is_askable in zip(values, askable, strict=True) if not is_askable]
        if taken:
            state = self._name_of(taken[0])
            raise ValueError(f"Only unlabelled units can be asked for; {taken[0]} is {state} ({len(taken)} such).")
        self._state[[unit for unit in values if unit not in self._in_part]] = PENDING
        self._pending.update(dict.fromkeys(values))

    def _name_of(self, unit: int) -> str:
        """Return the state of a unit in a word, of one that is in two of them the last that it came to."""
        return "pending" if self.is_pending(unit) else _NAMES[int(self._states()[unit])]

    def label(self, units: Indices, costs: Sequence[float] | None = None, in_part: Collection[int] = ()) -> None:
        """Mark ``units`` as labelled, whatever they were; those already labelled keep their place.

        Args:
            units: Distinct units, in any state.
            costs: What the label of each cost, all of its parts together; default 1.
            in_part: Those of them of which something is left to ask for.
        """
        values = self.check(units)
        self._in_part = (self._in_part - set(values)) | set(in_part)
        for unit, cost in zip(values, costs if costs is not None else [1.0] * len(values), strict=True):
            self._costs.pop(unit, None)
            if cost != 1:
                self._costs[unit] = cost
        self._labelled.extend(u for u in values if int(self._state[u]) != LABELLED)
        self._resolve(values, LABELLED)

    def skip(self, units: Indices) -> None:
        """Mark ``units`` as skipped, never to be asked for again. Labelled ones stay labelled, as they are.

        Args:
            units: Distinct units, in any state.
        """
        values = self.check(units)
        self._in_part -= set(values)
        self._resolve(values, SKIPPED)

    def release(self, units: Indices) -> None:
        """Take back that ``units`` were asked for: they are what they were before.

        Raises:
            ValueError: If one of them is not pending; nothing changes then.
        """
        values = self.check(units)
        self.check_pending(values)
        self._resolve(values, UNLABELLED)

    def check_pending(self, units: Sequence[int]) -> None:
        """Refuse units of which one is not pending.

        Raises:
            ValueError: With its state.
        """
        others = [unit for unit in units if unit not in self._pending or unit in self._known]
        if others:
            state = self._name_of(others[0])
            raise ValueError(f"Only pending units can be given back; {others[0]} is {state} ({len(others)} such).")

    def know(self, units: Indices) -> None:
        """Say which units a training set beside the pool has too, in place of those that were said before.

        They are no candidates and are not waited for, and train as the samples of that set. Whatever they were, they
        are again once they are known no more.
        """
        self._known = frozenset(self.check(units))

    def forget(self, units: Indices) -> None:
        """Take the labels of ``units`` back: they are skipped from now on, and cost nothing."""
        values = self.check(units)
        forgotten = set(values)
        self._labelled = [unit for unit in self._labelled if unit not in forgotten]
        self._in_part -= forgotten
        for unit in values:
            self._costs.pop(unit, None)
        self._state[values] = UNLABELLED
        self._resolve(values, SKIPPED)

    def moved(self, places: Mapping[int, int], size: int, *, paid_for_gone: float = 0.0) -> "Pool":
        """Return the pool of a dataset of another order or size, in which no unit is known.

        Args:
            places: Where units are now, by where they were; a negative number: nowhere. Others are where they were.
            size: Number of units now.
            paid_for_gone: What the labels cost of units that are nowhere.

        Raises:
            IndexError: If a unit that is not unlabelled comes to be outside of it.
            ValueError: If two of them come to be in one place.
        """
        pool = Pool(size)
        pool._paid_for_gone = paid_for_gone
        now = [(unit, places.get(unit, unit)) for unit in self._labelled]
        pool.label([new for _, new in now if new >= 0], [self.cost(unit) for unit, new in now if new >= 0])
        pool._in_part = {new for unit, new in now if new >= 0 and unit in self._in_part}
        pool.ask([new for unit in self._pending if (new := places.get(unit, unit)) >= 0])
        was_skipped = torch.nonzero(self._state == SKIPPED).flatten().tolist()
        skipped = [new for unit in was_skipped if (new := places.get(unit, unit)) >= 0]
        pool.ask(skipped)  # refused where something else is
        pool.skip(skipped)
        return pool

    def _resolve(self, values: list[int], state: int) -> None:
        """Let units be pending no more, and those without a label be in a state."""
        self._state[[unit for unit in values if state == LABELLED or not self.is_labelled(unit)]] = state
        for unit in values:
            self._pending.pop(unit, None)

    def candidates(self, size: int | None = None, *, generator: torch.Generator) -> Tensor:
        """Draw a random sub-pool of the :attr:`askable` units, in random order.

        The order is random so that ties and groups do not follow the order of the dataset. It is one of all units, of
        which those that are not askable are left out: campaigns of one seed draw nearly the same sub-pools whatever
        they picked before, so that they differ by their methods alone.

        Args:
            size: How many; clamped to what is left. None: all.
            generator: The only source of randomness.

        Returns:
            LongTensor of distinct units.
        """
        return shuffled(self.askable, len(self), generator, size)
