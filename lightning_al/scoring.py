"""The pool pass: what acquisitions need of each sample, in a known order, the same on every rank."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from lightning_al.acquisition.base import Acquisition
from lightning_al.distributed import gather_rows
from lightning_al.randomness import seed_global

POSITION = "position"  # in the candidate list; travels with the rows of a rank


class BlockSampler(DistributedSampler):
    """Deals a list out to ranks in contiguous blocks, cut only at multiples of ``multiple``.

    Lightning leaves a ``DistributedSampler`` alone, while its default deals rows out one by one, which would tear
    groups apart and needs re-ordering. Every position goes to exactly one rank.

    Args:
        dataset: Anything with a length.
        multiple: Blocks begin at multiples of this.
        num_replicas: Number of ranks.
        rank: This rank.

    Example:
        >>> [list(BlockSampler(range(7), multiple=2, num_replicas=2, rank=r)) for r in (0, 1)]
        [[0, 1, 2, 3], [4, 5, 6]]
    """

    def __init__(self, dataset: Dataset | Sequence, *, multiple: int, num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        n = len(dataset)  # type: ignore[arg-type]
        groups = -(-n // multiple)
        cuts = [min(-(-groups * r // num_replicas) * multiple, n) for r in (rank, rank + 1)]
        self.block = range(*cuts)

    def __iter__(self) -> Iterator[int]:
        return iter(self.block)

    def __len__(self) -> int:
        return len(self.block)


def score_pool(
    trainer: pl.Trainer,
    model: pl.LightningModule,
    datamodule: pl.LightningDataModule,
    indices: Tensor,
    acquisitions: Sequence[Acquisition],
    *,
    sharded: bool,
    local: range,
    seed: int,
    check: Callable[[pl.LightningModule, Any], None] | None = None,
) -> list[dict[str, Tensor]]:
    """Run one predict pass and return each acquisition's rows.

    The pass goes through ``trainer.predict`` with the model's ``predict_step`` swapped, so that it works under any
    strategy and the user's batches, collate function and transfer hooks are untouched. Other callbacks do not see it,
    and nothing is left behind: train flags, gradients, hooks, buffers and the random state are as before.

    Args:
        trainer: The user's Trainer.
        model: The user's module.
        datamodule: Its ``predict_dataloader`` yields the samples ``indices[local]``, in that order.
        indices: Dataset indices, the same on every rank.
        acquisitions: Those that share the pass.
        sharded: Whether each rank sees a part; else every rank sees all.
        local: The positions this rank sees.
        seed: Of whatever draws random numbers in the pass: augmentation, stochastic models.
        check: Called with the model and each batch first, to refuse what cannot work.

    Returns:
        For each acquisition its rows by name, in the order of ``indices``, on the CPU, the same on every rank, with
        ``"index"`` holding the dataset indices.

    Raises:
        ValueError: If rows are missing or surplus, or a score is NaN or infinite; the dataset indices are named.
    """
    collected: list[dict[str, list[Tensor]]] = [{} for _ in acquisitions]

    def predict_step(batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Tensor:
        if check is not None:
            check(model, batch)
        for acquisition, store in zip(acquisitions, collected, strict=True):
            for name, values in acquisition.rows(model, batch).items():
                if not isinstance(values, Tensor) or values.ndim == 0:
                    who = type(acquisition).__name__
                    got = "a single number" if isinstance(values, Tensor) else f"a {type(values).__name__}"
                    raise TypeError(f"`{who}` must give tensors with one row per sample, got {got} as {name!r}.")
                # Copied: outputs of a predict pass are inference tensors, of no use to autograd later.
                with torch.inference_mode(False):
                    store.setdefault(name, []).append(values.detach().to("cpu", copy=True))
        return torch.empty(0)  # None would make Lightning warn

    shadowed = model.__dict__.get("predict_step")
    callbacks = trainer.callbacks
    grads = [(p, p.grad) for p in model.parameters()]
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
        del model.predict_step
        if shadowed is not None:
            model.predict_step = shadowed

    results = []
    for acquisition, store in zip(acquisitions, collected, strict=True):
        rows = {name: torch.cat(parts) for name, parts in store.items()}
        name = type(acquisition).__name__
        for key, values in rows.items():
            if key == "index":
                raise ValueError(f'`{name}.rows` returned the key "index", which is reserved for the dataset indices.')
            if key == POSITION:
                raise ValueError(f'`{name}.rows` returned the key "{POSITION}", which is reserved.')
            if len(values) != len(local):
                raise ValueError(
                    f"`{name}.rows` returned {len(values)} values of {key!r} for {len(local)} samples; it must return "
                    "one per sample of the batch, first dimension first."
                )
        if sharded:
            rows[POSITION] = torch.tensor(local, dtype=torch.long)
            rows = _in_order(gather_rows(rows, trainer.strategy.root_device), len(indices))
        rows["index"] = indices
        scores = rows.get("score")
        if scores is not None:
            if scores.ndim != 1:
                raise ValueError(f"`{name}` must give one score per sample, (B,), got shape {tuple(scores.shape)}.")
            bad = ~torch.isfinite(scores)
            if bool(bad.any()):
                raise ValueError(
                    f"`{name}` gave NaN or infinite scores for {int(bad.sum())} of {len(scores)} samples, dataset "
                    f"indices {indices[bad][:10].tolist()}. Check these samples, and whether training diverged (lower "
                    "the learning rate, clip gradients)."
                )
        results.append(rows)
    return results


def _in_order(rows: dict[str, Tensor], n: int) -> dict[str, Tensor]:
    """Put gathered rows at their positions. Ranks that share a shard (tensor parallel ones) bring the same rows."""
    positions = rows.pop(POSITION)
    where = torch.full((n,), -1, dtype=torch.long)
    where[positions] = torch.arange(len(positions))
    if bool((where < 0).any()):
        raise RuntimeError(f"The processes scored {len(positions.unique())} of {n} candidates. This is a defect.")
    return {name: values[where] for name, values in rows.items()}
