"""A campaign that kept its weights, as it is looked at: its model as each round left it, and its samples."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.campaign.campaign import Campaign
from lightning_al.checks import check_count
from lightning_al.data.collate import CollateWithoutTargets
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.readable import NamedSamples
from lightning_al.data.views import LabelledView
from lightning_al.fitting.beside_weights import BesideWeights, put_changes
from lightning_al.oracle.truth import Truth
from lightning_al.report.diagnostics.curvature import Batches
from lightning_al.report.diagnostics.rounds import KeptRound
from lightning_al.storage.blobs import as_read
from lightning_al.storage.weights import plain_name, put_weights
from lightning_al.tasks.base import Task
from lightning_al.tasks.ignored import may_be_ignored
from lightning_al.words import shown

KEPT_BYTES = 2**28
"""Of batches up to which they are kept for the next pass over them."""


class SampleBatches:
    """Batches of samples that may be gone through several times; few are kept, others are read again.

    Args:
        read: Gives a pass over them.
        limit: Bytes up to which they are kept.
    """

    def __init__(self, read: Callable[[], Iterator[tuple[Any, Any]]], limit: int | None = None) -> None:
        self.read = read
        self.limit = KEPT_BYTES if limit is None else limit
        self._kept: list[tuple[Any, Any]] | None = None

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        if self._kept is not None:
            yield from self._kept
            return
        seen: list[tuple[Any, Any]] = []
        held = 0
        for batch in self.read():
            held += sum(t.nbytes for t in pytree.tree_leaves(batch) if isinstance(t, Tensor))
            if held <= self.limit:
                seen.append(batch)
            else:
                seen.clear()
            yield batch
        if held <= self.limit:
            self._kept = seen


@dataclass(frozen=True)
class KeptCampaign:
    """A campaign that is open to be looked at; :func:`~.opening.open_campaign` makes it.

    Args:
        name: In tables and pictures.
        dirpath: Its folder.
        model: The user's; :meth:`at` gives it the weights of a round.
        data: The user's samples.
        task: What a batch means.
        ledger: Read only.
        rounds: Those to be looked at, all with weights.
        all_rounds: All that were fitted.
        device: Where the model is.
        before: What the module held beside its weights before any fit.
        truth: Where the campaign's simulated oracle has its labels from; None: the data have them.
    """

    name: str
    dirpath: Path
    model: pl.LightningModule
    data: ActiveDataModule
    task: Task
    ledger: Campaign
    rounds: Sequence[KeptRound]
    all_rounds: Sequence[KeptRound]
    device: torch.device
    before: BesideWeights
    truth: Truth | None = None

    @property
    def followed(self) -> list[tuple[KeptRound, KeptRound]]:
        """The rounds that picked something and are followed by one that is looked at too, each with that one."""
        pairs = itertools.pairwise(self.rounds)
        return [(now, then) for now, then in pairs if then.number == now.number + 1 and len(now.picked)]

    def at(self, round: KeptRound) -> pl.LightningModule:
        """Return the model as a round left it: weights, buffers, what the fit changed beside them, and what is frozen.

        Raises:
            ValueError: If the weights are another model's.
        """
        path = round.file
        state = None if path is None else self.ledger.states.load(str(path.relative_to(self.dirpath)))
        if path is None or state is None:
            raise ValueError(f"The weights of round {round.number} in {self.dirpath} are gone.")
        put_weights(self.model, state["state_dict"], path)
        self.before.put_back()
        put_changes(self.model, state.get("beside", {}))
        frozen = state.get("frozen")
        for name, parameter in self.model.named_parameters():
            if frozen is not None:
                parameter.requires_grad_(plain_name(name) not in frozen)
        self.model.eval()
        return self.model

    # -- samples ---------------------------------------------------------------------------------------------------

    def trained_on(self, round: KeptRound) -> Tensor:
        """Return the numbers of the samples that a round trained on, those known beside the pool first."""
        return torch.cat([self.data.samples.known_indices, round.labelled])

    def batches(self, indices: Tensor, *, labels: bool) -> SampleBatches:
        """Return samples as they are scored, without augmentation, in the order of their numbers.

        Args:
            indices: Their numbers, (N,).
            labels: Whether they come with their labels: those that were told, or else what the oracle would say.
        """
        return SampleBatches(functools.partial(self._read, indices, labels))

    def _read(self, indices: Tensor, labels: bool) -> Iterator[tuple[Any, Any]]:
        data, task = self.data, self.task
        put_in = self._labels_to_put_in(indices) if labels else {}
        view = LabelledView(NamedSamples(data.pool_set, task), indices, put_in, task)
        loader = data.template.loader(
            view,
            batch_size=data.scoring_batch_size,
            drop_last=False,
            persistent_workers=False,
            collate_fn=CollateWithoutTargets(data.template.collate_fn),
            generator=torch.Generator(),
        )
        for batch in loader:
            batch = data.to_device(batch, self.model, self.device)
            yield self._pair(batch, labels=labels)

    def _labels_to_put_in(self, indices: Tensor) -> dict[int, Any]:
        pool = self.data.samples.pool
        told = dict(self.data.told_labels)
        wanted = indices.tolist()
        is_hidden = pool.pool_set is not pool.label_set and pool.pool_set is not pool.train_set  # its targets may be
        own = self._true_label if self.truth is not None else pool.own_label if is_hidden else None
        if own is not None:
            missing = [i for i in wanted if i < self.data.samples.size and i not in told]
            try:
                told |= {i: own(i) for i in missing}
            except (TypeError, ValueError) as error:
                raise _no_labels(error) from None
        return {i: told[i] for i in wanted if i in told}

    def _true_label(self, index: int) -> Any:
        assert self.truth is not None
        return as_read(self.task.encode_label(self.truth.label(index)))

    def _pair(self, batch: Any, *, labels: bool) -> tuple[Any, Any]:
        inputs = self.task.held(self.model, self.task.inputs(batch))
        if not labels:
            return inputs, None
        try:
            return inputs, self.task.known_targets(batch)
        except ValueError as error:
            raise _no_labels(error) from None

    def held_out(self, limit: int | None = None) -> SampleBatches:
        """Return the samples that the campaign was evaluated on, with their labels: about the first ``limit``.

        The last batch is cut where its inputs and targets are tensors.

        Raises:
            ValueError: If it was evaluated on nothing.
        """
        check_count("limit", limit, optional=True)
        stage = self.ledger.options.get("evaluate")
        if stage is None:
            raise ValueError(
                f"The campaign in {self.dirpath} was evaluated on nothing: the loop was passed `evaluate=None`. Pass "
                '`evaluate="validate"` or `"test"`, also to go on with it.'
            )
        return SampleBatches(functools.partial(self._read_held_out, stage, limit))

    def _read_held_out(self, stage: str, limit: int | None) -> Iterator[tuple[Any, Any]]:
        hook = "test_dataloader" if stage == "test" else "val_dataloader"
        loaders = CombinedLoader(getattr(self.data.datamodule, hook)(), "sequential")  # as the Trainer's
        left = limit
        for batch, *_ in loaders:
            batch = self.data.to_device(batch, self.model, self.device)
            inputs, targets = self._pair(batch, labels=True)
            if left is None:
                yield inputs, targets
                continue
            leaves, form = pytree.tree_flatten((inputs, targets))
            sizes = {len(leaf) if isinstance(leaf, Tensor) and leaf.ndim else None for leaf in leaves}
            if len(sizes) == 1 and None not in sizes:  # others are not cut
                inputs, targets = pytree.tree_unflatten([leaf[:left] for leaf in leaves], form)
            yield inputs, targets
            left -= max(size or 1 for size in sizes)
            if left <= 0:
                return

    def class_names(self, count: int) -> list[str]:
        """Return what classes are called: as the ledger says, else by their numbers."""
        said = self.ledger.annotations.get("classes") or []
        return [str(said[number]) if number < len(said) else str(number) for number in range(count)]

    # -- what the task says ----------------------------------------------------------------------------------------

    def check_gives(self, what: str, *words: str) -> None:
        """Refuse a task that has not what a diagnosis needs.

        Raises:
            ValueError: Naming both.
        """
        missing = [word for word in words if word not in self.task.gives]
        if missing:
            name = type(self.task).__name__
            raise ValueError(f"{what} needs {missing[0]}, which a {name} has not: it is for tasks with class scores.")

    @property
    def how(self) -> dict[str, Any]:
        """How the model is called, and which labels are its own."""
        return {"forward": self.task.logits, "target_fn": self.task.pseudo_targets}

    def loss_of(self, batches: Batches) -> Callable[[Any, Any], Tensor]:
        """Return the loss of each sample under its target, (B,), where some decisions of a sample may have none."""
        first = next(iter(batches))
        return self.task.loss_of_known if may_be_ignored(first[1]) else self.task.loss


def checked(campaigns: Sequence[KeptCampaign], what: str, *words: str) -> Sequence[KeptCampaign]:
    """Return campaigns that a diagnosis can be of, or refuse them before any is looked at.

    Args:
        campaigns: Open ones.
        what: Is shown of them.
        *words: What their tasks must give for it.

    Raises:
        ValueError: If a task has not what it takes, or two campaigns have one name, which would be one in the table.
    """
    folders: dict[str, list[str]] = {}
    for campaign in campaigns:
        campaign.check_gives(what, *words)
        folders.setdefault(campaign.name, []).append(str(campaign.dirpath))
    for name, alike in folders.items():
        if len(alike) > 1:
            raise ValueError(
                f"Campaigns called {shown(name)} would be taken for one: {', '.join(alike)}. Open them under names of "
                "their own: `open_campaign(..., name=...)`."
            )
    return campaigns


def _no_labels(error: Exception) -> ValueError:
    return ValueError(
        f"This needs the labels of samples that nobody labelled, which only a simulated campaign has: {error}"
    )
