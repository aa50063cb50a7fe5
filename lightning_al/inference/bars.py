"""What a run is at, shown in the Trainer's own progress bar, whatever that is."""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar, TQDMProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightning_al import _compat
from lightning_al.stages import Stage, heard, present_stage

SAY_AFTER = 60.0
"""Seconds after which a stage gets a line where a bar cannot be written anew, as in a file."""

_REFRESH_EVERY = 0.1  # seconds
_BESIDE = 60  # columns of a bar beside its text


def naming(trainer: pl.Trainer) -> list[Callback]:
    """Return what gives a Trainer's bar the words of the stage, to stand behind its callbacks; nothing without a bar.

    A full bar makes room for the next, unless it was made with ``leave=True``.
    """
    return [] if trainer.progress_bar_callback is None else [_Naming()]


@contextlib.contextmanager
def steps_shown(trainer: pl.Trainer, model: pl.LightningModule) -> Iterator[None]:
    """Inside, where the Trainer does not run, its bar shows the stage, and how many of its steps are done."""
    bar = _bar_of(trainer)
    if bar is None:
        yield
        return
    steps = _Steps(bar, model)
    try:
        with heard(steps.tell):
            yield
    finally:
        steps.end()


class _Naming(_compat.NoStepHooks, Callback):
    """Gives the bars of a Trainer the words of :func:`~lightning_al.stages.present_stage`."""

    on_predict_batch_start: Any = None

    def __init__(self) -> None:
        self._bar: _Bar | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin, behind the bar's own ``setup``, which turns it off in all processes but the first."""
        self._bar = _bar_of(trainer)
        if self._bar is not None:
            self._bar.begin()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the bar as it was."""
        if self._bar is not None:
            self._bar.end()
            self._bar = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the bar as it was; there is no ``teardown`` after an error."""
        self.teardown(trainer, pl_module, "")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take note of a batch."""
        if self._bar is not None:
            self._bar.at(batch_idx + 1, trainer.num_training_batches)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take note of a batch."""
        if self._bar is not None:
            self._bar.at(batch_idx + 1, trainer.num_predict_batches[dataloader_idx])


class _Steps:
    """Steps of one stage on a bar, which appears with the first.

    Args:
        bar: Of a Trainer that does not run.
        model: That Trainer's.
    """

    def __init__(self, bar: "_Bar", model: pl.LightningModule) -> None:
        self.bar = bar
        self.model = model
        self.is_open = False
        self.due = 0.0

    def tell(self, done: int, total: int) -> None:
        """Take note of how many steps are done; of others that begin, where none is."""
        now = time.monotonic()
        if done == 0:
            self.end()
            self.bar.open(self.model, total)
            self.is_open = True
        elif done == total or now >= self.due:
            self.bar.step(done, total)
            self.due = now + _REFRESH_EVERY

    def end(self) -> None:
        """Take the bar away."""
        if self.is_open:
            self.bar.close()
            self.is_open = False


class _Bar:
    """A progress bar of which nothing is known: stages are printed.

    Args:
        bar: The callback.
        trainer: Its Trainer.
    """

    def __init__(self, bar: Any, trainer: pl.Trainer) -> None:
        self.bar = bar
        self.trainer = trainer
        self.stage = present_stage()

    @property
    def stage_of_fit(self) -> Stage:
        """The stage with the epoch, unless there is one epoch alone."""
        most = self.trainer.max_epochs
        if most == 1:
            return self.stage
        of_all = f"/{most}" if most is not None and most > 0 else ""
        return Stage((*self.stage.words, f"epoch {self.trainer.current_epoch + 1}{of_all}"), self.stage.until)

    def begin(self) -> None:
        """Begin with a run of the Trainer."""
        self.bar.print(str(self.stage))

    def at(self, done: float, total: float) -> None:
        """Take note of how many batches of an epoch or a pass are done."""

    def end(self) -> None:
        """End with a run of the Trainer, and leave the bar as it was."""

    def open(self, model: pl.LightningModule, total: int) -> None:
        """Begin with steps where the Trainer does not run."""
        self.begin()

    def step(self, done: int, total: int) -> None:
        """Show how many steps are done."""

    def close(self) -> None:
        """End with steps."""


class _Tqdm(_Bar):
    _MAKING = ("init_train_tqdm", "init_validation_tqdm", "init_test_tqdm", "init_predict_tqdm")

    def begin(self) -> None:
        """Have the bars that are made from here on keep to our words."""
        for name in self._MAKING:
            setattr(self.bar, name, self._named(getattr(self.bar, name), in_fit=name == "init_train_tqdm"))

    def _named(self, make: Any, *, in_fit: bool) -> Any:
        def made() -> Any:
            bar = make()
            if self.trainer.state.fn == "fit" and not in_fit:  # an evaluation in a fit, below the fit's own bar
                return bar
            bar.leave = _compat.leaves_full(self.bar)
            describe = bar.set_description
            bar.set_description = lambda *_, **__: describe(self._text(self.stage_of_fit if in_fit else self.stage))
            bar.set_description()
            return bar

        return made

    def _text(self, stage: Stage) -> str:
        return _text(stage, shutil.get_terminal_size().columns)

    def end(self) -> None:
        for name in self._MAKING:
            delattr(self.bar, name)

    def open(self, model: pl.LightningModule, total: int) -> None:
        self.own = self.bar.init_predict_tqdm()
        self.own.leave = _compat.leaves_full(self.bar)
        self.own.set_description(self._text(self.stage), refresh=False)
        self.own.reset(total)

    def step(self, done: int, total: int) -> None:
        self.own.n = done
        self.own.refresh()

    def close(self) -> None:
        self.own.close()


class _Rich(_Bar):
    def begin(self) -> None:
        _compat.rename_tasks(self.bar, self._words, lambda: self._text(self.stage_of_fit))

    def _words(self, theirs: str) -> str:
        """Return what a task is called that Lightning calls so; the evaluations in a fit are what they are."""
        self.bar.progress.live.transient = not _compat.leaves_full(self.bar)
        return theirs if self.trainer.state.fn == "fit" else self._text(self.stage)

    def _text(self, stage: Stage) -> str:
        from rich.markup import escape

        return escape(_text(stage, self.bar.progress.console.width))

    def end(self) -> None:
        _compat.rename_tasks(self.bar, None, None)

    def open(self, model: pl.LightningModule, total: int) -> None:
        self.model = model
        self.bar.on_predict_start(self.trainer, model)
        self.bar.progress.live.transient = not _compat.leaves_full(self.bar)
        self.task = self.bar.progress.add_task(self._text(self.stage), total=total)

    def step(self, done: int, total: int) -> None:
        self.bar.progress.update(self.task, completed=done, refresh=True)

    def close(self) -> None:
        self.bar.teardown(self.trainer, self.model, "predict")


class _InFile(_Bar):
    """A bar that cannot be written anew is off; a stage that takes long gets a line."""

    def __init__(self, bar: Any, trainer: pl.Trainer) -> None:
        super().__init__(bar, trainer)
        self.due = time.monotonic() + SAY_AFTER
        self.is_said = False

    def begin(self) -> None:
        self.bar.disable()

    def at(self, done: float, total: float) -> None:
        self._say(self.stage_of_fit if self.trainer.state.fn == "fit" else self.stage, done, total)

    def end(self) -> None:
        self.bar.enable()

    def open(self, model: pl.LightningModule, total: int) -> None:
        """Show nothing yet."""

    def step(self, done: int, total: int) -> None:
        self._say(self.stage, done, total)

    def _say(self, stage: Stage, done: float, total: float) -> None:
        if self.is_said or time.monotonic() < self.due:
            return
        self.is_said = True
        of_all = "" if total == float("inf") else f" of {total:,}"
        rank_zero_info(f"{_with_until(stage)} ({done:,}{of_all})")


def _bar_of(trainer: pl.Trainer) -> _Bar | None:
    """Return how this process shows what it is at; None: it does not, or there are no words for it."""
    bar: Any = trainer.progress_bar_callback
    if bar is None or not getattr(bar, "is_enabled", True) or not trainer.is_global_zero or not present_stage().words:
        return None
    if isinstance(bar, TQDMProgressBar):
        in_notebook = type(sys.stdout).__module__.partition(".")[0] == "ipykernel"
        return _Tqdm(bar, trainer) if in_notebook or sys.stdout.isatty() else _InFile(bar, trainer)
    if isinstance(bar, RichProgressBar):
        console = _compat.console_of(bar)
        return _Rich(bar, trainer) if console.is_terminal or console.is_jupyter else _InFile(bar, trainer)
    return _Bar(bar, trainer)


def _text(stage: Stage, width: int) -> str:
    """Return what a bar says of a stage: when the run may be done too, where there is room for it."""
    text = _with_until(stage)
    return text if len(text) + _BESIDE <= width else str(stage)


def _with_until(stage: Stage) -> str:
    return f"{stage} · {stage.until}" if stage.until else str(stage)
