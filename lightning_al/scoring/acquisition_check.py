"""An acquisition of one's own, tried on a few samples: whether it keeps to what a campaign relies on."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.query import Rows
from lightning_al.checks import Findings, check_count, check_that, check_type
from lightning_al.distributed.randomness import Draws, draws_undone, seed_global
from lightning_al.inference.module_state import flags_kept, gradients_kept, modules_of, weights_kept
from lightning_al.inference.trainer import quiet_trainer
from lightning_al.scoring.company import largest_difference
from lightning_al.scoring.pick import check_positions
from lightning_al.scoring.subject import check_model
from lightning_al.scoring.without_campaign import score
from lightning_al.tasks.base import Task
from lightning_al.tasks.classification import ClassificationTask
from lightning_al.words import cut, shown

_LABELLED_SHARE = 4  # one of so many samples is labelled already

_BATCH_SIZES = (8, 3)  # neither divides the other, so that neighbours are others


def check_acquisition(
    acquisition: Acquisition,
    model: pl.LightningModule,
    dataset: Dataset | DataLoader,
    *,
    task: Task | None = None,
    k: int = 5,
) -> None:
    """Try an acquisition of one's own, and refuse what a campaign could not rely on; all findings in one error.

    Copies of it score the samples and pick some of them, six times, on the CPU: again, with the global generators
    elsewhere, a second time with the same object, in other batches, all samples, and under other labels. It must pick
    the same, ``k`` distinct samples, from finite scores; draw in ``select``, from ``generator``, alone; make of a
    sample the same whatever its neighbours in the batch are; leave labels alone that nobody told; and leave the model
    as it was in each call. The first quarter of the samples is labelled already, for acquisitions that look at such.

    Args:
        acquisition: Yours. It is not used itself, nor changed.
        model: Any that it can score; it need not be trained. It is as it was afterwards.
        dataset: A few dozen samples, with labels if they are to be exchanged, as
            ``torch.utils.data.Subset(train_set, range(40))``; or a loader of such, for its collate function.
        task: What a batch means. Default: :class:`~lightning_al.tasks.ClassificationTask`.
        k: How many are picked; less than three quarters of the samples.

    Raises:
        TypeError: If an argument, or what the acquisition returns, is of the wrong kind.
        ValueError: If the acquisition does not keep to this, with each finding; or cannot be tried without a campaign,
            as ``QueryByCommittee``, which fits the model again.

    Example:
        >>> from lightning_al.acquisition import Entropy
        >>> from lightning_al.zoo import Classifier
        >>> class Hasty(Entropy):
        ...     def select(self, rows, k, *, labelled_rows, generator):
        ...         return torch.randperm(len(rows["score"]))[:k]
        >>> model = Classifier(torch.nn.Linear(4, 3), num_classes=3)
        >>> samples = torch.utils.data.TensorDataset(torch.randn(40, 4), torch.arange(40) % 3)
        >>> check_acquisition(Entropy(), model, samples)
        >>> check_acquisition(Hasty(), model, samples)
        Traceback (most recent call last):
        ...
        ValueError: `Hasty.select` draws from a global generator (of torch, NumPy or Python), so that a campaign ...
    """
    task = ClassificationTask() if task is None else task
    with Findings() as findings:
        findings.of(check_type, "acquisition", acquisition, Acquisition, "an acquisition, as `Entropy()`")
        findings.of(check_model, model)
        samples = dataset.dataset if isinstance(dataset, DataLoader) else dataset
        is_map = hasattr(samples, "__getitem__") and hasattr(samples, "__len__")
        findings.of(check_that, is_map, "dataset", dataset, "a map-style dataset, or a `DataLoader` of one")
        findings.of(check_type, "task", task, Task, "a `Task`")
        findings.of(check_count, "k", k)
    with (
        Findings() as findings,
        draws_undone(),
        weights_kept(model),
        flags_kept(modules_of(model)),
        gradients_kept(model),
    ):
        _Trial(acquisition, model, dataset, task, k, findings).run()


@dataclass
class _Outcome:
    """What came of one run: the picks, None where they were refused, and what they were chosen by."""

    picks: list[int] | None = None
    rows: Rows = field(default_factory=dict)


@dataclass
class _Trial:
    acquisition: Acquisition
    model: pl.LightningModule
    source: Dataset | DataLoader
    task: Task
    k: int
    findings: Findings

    def __post_init__(self) -> None:
        self.name = type(self.acquisition).__name__
        self._said: set[str] = set()
        self._draws = False

    def run(self) -> None:
        """Run the acquisition in several ways, and take note of what differs."""
        samples = self._samples
        count = len(samples)  # type: ignore[arg-type]
        self._labelled = list(range(count // _LABELLED_SHARE))
        one, first = self._copy(), None
        with self.findings.of_block():
            first = self._pick(one)
        if first is None:
            return  # what follows would fail likewise
        other = self._try("where the global generators stand elsewhere", self._copy(), draws=1)
        is_repeatable = not _differ(first, other)
        if not is_repeatable and not self._draws:
            self._say(
                f"`{self.name}` picks others in a second run with the same seed. All that is drawn must come from "
                "`generator` (`select`) or `query.seed` (`learn`): no global generator, and none without a seed."
            )
        if is_repeatable and _differ(first, self._try("when it is used a second time", one)):
            self._say(
                f"`{self.name}` picks others when the same object is used a second time, from the same samples with "
                "the same seed: it keeps something of the first. A killed campaign goes on with a new object, so keep "
                "nothing on `self`, or make it anew in `learn`; draw from `generator`."
            )
        self._in_other_batches(first)
        self._try("where all are picked", self._copy(), k=count - len(self._labelled))
        self._under_other_labels(first)

    def _in_other_batches(self, first: _Outcome) -> None:
        other = self._try("in other batches", self._copy(), batch_size=_BATCH_SIZES[1], chosen_by=first.rows)
        if other is None:
            return
        worst = largest_difference(dict(first.rows), dict(other.rows))
        if worst is not None:
            self._say(
                f"What `{self.name}` makes of a sample depends on its batch: in batches of {_BATCH_SIZES[0]} and of "
                f"{_BATCH_SIZES[1]} its rows differ by up to {worst:.1%} of the largest, and so will picks on another "
                "machine. Compare samples with each other in `select`, which sees all of them, and draw nothing in "
                "`rows` or `score_batch`; if it is the model that draws or looks at its batch in `eval()`, mend that."
            )
        elif _differ(first, other):
            self._say(
                f"`{self.name}.select` picks others from the same rows when they came in other batches: it keeps "
                "something of the pass on `self`."
            )

    def _under_other_labels(self, first: _Outcome) -> None:
        samples = _Exchanged(self._samples, self.task, len(self._labelled))
        try:
            samples[len(samples) - 1]
        except Exception:  # whatever samples without labels raise
            return
        source: Any = samples
        if isinstance(self.source, DataLoader):
            source = DataLoader(samples, collate_fn=self.source.collate_fn)
        other = self._try("under other labels", self._copy(), source=source)
        if other is not None and (_differ(first, other) or largest_difference(dict(first.rows), dict(other.rows))):
            self._say(
                f"`{self.name}` looks at the labels of samples that nobody has labelled: with theirs exchanged for "
                "others, rows or picks are others. In `rows` and `score_batch` take `self.task.inputs(batch)`; "
                "labelled samples come to `learn`, and to `select` where `uses_labelled = True`."
            )

    @property
    def _samples(self) -> Any:
        return self.source.dataset if isinstance(self.source, DataLoader) else self.source

    # -- a run -----------------------------------------------------------------------------------------------------

    def _copy(self) -> Acquisition:
        try:
            return copy.deepcopy(self.acquisition)
        except Exception as error:
            self._say(
                f"`{self.name}` cannot be copied (`copy.deepcopy`: {cut(error)}), and races and processes need copies. "
                "Keep no generators of Python's, open files or locks on `self`."
            )
            return self.acquisition

    def _try(self, when: str, acquisition: Acquisition, **options: Any) -> _Outcome | None:
        """Run it, and take note of what it raises where the first run raised nothing."""
        try:
            return self._pick(acquisition, **options)
        except Exception as error:
            self._say(f"`{self.name}` fails {when}: {type(error).__name__}: {cut(error)}")
            return None

    def _pick(
        self,
        acquisition: Acquisition,
        *,
        k: int | None = None,
        batch_size: int = _BATCH_SIZES[0],
        draws: int = 0,
        source: Any = None,
        chosen_by: Rows | None = None,
    ) -> _Outcome:
        """Let an acquisition pick once.

        Args:
            acquisition: One of the copies.
            k: How many; default as the user said.
            batch_size: Of the pass.
            draws: Where the global generators stand.
            source: The samples; default the user's.
            chosen_by: Rows to select by instead of those that it makes, where these are nearly the same, so that picks
                do not differ by rounding.
        """
        outcome = _Outcome()
        seed_global("check_acquisition", draws)
        before = _State(self.model)
        with self._watched(acquisition, outcome, chosen_by):
            score(
                self.model,
                self.source if source is None else source,
                acquisition,
                self.k if k is None else k,
                task=self.task,
                labelled=self._labelled,
                batch_size=batch_size,
                trainer=quiet_trainer("cpu"),
            )
        self._say_changed(before, "learn")
        return outcome

    @contextlib.contextmanager
    def _watched(self, acquisition: Acquisition, outcome: _Outcome, chosen_by: Rows | None) -> Iterator[None]:
        """Look at each call of ``rows`` and of ``select``."""
        rows_of, select_of = acquisition.rows, acquisition.select

        def rows(model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
            before, draws = _State(model), Draws()
            made = rows_of(model, batch)
            if draws.are_taken():
                self._draws = True
                self._say(
                    f"`{self.name}` draws from a global generator (of torch, NumPy or Python) in `rows` or "
                    "`score_batch`, or the model does in `eval()`: with other batches, or on another number of "
                    "processes, samples would get other draws. Draw in `select`, from `generator`."
                )
            self._say_changed(before, "rows` or `score_batch")
            return made

        def select(rows: Rows, k: int, **others: Any) -> Any:
            outcome.rows = rows
            if chosen_by is not None and largest_difference(dict(chosen_by), dict(rows)) is None:
                rows = chosen_by
            before = Draws()
            positions = select_of(rows, k, **others)
            if before.are_taken():
                self._draws = True
                self._say(
                    f"`{self.name}.select` draws from a global generator (of torch, NumPy or Python), so that a "
                    "campaign that is killed and goes on would pick others. Draw from `generator`, as "
                    "`torch.randperm(n, generator=generator)`."
                )
            try:
                chosen = check_positions(positions, k, len(rows["index"]), acquisition)
            except (TypeError, ValueError) as error:
                self._say(str(error), type(error))
                return torch.arange(k)
            outcome.picks = chosen.tolist()
            return chosen

        own = dict(vars(acquisition))
        acquisition.rows, acquisition.select = rows, select  # type: ignore[method-assign]
        try:
            yield
        finally:
            for name in ("rows", "select"):
                delattr(acquisition, name)
                if name in own:
                    setattr(acquisition, name, own[name])

    def _say_changed(self, before: "_State", method: str) -> None:
        changed = before.changed()
        if changed:
            self._say(
                f"`{self.name}` leaves the model other than it was in `{method}`: {changed}. Work on a copy, or put "
                "back what you change; gradients come from `lightning_al.functional`, which leaves nothing behind."
            )

    def _say(self, message: str, kind: type[Exception] = ValueError) -> None:
        """Take note once of what is said in several runs."""
        if message not in self._said:
            self._said.add(message)
            self.findings.errors.append(kind(message))


class _State:
    """What a call must leave of a model: values, flags and gradients."""

    def __init__(self, model: pl.LightningModule) -> None:
        self._model = model
        self._before = self._now()

    def _now(self) -> dict[str, dict[str, Any]]:
        model = self._model
        parameters = dict(model.named_parameters())
        return {
            "parameters": {name: p.detach().clone() for name, p in parameters.items()},
            "buffers": {name: b.detach().clone() for name, b in model.named_buffers()},
            "gradients": {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None},
            "`requires_grad` of": {name: p.requires_grad for name, p in parameters.items()},
            "`training` of": {name or "the model": m.training for name, m in model.named_modules()},
        }

    def changed(self) -> str:
        """Return what differs from before, by name; nothing where all is as it was."""
        now, parts = self._now(), []
        for kind, before in self._before.items():
            after = now[kind]
            names = [
                name
                for name in {**before, **after}
                if name not in before or name not in after or not _are_equal(before[name], after[name])
            ]
            if names:
                parts.append(f"{kind} {shown(names[0])}{f' and {len(names) - 1} more' * (len(names) > 1)}")
        return ", ".join(parts)


class _Exchanged(Dataset):
    """Samples of which those that are not labelled have each other's labels."""

    def __init__(self, samples: Any, task: Task, labelled: int) -> None:
        self._samples, self._task, self._labelled = samples, task, labelled

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Any:
        sample, first = self._samples[index], self._labelled
        if index < first:
            return sample
        count = len(self) - first
        other = self._samples[first + (index - first + count // 2) % count]
        return self._task.with_label(sample, self._task.targets(other))


def _differ(one: _Outcome, other: _Outcome | None) -> bool:
    """Whether both picked, and others."""
    return other is not None and None not in (one.picks, other.picks) and one.picks != other.picks


def _are_equal(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor):
        return bool(one == other)
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
