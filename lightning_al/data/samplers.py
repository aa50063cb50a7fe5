"""Samplers: the order of training samples in each epoch, and how the pool is divided among processes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from lightning_al.distributed.randomness import derive_seed


class EpochSampler(DistributedSampler):
    """A sampler whose order, and the seeds of the loader's workers, follow from (seed, epoch) alone.

    So a round that was killed and resumed sees the same batches.

    Args:
        dataset: Anything with a length.
        num_replicas: Number of ranks.
        rank: This rank.
        shuffle: Whether each epoch has another order.
        seed: Any non-negative integer.
    """

    def __init__(self, dataset: Dataset, *, num_replicas: int, rank: int, shuffle: bool, seed: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=shuffle, seed=seed % 2**31)
        self.generator = torch.Generator()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Begin ``epoch``; Lightning calls this."""
        super().set_epoch(epoch)
        self.generator.manual_seed(derive_seed(self.seed, self.rank, "workers", epoch))


class ShareSampler(EpochSampler):
    """An :class:`EpochSampler` whose batches all hold the same number of known samples, which come first in each.

    An epoch has as many batches as it would have over all samples together, and all are full. The known samples, and
    the others, are gone through each in an order of their own, again and again until the epoch is over: the kind that
    is short comes several times, of the kind that is long each epoch has another part (with ``shuffle``). The ranks
    deal one order out among themselves, whatever their number.

    Args:
        known: How many samples are known: the first ones of the dataset.
        others: How many are not: those after them.
        known_in_batch: How many known ones a batch holds.
        batch_size: Samples of a batch.
        drop_last: Whether a last batch that would not be full is left out; else it is filled up.
        num_replicas: Number of ranks.
        rank: This rank.
        shuffle: Whether each epoch has other orders.
        seed: Any non-negative integer.

    Example:
        >>> options = {"known_in_batch": 1, "batch_size": 3, "drop_last": False, "shuffle": False, "seed": 0}
        >>> list(ShareSampler(5, 3, num_replicas=1, rank=0, **options))
        [0, 5, 6, 1, 7, 5, 2, 6, 7]
    """

    def __init__(
        self,
        known: int,
        others: int,
        *,
        known_in_batch: int,
        batch_size: int,
        drop_last: bool,
        num_replicas: int,
        rank: int,
        shuffle: bool,
        seed: int,
    ) -> None:
        everything = range(known + others)
        super().__init__(everything, num_replicas=num_replicas, rank=rank, shuffle=shuffle, seed=seed)  # type: ignore[arg-type]
        self.kinds = (everything[:known], everything[known:])
        self.counts = (known_in_batch, batch_size - known_in_batch)
        samples = -(-len(everything) // num_replicas)
        self.batches = samples // batch_size if drop_last else -(-samples // batch_size)

    def __iter__(self) -> Iterator[int]:
        draws = torch.Generator().manual_seed(self.seed + self.epoch)
        streams = [self._stream(kind, count, draws) for kind, count in zip(self.kinds, self.counts, strict=True)]
        for batch in range(self.batches):
            for stream, count in zip(streams, self.counts, strict=True):
                yield from stream[batch * count : (batch + 1) * count]

    def _stream(self, kind: range, count: int, draws: torch.Generator) -> list[int]:
        """Return this rank's samples of a kind, in order."""
        needed = self.batches * count * self.num_replicas
        stream: list[int] = []
        while len(stream) < needed:
            order = torch.randperm(len(kind), generator=draws).tolist() if self.shuffle else range(len(kind))
            stream += [kind[place] for place in order]
        return stream[self.rank : needed : self.num_replicas]

    def __len__(self) -> int:
        return self.batches * sum(self.counts)


def known_in_batch(share: float, batch_size: int) -> int:
    """Return how many samples of a batch are known ones, where that is a share of it.

    Raises:
        ValueError: If it is no whole number of samples, or none, or all.

    Example:
        >>> known_in_batch(0.25, 8)
        2
    """
    count = round(share * batch_size)
    if abs(share * batch_size - count) > 1e-6 * batch_size or not 0 < count < batch_size:
        nearest = sorted({min(max(c, 1), batch_size - 1) for c in (count - 1, count, count + 1)})
        way = " or ".join(f"{c / batch_size:g}" for c in nearest) if batch_size > 1 else "none"
        raise ValueError(
            f"`known_share={share}` of batches of {batch_size} samples is {share * batch_size:g} samples: a batch must "
            f"hold a whole number of known ones, and at least one of either kind. Near to it is {way}; or take another "
            "batch size."
        )
    return count


class BlockSampler(DistributedSampler):
    """A sampler that gives each rank one contiguous block of a list, cut only at multiples of ``multiple``.

    Lightning leaves a ``DistributedSampler`` alone. The sampler that it would put in place gives ranks every n-th row,
    which would tear groups apart and need re-ordering. Every position belongs to one rank. Shorter blocks are filled up
    by repeating their last position, since models whose weights are spread over the ranks wait for each other in every
    batch; not where groups would be torn (``multiple`` > 1), which such models cannot be scored by anyway.

    Args:
        dataset: Anything with a length.
        multiple: Blocks begin at multiples of this.
        num_replicas: Number of ranks.
        rank: This rank.

    Example:
        >>> [list(BlockSampler(range(7), multiple=2, num_replicas=2, rank=r)) for r in (0, 1)]
        [[0, 1, 2, 3], [4, 5, 6]]
        >>> [list(BlockSampler(range(5), multiple=1, num_replicas=2, rank=r)) for r in (0, 1)]
        [[0, 1, 2], [3, 4, 4]]
    """

    def __init__(self, dataset: Dataset | Sequence, *, multiple: int, num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        n = len(dataset)  # type: ignore[arg-type]
        groups = -(-n // multiple)
        cuts = [min(-(-groups * r // num_replicas) * multiple, n) for r in (rank, rank + 1)]
        self.block = range(*cuts)
        longest = -(-groups // num_replicas)
        self.repeated = longest - len(self.block) if multiple == 1 and len(self.block) else 0

    def __iter__(self) -> Iterator[int]:
        return chain(self.block, repeat(self.block.stop - 1, self.repeated))

    @property
    def positions(self) -> Tensor:
        """(N,) what iterating gives."""
        last = torch.full((self.repeated,), self.block.stop - 1)
        return torch.cat([torch.arange(self.block.start, self.block.stop), last])

    def __len__(self) -> int:
        return len(self.block) + self.repeated


@dataclass(frozen=True)
class PoolPass:
    """The samples that are scored in one pass over the pool.

    Args:
        indices: Dataset indices, in order; the same on every rank.
        multiple: Batches and blocks are cut only at multiples of this.
        batch_size: Of this pass alone; None: that of all passes.
    """

    indices: Tensor
    multiple: int
    batch_size: int | None = None

    def sampler(self, *, num_replicas: int, rank: int) -> BlockSampler:
        """Return what says which samples this rank sees.

        With fewer groups than ranks every rank sees all, since Lightning cannot predict over an empty shard.
        """
        groups = -(-len(self.indices) // self.multiple)
        if groups < num_replicas:
            num_replicas, rank = 1, 0
        return BlockSampler(range(len(self.indices)), multiple=self.multiple, num_replicas=num_replicas, rank=rank)

    def whole_groups(self, batch_size: int) -> int:
        """Return ``batch_size``, rounded up to a multiple of :attr:`multiple`.

        Example:
            >>> PoolPass(torch.arange(20), multiple=3).whole_groups(7)
            9
        """
        return -(-batch_size // self.multiple) * self.multiple
