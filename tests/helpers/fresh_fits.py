"""Rounds of a campaign beside fits of new Trainers and new models, on the same samples and from the same weights."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers.logger import Logger
from torch.utils.data import Subset

from lightning_al import ActiveLearningLoop
from tests.helpers.projects import Data, Net, make_trainer


class Memory(Logger):
    """Keeps what is logged."""

    name, version = "memory", 0

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args, **kwargs):
        pass


class Trace(L.Callback):
    """Takes down, of each fit, all that is counted, and what came of it.

    Args:
        observe: What else to take down once a fit is over.
        values: Whether the values that are logged can be the same twice: not those that are times.
    """

    def __init__(self, observe: Callable[[L.Trainer], Any] = lambda trainer: None, values: bool = True) -> None:
        self.observe = observe
        self.values = values
        self.labelled: list[list[int]] = []
        self.starts: list[dict[str, torch.Tensor]] = []
        self.momenta: list[list[dict[str, Any]]] = []
        self.fits: list[list[Any]] = []

    def on_round_start(self, trainer, pl_module, loop):
        self.labelled.append(loop.pool.labelled.tolist())

    def setup(self, trainer, pl_module, stage):
        if stage == "fit":
            self.starts.append(copy.deepcopy(dict(pl_module.state_dict())))
            self.fits.append([])
            self.first_row, self.first_step = len(trainer.logger.rows), self._logged_step(trainer)

    def on_train_start(self, trainer, pl_module):
        self.momenta.append([copy.deepcopy(optimizer.state_dict()) for optimizer in trainer.optimizers])
        self._note(trainer, "start", trainer.max_epochs, trainer.max_steps, trainer.estimated_stepping_batches)

    def on_train_epoch_start(self, trainer, pl_module):
        trained = [name for name, p in pl_module.named_parameters() if p.requires_grad]
        self._note(trainer, "epoch", trainer.accumulate_grad_batches, trained)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
        self._note(trainer, "batch", batch_idx, trainer.fit_loop.total_batch_idx, rates, batch[0].sum().item())

    def on_validation_end(self, trainer, pl_module):
        if trainer.state.fn == "fit":
            metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if self.values}
            self._note(trainer, "validation", trainer.sanity_checking, metrics)

    def on_train_end(self, trainer, pl_module):
        tensors = {n: t.tolist() for n, t in [*pl_module.named_parameters(), *pl_module.named_buffers()]}
        self._note(trainer, "end", trainer.current_epoch, tensors)

    def on_fit_end(self, trainer, pl_module):
        self._note(trainer, "observed", self.observe(trainer))
        rows = trainer.logger.rows[self.first_row :]
        # Of times come steps of their own too.
        self.fits[-1] += [(step - self.first_step, row) if self.values else sorted(row) for step, row in rows]

    def _note(self, trainer, *what):
        self.fits[-1].append((trainer.global_step, trainer.current_epoch, *what))

    @staticmethod
    def _logged_step(trainer):
        return trainer.fit_loop.epoch_loop._batches_that_stepped


class Ordered(Data):
    """Hands its samples out in their order, so that any loader of the same samples does too."""

    def __init__(self, batch_size: int = 4) -> None:
        super().__init__(batch_size=batch_size, shuffle=False)


class Labelled(Ordered):
    """Those of its samples that a round trained on."""

    def __init__(self, labelled: list[int], batch_size: int) -> None:
        super().__init__(batch_size)
        self.labelled = labelled

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.train = Subset(self.train, self.labelled)


def check_rounds(
    tmp_path: Path,
    callbacks: Callable[[], list[L.Callback]],
    *,
    model: Callable[[], L.LightningModule] = Net,
    observe: Callable[[L.Trainer], Any] = lambda trainer: None,
    values: bool = True,
    reset: str = "initial",
    batch_size: int = 4,
    **options: Any,
) -> list[list[Any]]:
    """Compare each round with a fit of a new Trainer, and return what was taken down of the rounds."""
    trace, logger = Trace(observe, values), Memory()
    options = {"max_epochs": 2, "log_every_n_steps": 1, "num_sanity_val_steps": 2, **options}
    trainer = make_trainer(tmp_path / "rounds", *callbacks(), trace, logger=logger, **options)
    loop = ActiveLearningLoop(
        model(), Ordered(batch_size), initial=9, query_size=5, rounds=1, reset=reset, dirpath=tmp_path / "campaign"
    )
    loop.run(trainer)
    assert len(trace.fits) == 2
    for number, labelled in enumerate(trace.labelled):
        one, net, data = Trace(observe, values), model(), Labelled(labelled, batch_size)
        net.load_state_dict(trace.starts[number])
        together = [*callbacks(), one]
        fresh = make_trainer(
            tmp_path / f"fresh_{number}", *together, acquisition=L.Callback(), logger=Memory(), **options
        )
        fresh.fit(net, datamodule=data)
        assert trace.fits[number] == one.fits[0]
    steps = [step for step, row in logger.rows if "train_loss" in row]
    assert steps == sorted(set(steps))  # x axes grow
    return trace.fits
