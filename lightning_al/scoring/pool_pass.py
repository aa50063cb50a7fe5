"""The pool pass: what acquisitions need of each sample, in a known order, the same on every rank."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor

from lightning_al._compat import is_overridden
from lightning_al.acquisition.query import LocalRows, RowSource
from lightning_al.checks import kind_of, rows_not_finite
from lightning_al.data.for_trainer import ForTrainer
from lightning_al.data.samplers import BlockSampler
from lightning_al.data.scored_data import ScoredData
from lightning_al.distributed.randomness import Draws, draws_undone, seed_global
from lightning_al.distributed.ranks import gather_objects, gather_rows
from lightning_al.distributed.shard import Shard
from lightning_al.gradients.comparisons import scores_withdrawn
from lightning_al.inference.bars import naming
from lightning_al.inference.batches import copy_of
from lightning_al.inference.compiled import nothing_compiled, say_once_if_compiled
from lightning_al.inference.mode import own_train_undone
from lightning_al.inference.module_state import flags_kept, gradients_kept, modules_of
from lightning_al.inference.precision import FULL, OF_TRAINER, Lowered, full_precision, lower_forwards
from lightning_al.inference.replaced import replaced
from lightning_al.inference.shared_forward import SharedForward, sharing, sharing_of
from lightning_al.scoring.subject import Subject
from lightning_al.storage.rows import RowStore

PREDICT_HOOKS = (
    "configure_callbacks",
    "on_predict_model_eval",
    "on_predict_start",
    "on_predict_epoch_start",
    "on_predict_batch_start",
    "on_predict_batch_end",
    "on_predict_epoch_end",
    "on_predict_end",
)
"""What a module may do around its own predictions, which a pass of acquisitions is none of."""

POSITION = "position"  # in the candidate list; travels with the rows of a rank

WAY_OUT = (
    "Layers that also run over padding do this, where nobody knows of it. Let the model's `forward` take a mask (B, T) "
    "or the lengths (B,) of padded inputs; or name layers that come after the model's own pooling over positions "
    "(`features=`, or `loss_layers=` of a model that predicts its loss); or score samples one at a time, "
    "`pool_batch_size=1`."
)
"""What to do where rows of a sample depend on its batch."""

Check = Callable[[pl.LightningModule, Any], None]


def rows_of(
    subject: Subject,
    acquisition: RowSource,
    indices: Tensor,
    *,
    seed: int,
    gather: bool = False,
    check: bool = False,
    batch_size: int | None = None,
) -> dict[str, Tensor]:
    """Return the acquisition's rows of the samples of dataset ``indices``, in that order, and ``"index"``.

    Args:
        subject: What is scored, and by which Trainer.
        acquisition: Bound to its task. One that needs nothing of the samples gets their indices without a pass.
        indices: Dataset indices, the same on every rank.
        seed: Of whatever draws random numbers in the pass.
        gather: Whether the rows of all processes are put together in any case.
        check: Whether the task looks at each batch first and refuses what cannot work, for which there is a pass.
        batch_size: Samples of a batch; default as in every pass.
    """
    trainer, data = subject.trainer, subject.data
    scored = [acquisition] if acquisition.sees_samples else []
    if not scored and not check and (gather or acquisition.gathers):
        return {"index": indices}
    sampler = data.pool_pass(indices, acquisition.batch_multiple, batch_size)
    if not scored and not check:  # what comes from a file is dealt out too
        if sampler.num_replicas == 1:
            return {"index": indices}
        block = sampler.block
        shard = Shard.of_blocks(block, len(indices), trainer.strategy.root_device)
        return LocalRows({"index": indices[block.start : block.stop]}, shard)
    of_each = score_pool(
        trainer,
        subject.model,
        data,
        indices,
        acquisitions=scored,
        sampler=sampler,
        seed=seed,
        gather=gather,
        check=subject.task.check if check else None,
        precision=subject.pool_precision,
    )
    return of_each[0] if scored else {"index": indices}


def rows_of_each(
    subject: Subject, sources: Sequence[RowSource], indices: Tensor, *, seed: int, gather: bool = False
) -> list[dict[str, Tensor]]:
    """Return what :func:`rows_of` does of each of several sources, in as few passes over the samples as can be.

    Those whose batches are cut at the same multiples share a pass, and in it the forward passes of the model as it is.

    Args:
        subject: What is scored.
        sources: Bound to their task.
        indices: Dataset indices, the same on every rank.
        seed: Of whatever draws random numbers in a pass.
        gather: Whether the rows of all processes are put together in any case.
    """
    together: dict[int, list[int]] = {}
    for number, source in enumerate(sources):
        if source.sees_samples:
            together.setdefault(source.batch_multiple, []).append(number)
    made: dict[int, dict[str, Tensor]] = {}
    for multiple, numbers in together.items():
        of_each = score_pool(
            subject.trainer,
            subject.model,
            subject.data,
            indices,
            acquisitions=[sources[number] for number in numbers],
            sampler=subject.data.pool_pass(indices, multiple),
            seed=seed,
            gather=gather,
            precision=subject.pool_precision,
        )
        made.update(zip(numbers, of_each, strict=True))
    return [
        made[number] if number in made else rows_of(subject, source, indices, seed=seed, gather=gather)
        for number, source in enumerate(sources)
    ]


def score_pool(
    trainer: pl.Trainer,
    model: pl.LightningModule,
    data: ScoredData,
    indices: Tensor,
    *,
    acquisitions: Sequence[RowSource],
    sampler: BlockSampler,
    seed: int,
    gather: bool = True,
    check: Check | None = None,
    precision: str | int = FULL,
) -> list[dict[str, Tensor]]:
    """Run one predict pass and return each acquisition's rows.

    The pass goes through ``trainer.predict`` with the model's ``predict_step`` swapped, so that it works under any
    strategy and the user's batches, collate function and transfer hooks are untouched. Other callbacks do not see it,
    and nothing is left behind: train flags, gradients, hooks, buffers and the random state are as before.

    Of several acquisitions each gets the rows that it gets alone. One that draws random numbers, of which the others
    would then get other ones, is scored again in a pass of its own.

    Args:
        trainer: The user's Trainer.
        model: The user's module.
        data: Its ``predict_dataloader`` yields the samples of the sampler.
        indices: Dataset indices, the same on every rank.
        acquisitions: Those that share the pass.
        sampler: Which of them this rank sees.
        seed: Of whatever draws random numbers in the pass: augmentation, stochastic models.
        gather: Whether every rank gets all rows of acquisitions whose rows stay where they are (not ``gathers``).
        check: Called with the model and each batch first, to refuse what cannot work.
        precision: ``"trainer"``: the model makes forward passes in the Trainer's, but not for acquisitions that
            differentiate it. All else is computed in full precision.

    Returns:
        For each acquisition its rows by name, in the order of ``indices``, on the CPU, with ``"index"`` holding the
        dataset indices: all of them (of an acquisition that ``gathers``, on rank 0 only, and none on the others), or
        :class:`~lightning_al.acquisition.query.LocalRows`.

    Raises:
        ValueError: If rows are missing or surplus, or a score is NaN or infinite; the dataset indices are named.
    """
    collectors: list[_Collector] = []
    together = len(acquisitions) > 1
    shared = sharing_of(model) or (SharedForward(model) if together else None)

    lowered = Lowered(model, trainer.precision_plugin.forward_context)
    seen = indices[sampler.positions]
    batches = seen.split(data.pass_batch_size)

    def predict_step(batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> Tensor:
        if shared is not None:
            shared.begin_batch()
        for acquisition in acquisitions:
            acquisition.begin_batch(batches[batch_idx])
        looks: list[tuple[Check, bool]] = [] if check is None else [(check, False)]
        looks += [(c.add, precision == OF_TRAINER and not c.acquisition.differentiates) for c in collectors]
        for number, (look, lower) in enumerate(looks, 1):
            own = batch if number == len(looks) else copy_of(batch)  # a look may change its batch in place
            with full_precision(model.device.type), lower_forwards(lowered) if lower else contextlib.nullcontext():
                look(model, own)
        return torch.empty(0)  # None would make Lightning warn

    begins_anew = True
    while begins_anew:  # each time, a faster way to scores is taken no more
        collectors[:] = [
            _Collector(acquisition, len(sampler), data.called, may_draw=not together) for acquisition in acquisitions
        ]
        for acquisition in acquisitions:
            acquisition.begin_pass(seen)
        with pass_of_its_own(trainer, model, predict_step), draws_undone(), scores_withdrawn() as withdrawn:
            seed_global(seed, trainer.global_rank)
            with contextlib.nullcontext() if shared is None else sharing(shared):
                trainer.predict(model, datamodule=ForTrainer(data), return_predictions=False)
        begins_anew = any(gather_objects(bool(withdrawn)))

    def rows(collector: _Collector) -> dict[str, Tensor]:
        acquisition = collector.acquisition
        if together and any(gather_objects(collector.drew)):
            [own] = score_pool(
                trainer,
                model,
                data,
                indices,
                acquisitions=[acquisition],
                sampler=data.pool_pass(indices, acquisition.batch_multiple),
                seed=seed,
                gather=gather,
                precision=precision,
            )
            return own
        mine = collector.rows(sampler.block, indices)
        return _put_together(mine, acquisition, indices, trainer=trainer, sampler=sampler, gather=gather)

    return [rows(collector) for collector in collectors]


class _Collector:
    """The rows that one acquisition makes of the batches of a pass.

    Args:
        acquisition: Makes them.
        count: How many samples this rank sees.
        called: Says of samples, by number, what they are called.
        may_draw: Whether it may draw random numbers. If not, what it drew is undone, and no more rows are taken.
    """

    def __init__(
        self, acquisition: RowSource, count: int, called: Callable[[list[int]], str], *, may_draw: bool
    ) -> None:
        self.may_draw = may_draw
        self.drew = False
        """Whether it drew, though it may not."""
        self.acquisition = acquisition
        self.count = count
        self.called = called
        self.name = acquisition.name_in_errors
        self._stores: dict[str, RowStore] = {}
        self._shapes: dict[str, torch.Size] = {}

    def add(self, model: pl.LightningModule, batch: Any) -> None:
        """Take the rows of a batch."""
        if self.drew:
            return
        draws = None if self.may_draw else Draws()
        rows = self.acquisition.rows(model, batch)
        if draws is not None and draws.are_taken():
            draws.put_back()
            self.drew = True
            self._stores.clear()
            return
        if not isinstance(rows, dict):
            raise TypeError(f"`{self.name}.rows` must return a dict of tensors, got {kind_of(rows)}.")
        for name, values in rows.items():
            if not isinstance(values, Tensor) or values.ndim == 0:
                got = "a single number" if isinstance(values, Tensor) else f"a {type(values).__name__}"
                raise TypeError(f"`{self.name}` must give tensors with one row per sample, got {got} as {name!r}.")
            shape = self._shapes.setdefault(name, values.shape[1:])
            if values.shape[1:] != shape:
                raise ValueError(
                    f"`{self.name}` gave rows of shape {tuple(shape)} as {name!r} for one batch, and of shape "
                    f"{tuple(values.shape[1:])} for another. {WAY_OUT}"
                )
            self._stores.setdefault(name, RowStore(self.count)).add(values)

    def rows(self, block: range, indices: Tensor) -> dict[str, Tensor]:
        """Return the rows of this rank's samples by name, and refuse, on every rank, what cannot be theirs.

        Args:
            block: Their positions in ``indices``.
            indices: Dataset indices, of all ranks.
        """
        for key, store in self._stores.items():
            if key in ("index", POSITION):
                what = ", for the dataset indices" if key == "index" else ""
                raise ValueError(f'`{self.name}.rows` returned the key "{key}", which is reserved{what}.')
            if store.filled != self.count:
                raise ValueError(
                    f"`{self.name}.rows` returned {store.filled} values of {key!r} for {self.count} samples; it must "
                    "return one per sample of the batch, first dimension first."
                )
        rows = {key: store.rows()[: len(block)] for key, store in self._stores.items()}
        if "score" in rows and rows["score"].ndim != 1:
            shape = tuple(rows["score"].shape)
            raise ValueError(f"`{self.name}` must give one score per sample, (B,), got shape {shape}.")
        self._check_finite(rows, indices[block.start : block.stop], len(indices))
        return rows

    def _check_finite(self, rows: dict[str, Tensor], indices: Tensor, total: int) -> None:
        """Refuse NaN and infinite rows, on every rank if they are on one. ``indices``: of the samples scored here."""
        for key, values in sorted(rows.items()):
            if not values.is_floating_point():
                continue
            of_ranks = gather_objects(indices[rows_not_finite(values)].tolist())
            bad = list(dict.fromkeys(i for of_rank in of_ranks for i in of_rank))
            if bad:
                what = "scores" if key == "score" else key
                raise ValueError(
                    f"`{self.name}` gave NaN or infinite {what} for {len(bad)} of {total} samples, "
                    f"{self.called(bad[:10])}. Check these samples, and whether training diverged (lower the learning "
                    "rate, clip gradients)."
                )


@contextlib.contextmanager
def pass_of_its_own(
    trainer: pl.Trainer, model: pl.LightningModule, predict_step: Callable[..., Tensor]
) -> Iterator[None]:
    """Predict by this step inside, seen by progress bars alone; then model and Trainer are as they were.

    The module's own hooks around a prediction do not run: they expect what its own ``predict_step`` returns.
    """
    with contextlib.ExitStack() as stack:
        modules = modules_of(model)
        stack.enter_context(own_train_undone(model))  # Lightning sets flags back, and no more
        stack.enter_context(gradients_kept(model))  # Lightning clears them when it moves the module
        stack.enter_context(flags_kept(modules))  # Lightning leaves them in `eval()` after an error
        say_once_if_compiled(model, modules)
        stack.enter_context(nothing_compiled())  # compiled layers cannot be looked into
        stack.enter_context(replaced(model, "predict_step", predict_step))
        for hook in PREDICT_HOOKS:
            if is_overridden(hook, model):
                stack.enter_context(replaced(model, hook, functools.partial(_lightnings_own, hook, model)))
        bars = [c for c in trainer.callbacks if isinstance(c, ProgressBar)]
        stack.enter_context(replaced(trainer, "callbacks", [*bars, *naming(trainer)]))
        yield


def _lightnings_own(hook: str, model: pl.LightningModule, *args: Any) -> Any:
    """Call what Lightning's base class has for a hook that the user's module overrides."""
    return getattr(pl.LightningModule, hook)(model, *args)


def _put_together(
    rows: dict[str, Tensor],
    acquisition: RowSource,
    indices: Tensor,
    *,
    trainer: pl.Trainer,
    sampler: BlockSampler,
    gather: bool,
) -> dict[str, Tensor]:
    """Return all processes' rows where they are wanted, or this one's as :class:`LocalRows`, each with its index."""
    block, device = sampler.block, trainer.strategy.root_device
    if sampler.num_replicas > 1 and (gather or acquisition.gathers):
        keep = trainer.is_global_zero or not acquisition.gathers
        gathered = gather_rows({**rows, POSITION: torch.arange(block.start, block.stop)}, device, keep=keep)
        return {**_in_order(gathered, len(indices)), "index": indices} if keep else {"index": indices[:0]}
    if sampler.num_replicas == 1 or not rows:
        return {**rows, "index": indices}
    shard = Shard.of_blocks(block, len(indices), device)
    return LocalRows({**rows, "index": indices[block.start : block.stop]}, shard)


def _in_order(rows: dict[str, Tensor], n: int) -> dict[str, Tensor]:
    """Put gathered rows at their positions. Ranks that share a shard (tensor parallel ones) bring the same rows."""
    positions = rows.pop(POSITION)
    if torch.equal(positions, torch.arange(n)):
        return rows
    where = torch.full((n,), -1, dtype=torch.long)
    where[positions] = torch.arange(len(positions))
    if bool((where < 0).any()):
        raise RuntimeError(
            f"The processes scored {len(positions.unique())} of {n} candidates, although each had its part. Please "
            "report this, with the Trainer's strategy and number of devices; on one device (`devices=1`) the campaign "
            "goes on with `resume=True`."
        )
    return {name: values[where] for name, values in rows.items()}
