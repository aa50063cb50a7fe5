"""The pool pass: what acquisitions need of each sample, in a known order, the same on every rank."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from lightning_al.acquisition.base import Acquisition, LocalRows
from lightning_al.distributed import Shard, gather_objects, gather_rows
from lightning_al.functional.points import rows_not_finite
from lightning_al.options import kind_of
from lightning_al.randomness import seed_global
from lightning_al.storage import RowStore

POSITION = "position"  # in the candidate list; travels with the rows of a rank


class BlockSampler(DistributedSampler):
    """Deals a list out to ranks in contiguous blocks, cut only at multiples of ``multiple``.

    Lightning leaves a ``DistributedSampler`` alone, while its default deals rows out one by one, which would tear
    groups apart and needs re-ordering. Every position belongs to one rank. Shorter blocks are filled up by repeating
    their last position, since models whose weights are spread over the ranks wait for each other in every batch; not
    where groups would be torn (``multiple`` > 1), which such models cannot be scored by anyway.

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


def score_pool(
    trainer: pl.Trainer,
    model: pl.LightningModule,
    datamodule: pl.LightningDataModule,
    indices: Tensor,
    acquisitions: Sequence[Acquisition],
    *,
    sampler: BlockSampler,
    seed: int,
    gather: bool = True,
    check: Callable[[pl.LightningModule, Any], None] | None = None,
) -> list[dict[str, Tensor]]:
    """Run one predict pass and return each acquisition's rows.

    The pass goes through ``trainer.predict`` with the model's ``predict_step`` swapped, so that it works under any
    strategy and the user's batches, collate function and transfer hooks are untouched. Other callbacks do not see it,
    and nothing is left behind: train flags, gradients, hooks, buffers and the random state are as before.

    Args:
        trainer: The user's Trainer.
        model: The user's module.
        datamodule: Its ``predict_dataloader`` yields the samples of the sampler.
        indices: Dataset indices, the same on every rank.
        acquisitions: Those that share the pass.
        sampler: Which of them this rank sees.
        seed: Of whatever draws random numbers in the pass: augmentation, stochastic models.
        gather: Whether every rank gets all rows of acquisitions whose rows stay where they are (not ``gathers``).
        check: Called with the model and each batch first, to refuse what cannot work.

    Returns:
        For each acquisition its rows by name, in the order of ``indices``, on the CPU, with ``"index"`` holding the
        dataset indices: all of them (of an acquisition that ``gathers``, on rank 0 only, and none on the others), or
        :class:`~lightning_al.acquisition.base.LocalRows`.

    Raises:
        ValueError: If rows are missing or surplus, or a score is NaN or infinite; the dataset indices are named.
    """
    collected: list[dict[str, RowStore]] = [{} for _ in acquisitions]
    local = sampler.block

    def predict_step(batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Tensor:
        if check is not None:
            check(model, batch)
        for acquisition, store in zip(acquisitions, collected, strict=True):
            rows = acquisition.rows(model, batch)
            if not isinstance(rows, dict):
                raise TypeError(
                    f"`{type(acquisition).__name__}.rows` must return a dict of tensors, got {kind_of(rows)}."
                )
            for name, values in rows.items():
                if not isinstance(values, Tensor) or values.ndim == 0:
                    who = type(acquisition).__name__
                    got = "a single number" if isinstance(values, Tensor) else f"a {type(values).__name__}"
                    raise TypeError(f"`{who}` must give tensors with one row per sample, got {got} as {name!r}.")
                store.setdefault(name, RowStore(len(sampler))).add(values)
        return torch.empty(0)  # None would make Lightning warn

    shadowed = model.__dict__.get("predict_step")
    callbacks = trainer.callbacks
    grads = [(p, p.grad) for p in model.parameters()]
    flags = [(module, module.training) for module in model.modules()]
    model.predict_step = predict_step  # type: ignore[method-assign]
    trainer.callbacks = [c for c in callbacks if isinstance(c, ProgressBar)]
    try:
        with isolate_rng():
            seed_global(seed, trainer.global_rank)
            trainer.predict(model, datamodule=datamodule, return_predictions=False)
    finally:
        trainer.callbacks = callbacks
        for p, grad in grads:  # Lightning clears them when it moves the module
            p.grad = grad
        for module, training in flags:  # Lightning leaves them in `eval()` after an error
            module.training = training
        del model.predict_step
        if shadowed is not None:
            model.predict_step = shadowed

    results: list[dict[str, Tensor]] = []
    for acquisition, stores in zip(acquisitions, collected, strict=True):
        name = type(acquisition).__name__
        for key, store in stores.items():
            if key in ("index", POSITION):
                what = ", for the dataset indices" if key == "index" else ""
                raise ValueError(f'`{name}.rows` returned the key "{key}", which is reserved{what}.')
            if store.filled != len(sampler):
                raise ValueError(
                    f"`{name}.rows` returned {store.filled} values of {key!r} for {len(sampler)} samples; it must "
                    "return one per sample of the batch, first dimension first."
                )
        rows = {key: store.rows()[: len(local)] for key, store in stores.items()}
        if "score" in rows and rows["score"].ndim != 1:
            raise ValueError(f"`{name}` must give one score per sample, (B,), got shape {tuple(rows['score'].shape)}.")
        _check_finite(rows, indices[local.start : local.stop], len(indices), name)
        if sampler.num_replicas > 1 and (gather or acquisition.gathers):
            rows[POSITION] = torch.tensor(local, dtype=torch.long)
            keep = trainer.is_global_zero or not acquisition.gathers
            rows = gather_rows(rows, trainer.strategy.root_device, keep=keep)
            if not keep:
                results.append({"index": indices[:0]})
                continue
            rows = _in_order(rows, len(indices))
        if len(next(iter(rows.values()), indices)) == len(indices):
            results.append({**rows, "index": indices})
        else:
            shard = Shard.of_blocks(local, len(indices), trainer.strategy.root_device)
            results.append(LocalRows({**rows, "index": indices[local.start : local.stop]}, shard))
    return results


def _check_finite(rows: dict[str, Tensor], indices: Tensor, total: int, name: str) -> None:
    """Refuse NaN and infinite rows, on every rank if they are on one. ``indices``: of the samples scored here."""
    for key, values in sorted(rows.items()):
        if not values.is_floating_point():
            continue
        told = gather_objects(indices[rows_not_finite(values)].tolist())
        found = list(dict.fromkeys(i for some in told for i in some))
        if found:
            what = "scores" if key == "score" else key
            raise ValueError(
                f"`{name}` gave NaN or infinite {what} for {len(found)} of {total} samples, dataset indices "
                f"{found[:10]}. Check these samples, and whether training diverged (lower the learning rate, clip "
                "gradients)."
            )


def _in_order(rows: dict[str, Tensor], n: int) -> dict[str, Tensor]:
    """Put gathered rows at their positions. Ranks that share a shard (tensor parallel ones) bring the same rows."""
    positions = rows.pop(POSITION)
    if torch.equal(positions, torch.arange(n)):
        return rows
    where = torch.full((n,), -1, dtype=torch.long)
    where[positions] = torch.arange(len(positions))
    if bool((where < 0).any()):
        raise RuntimeError(f"The processes scored {len(positions.unique())} of {n} candidates. This is a defect.")
    return {name: values[where] for name, values in rows.items()}
