"""Seeds and random draws that follow from what they are for, never from a running generator.

A campaign that was killed and resumed, or that runs on another number of processes, must draw the same
initial set, sub-pools and ties. So every draw comes from ``(seed, round, purpose, ...)`` alone.
"""

import contextlib
import functools
import hashlib
import random
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor


def derive_seed(*key: int | str) -> int:
    """Return a 63-bit seed that depends on ``key`` and nothing else.

    Args:
        *key: What the draw is for, e.g. ``(seed, round, "candidates")``. Order and type matter.

    Returns:
        A non-negative integer that fits a signed 64-bit seed.

    Example:
        >>> derive_seed(0, 3, "candidates") == derive_seed(0, 3, "candidates")
        True
        >>> derive_seed(0, 3, "candidates") == derive_seed(0, 3, "select")
        False
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*key: int | str) -> torch.Generator:
    """Return a fresh CPU generator seeded by :func:`derive_seed` of ``key``.

    Example:
        >>> a, b = generator(0, 1, "select"), generator(0, 1, "select")
        >>> bool((torch.rand(4, generator=a) == torch.rand(4, generator=b)).all())
        True
    """
    return torch.Generator().manual_seed(derive_seed(*key))


_BLOCK_OF_UNITS = 2**18


def shuffled(units: Tensor, count: int, draws: torch.Generator, most: int | None = None) -> Tensor:
    """Return units in the order in which a shuffle of all ``count`` units has them.

    So two sets that are nearly the same come in nearly the same order.

    Args:
        units: (N,) distinct, in any order.
        count: They are smaller than this.
        draws: The only source of randomness.
        most: How many of them, the first; None: all.

    Example:
        >>> first, second = torch.tensor([0, 2, 5]), torch.tensor([0, 5])
        >>> order = shuffled(first, 6, generator(0)).tolist()
        >>> [unit for unit in order if unit != 2] == shuffled(second, 6, generator(0)).tolist()
        True
    """
    is_among = torch.zeros(count, dtype=torch.bool)
    is_among[units] = True
    order = torch.randperm(count, generator=draws)
    most = len(units) if most is None else min(most, len(units))
    found = 0
    parts = []  # in pieces, so that as little as possible is there twice, or looked at for nothing
    for part in order.split(_BLOCK_OF_UNITS):
        if found >= most:
            break
        parts.append(part[is_among[part]][: most - found])
        found += len(parts[-1])
    return torch.cat(parts) if parts else order[:0]


def seed_global(*key: int | str) -> None:
    """Seed Python's, NumPy's and torch's global generators, on every device that there is, from ``key``.

    ``torch.manual_seed`` does the same, and for each kind of device that has not begun, even where there is none, it
    writes down the stack: more than a millisecond, which an epoch of a tiny model shows.
    """
    seed = _seed_cpu(*key)
    device = _accelerator()
    if device is not None:
        getattr(torch.get_device_module(device), "manual_seed_all", torch.manual_seed)(seed)


@functools.cache
def _accelerator() -> torch.device | None:
    """Return the kind of device beside the CPU that this machine computes on, which does not begin for it."""
    return torch.accelerator.current_accelerator() if torch.accelerator.device_count() > 0 else None


def seed_reading(*key: int | str) -> None:
    """Seed what a dataset may draw from when a sample is read: the generators of the CPU, and of GPUs that have begun.

    Cheaper than :func:`seed_global` where a GPU has not begun.
    """
    seed = _seed_cpu(*key)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def _seed_cpu(*key: int | str) -> int:
    import numpy as np

    seed = derive_seed(*key)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the user's augmentations draw from this one
    torch.default_generator.manual_seed(seed)
    return seed


@contextlib.contextmanager
def draws_undone() -> Iterator[None]:
    """Give Python's, NumPy's and torch's global generators the state back that they had.

    Those of GPUs too where CUDA has begun. It is not begun for it: a process that has cannot be forked any more.

    Example:
        >>> with draws_undone():
        ...     inside = torch.rand(3)
        >>> bool((torch.rand(3) == inside).all())
        True
    """
    with isolate_rng(include_cuda=torch.cuda.is_initialized()):
        yield


class Draws:
    """The state of Python's, NumPy's and torch's global generators, to see whether somebody drew from them.

    Example:
        >>> before = Draws()
        >>> _ = torch.rand(2)
        >>> before.are_taken()
        True
        >>> before.put_back()
        >>> before.are_taken()
        False
    """

    def __init__(self) -> None:
        import numpy as np

        self._python, self._numpy, self._torch = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def are_taken(self) -> bool:
        """Whether a generator is in another state by now."""
        now = Draws()
        pairs = zip([self._torch, *self._cuda], [now._torch, *now._cuda], strict=False)
        return (
            self._python != now._python
            or not all(torch.equal(one, other) for one, other in pairs)
            or _plain(self._numpy) != _plain(now._numpy)
        )

    def put_back(self) -> None:
        """Give all of them this state again."""
        import numpy as np

        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002
        torch.set_rng_state(self._torch)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)


def _plain(state: Any) -> list[Any]:
    """Return the state of NumPy's generator as values that can be compared."""
    return [part.tobytes() if hasattr(part, "tobytes") else part for part in state]


_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # as signed 64-bit numbers, whose products wrap around
_FIRST_MULTIPLIER = 0xBF58476D1CE4E5B9 - 2**64
_SECOND_MULTIPLIER = 0x94D049BB133111EB - 2**64
_BLOCK_OF_IDS = 2**15  # ids at a time: all that is in flight stays in a core's cache


def _shift_right(z: Tensor, bits: int, out: Tensor) -> Tensor:
    return torch.bitwise_right_shift(z, bits, out=out).bitwise_and_((1 << (64 - bits)) - 1)


def _splitmix(z: Tensor, spare: Tensor) -> Tensor:
    """The output function of splitmix64 (Steele, Lea & Flood 2014), in place."""
    z.bitwise_xor_(_shift_right(z, 30, spare)).mul_(_FIRST_MULTIPLIER)
    z.bitwise_xor_(_shift_right(z, 27, spare)).mul_(_SECOND_MULTIPLIER)
    return z.bitwise_xor_(_shift_right(z, 31, spare))


class Race:
    """Weighted random draws that do not depend on how the candidates are divided among processes.

    Candidate ``i`` of weight ``w_i`` arrives at the time ``E_i / w_i`` with independent ``E_i ~ Exp(1)``; the first to
    arrive, ``argmax w_i / E_i``, is ``i`` with probability ``w_i / Σ w``. A cumulative sum draws the same, but rounds
    differently when it is cut in pieces. ``E_i`` is a hash of (seed, draw, id): splitmix64 started at another
    splitmix64 of seed and id. O(N) time a draw, 16 bytes an id.

    Args:
        generator: Gives the seed, its only use: one 64-bit number. In the same state on every process.
        ids: (N,) integers, one per candidate held here; distinct over all processes.

    Example:
        >>> race = Race(torch.Generator().manual_seed(0), torch.tensor([7, 8, 9]))
        >>> rest = Race(torch.Generator().manual_seed(0), torch.tensor([8, 9]))
        >>> bool((race.exponentials(4)[1:] == rest.exponentials(4)).all())
        True
    """

    def __init__(self, generator: torch.Generator, ids: Tensor) -> None:
        seed = int(torch.randint(-(2**63), 2**63 - 1, (), generator=generator))
        self._states = ids.detach().cpu().long().mul(_GAMMA).add_(seed)
        for states in self._states.split(_BLOCK_OF_IDS):
            _splitmix(states, torch.empty_like(states))
        self._times = torch.empty(len(ids), dtype=torch.float64)

    def exponentials(self, draw: int) -> Tensor:
        """(N,) float64, ``E_i ~ Exp(1)`` of the draw with this number; positive. The next call overwrites it."""
        step = (draw + 1) * _GAMMA % 2**64
        step -= 2**64 * (step >= 2**63)
        for states, times in zip(self._states.split(_BLOCK_OF_IDS), self._times.split(_BLOCK_OF_IDS), strict=True):
            bits, spare = torch.empty_like(states), torch.empty_like(states)
            _splitmix(torch.add(states, step, out=bits), spare)
            times.copy_(_shift_right(bits, 12, spare)).add_(0.5).mul_(2.0**-52).log_().neg_()
        return self._times
