"""How far each row is from the nearest of a growing number of centres, worked out only where it can matter."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_al.distributed.shard import Shard
from lightning_al.functional.geometry.spaces import Space

BLOCK_NUMBERS = 2**16  # of a block of rows: larger ones are asked more often, smaller ones cost more calls
BLOCK_ROWS = 2**12  # of a block at most
PAIRS_AT_ONCE = 2**18  # of rows and centres


class Nearest:
    """Distances of rows to their nearest centre, by a lazy greedy search (Minoux 1978).

    A distance only falls as centres come, so what it was is a bound from above. Rows lie in blocks, each with the
    number of centres that it has seen. Whoever asks for the largest distance gets it from the block of the largest
    bound, once that has seen all of them; most blocks are asked rarely and then see many centres in one matrix product.
    At worst every block sees every centre by itself, which is the plain search.

    Args:
        space: What measures distances.
        shard: Which rows these are.
        capacity: How many centres there may be.
    """

    def __init__(self, space: Space, shard: Shard, capacity: int) -> None:
        self.space = space
        self.shard = shard
        rows = len(shard.block)
        width = max(x[:1].numel() for x in space.tensors) or 1
        self._size = max(min(BLOCK_NUMBERS // width, BLOCK_ROWS), 1)
        self.blocks = [slice(start, min(start + self._size, rows)) for start in range(0, rows, self._size)]
        self.bounds = torch.full((rows,), math.inf, dtype=torch.float64)
        self._tops = torch.full((len(self.blocks),), math.inf, dtype=torch.float64)
        self._seen = [0] * len(self.blocks)
        self._centres = [c.new_empty(capacity, *c.shape[1:]) for c in space.centres([x[:0] for x in space.tensors])]
        self._count = 0

    def approach(self, *centres: Tensor) -> None:
        """Take note of centres, (M, ...) of each tensor of the space."""
        prepared = self.space.centres(centres)
        stop = self._count + len(prepared[0])
        for held, new in zip(self._centres, prepared, strict=True):
            held[self._count : stop] = new
        self._count = stop

    def leave_out(self, index: int) -> None:
        """Count a row as a centre itself."""
        self.bounds[index] = 0.0
        block = index // self._size
        self._tops[block] = self.bounds[self.blocks[block]].max()

    def largest(
        self, slack: Callable[[int, float], float] | None = None, *, over: Tensor | None = None
    ) -> tuple[float, int]:
        """The largest distance and its position, as :meth:`Shard.largest` has it.

        Args:
            slack: From an index and its distance, how far that may be off by rounding.
            over: (N,) positive; the distances are divided by it first.
        """
        if over is None:
            return self.shard.largest(_Ordered(self, self.bounds, self._tops), slack)
        keys, tops = self.bounds / over, self._tops.clone()
        whole = len(keys) // self._size
        tops[:whole] = keys[: whole * self._size].view(whole, self._size).amax(1)
        if whole < len(tops):
            tops[whole] = keys[whole * self._size :].max()
        return self.shard.largest(_Ordered(self, keys, tops, over), slack)

    def update(self, block: int) -> bool:
        """Show a block all centres; whether there were any that it had not seen."""
        seen, rows = self._seen[block], self.blocks[block]
        if seen == self._count:
            return False
        step = max(PAIRS_AT_ONCE // (rows.stop - rows.start), 1)
        bounds = self.bounds[rows]
        for start in range(seen, self._count, step):
            some = [c[start : min(start + step, self._count)] for c in self._centres]
            torch.minimum(bounds, self.space.distances(rows, some), out=bounds)
        self._seen[block] = self._count
        self._tops[block] = bounds.max()
        return True


class _Ordered:
    """The rows of :class:`Nearest` by their distances, or those over ``times``; bounds from above until looked at."""

    def __init__(self, nearest: Nearest, keys: Tensor, tops: Tensor, times: Tensor | None = None) -> None:
        self.nearest = nearest
        self.keys = keys
        self.tops = tops
        self.times = times

    def top(self) -> tuple[int, float] | None:
        if not len(self.keys):
            return None
        while self._update(block := int(self.tops.argmax())):
            pass
        rows = self.nearest.blocks[block]
        index = rows.start + int(self.keys[rows].argmax())
        return index, float(self.keys[index])

    def first(self, bound: float) -> int | None:
        for block in (self.tops >= bound).nonzero().flatten().tolist():
            self._update(block)
            if self.tops[block] >= bound:
                rows = self.nearest.blocks[block]
                return rows.start + int((self.keys[rows] >= bound).view(torch.uint8).argmax())
        return None

    def _update(self, block: int) -> bool:
        """Have a block see all centres; whether there were any that it had not seen."""
        if not self.nearest.update(block):
            return False
        if self.times is not None:
            rows = self.nearest.blocks[block]
            torch.div(self.nearest.bounds[rows], self.times[rows], out=self.keys[rows])
            self.tops[block] = self.keys[rows].max()
        return True
