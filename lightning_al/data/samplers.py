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
