"""The pool pass: what acquisitions need of each sample, in a known order, the same on every rank."""

from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lightning_al.acquisition.query import LocalRows, Scorer
from lightning_al.checks import kind_of, rows_not_finite
from lightning_al.data.samplers import BlockSampler
from lightning_al.distributed.randomness import seed_global
from lightning_al.distributed.ranks import gather_objects, gather_rows
from lightning_al.distributed.shard import Shard
from lightning_al.loop.project import Project
from lightning_al.storage.rows import RowStore

NOT_OF_THE_PASS = {"classes", "labels"}
"""What an acquisition may require that does not come from a pass over samples."""

POSITION = "position"  # in the candidate list; travels with the rows of a rank


def score_pool(
    trainer: pl.Trainer,
    model: pl.LightningModule,
    datamodule: pl.LightningDataModule,
    indices: Tensor,
    acquisitions: Sequence[Scorer],
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
        :class:`~lightning_al.acquisition.query.LocalRows`.

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


def score(
    project: Project,
    acquisition: Scorer,
    indices: Tensor,
    *,
    seed: int,
    gather: bool = False,
    check: bool = False,
) -> dict[str, Tensor]:
    """Return the acquisition's rows of dataset ``indices``, in that order, as :func:`score_pool` does.

    ``gather`` puts the rows of all processes together in any case; ``check`` refuses what cannot work.
    """
    trainer, data = project.trainer, project.data
    scored = [acquisition] if acquisition.requires - NOT_OF_THE_PASS else []
    if not scored and not check and (gather or acquisition.gathers):
        return {"index": indices}
    sampler = data.pool_pass(indices, acquisition.batch_multiple)
    if not scored and not check:  # what comes from a file is dealt out too
        if sampler.num_replicas == 1:
            return {"index": indices}
        block = sampler.block
        shard = Shard.of_blocks(block, len(indices), trainer.strategy.root_device)
        return LocalRows({"index": indices[block.start : block.stop]}, shard)
    found = score_pool(
        trainer,
        project.model,
        data,
        indices,
        scored,
        sampler=sampler,
        seed=seed,
        gather=gather,
        check=project.task.check if check else None,
    )
    return found[0] if scored else {"index": indices}
