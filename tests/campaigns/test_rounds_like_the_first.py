"""Whatever a project counts by, a later round is as a fit of a new Trainer."""

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback

from lightning_al import ActiveLearningLoop
from lightning_al.training import AutoSAMMixin, SAMMixin
from tests.helpers.fresh_fits import Ordered, check_rounds
from tests.helpers.projects import Data, Net, make_trainer


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_epochs": -1, "max_steps": 5},
        {"max_epochs": 3, "accumulate_grad_batches": 2},
        {"max_epochs": 5, "val_check_interval": 7, "check_val_every_n_epoch": None},
        {"max_epochs": 5, "check_val_every_n_epoch": 2},
        {"max_epochs": 3, "val_check_interval": 2},
        {"val_check_interval": "00:00:00:00"},
        {"val_check_interval": 0.5, "num_sanity_val_steps": 0},
        {"max_epochs": 3, "reload_dataloaders_every_n_epochs": 2},
        {"limit_train_batches": 2, "limit_val_batches": 1, "log_every_n_steps": 2},
        {"max_time": "00:01:00:00", "gradient_clip_val": 0.1},
        {"profiler": "simple"},
        {"profiler": "advanced"},
    ],
    ids=str,
)
def test_options_of_the_trainer(tmp_path, options):
    check_rounds(tmp_path, list, **options)


class WarmsUp(Net):
    """As Lightning's documentation has it."""

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
        optimizer.step(closure=optimizer_closure)
        if self.trainer.global_step < 4:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * (self.trainer.global_step + 1) / 4


class Schedules(Net):
    """Counts by its own step and by the Trainer's."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**self.global_step)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "frequency": 2}}

    def lr_scheduler_step(self, scheduler, metric):
        if self.trainer.fit_loop.total_batch_idx > 1:
            scheduler.step()


class Plateau(Net):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_acc"}}


class OneCycle(Net):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        steps = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Skips(Net):
    """Ends the first epochs early."""

    def on_train_batch_start(self, batch, batch_idx):
        return -1 if self.global_step == 2 and batch_idx == 2 else None


class ByHand(Net):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = super().training_step(batch, batch_idx) / (1 + self.trainer.global_step)
        self.manual_backward(loss)
        optimizer.step()


class Observes(Net):
    """Scales by the largest number that it has seen, also in validation, where what it keeps is of inference mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        self.largest = torch.maximum(self.largest, x.abs().max())
        return super().forward(x / self.largest)


class Anneals(Net):
    """Keeps a temperature, running means and a count of its own, none of them in its ``state_dict``."""

    def __init__(self):
        super().__init__()
        self.temperature, self.count, self.best = 2.0, 0, None
        self.plain, self.counts = torch.zeros(3, dtype=torch.float64), np.zeros(3)
        self.register_buffer("prior", torch.zeros(3, dtype=torch.float64), persistent=False)
        self.save_hyperparameters({"scale": 1.0})

    def training_step(self, batch, batch_idx):
        self.temperature *= 0.9
        self.hparams.scale += 0.1
        self.count += 1
        shares = nn_one_hot(batch[1]).mean(0)
        self.plain = 0.9 * self.plain + 0.1 * shares
        self.prior.mul_(0.9).add_(0.1 * shares)
        self.best = max(self.best or 0.0, self.count / 2)
        self.counts += shares.numpy()
        if not hasattr(self, "center"):
            self.center = batch[0].mean(0)
        self.log("state", self.temperature + self.count + self.best)
        return super().training_step(batch, batch_idx)

    def forward(self, x):
        x = x - getattr(self, "center", 0) + self.counts[0] / 100
        return self.hparams.scale * super().forward(x) / self.temperature + self.prior - 2 * self.plain


def nn_one_hot(y):
    return torch.nn.functional.one_hot(y, 3).double()


def options_by_epoch(trainer, pl_module):
    """Changes the Trainer as the epochs go by, and leaves it so."""
    if trainer.current_epoch == 1:
        trainer.gradient_clip_val, trainer.accumulate_grad_batches, trainer.check_val_every_n_epoch = 0.01, 2, 3


@pytest.mark.few(1)
@pytest.mark.parametrize("model", [WarmsUp, Schedules, Plateau, OneCycle, Skips, ByHand, Observes, Anneals])
def test_hooks_and_counts_of_the_module(tmp_path, model):
    check_rounds(tmp_path, list, model=model, max_epochs=3)


@pytest.mark.few(2)
@pytest.mark.parametrize("reset", ["warm", "fresh"])
@pytest.mark.parametrize("model", [WarmsUp, Anneals])
def test_whatever_a_round_starts_from(tmp_path, model, reset):
    check_rounds(tmp_path, list, model=model, reset=reset)


def test_callbacks_that_change_the_trainer(tmp_path):
    check_rounds(tmp_path, lambda: [LambdaCallback(on_train_epoch_start=options_by_epoch)], max_epochs=4)


def test_the_step_of_the_campaign_reaches_a_module(tmp_path):
    """For x axes: loggers' own go on, those that a module draws by hand need the steps before the round."""
    drawn = []

    class Draws(Net):
        first_step = 0

        def on_train_batch_end(self, outputs, batch, batch_idx):
            drawn.append(self.first_step + self.global_step)

    class FirstStep(L.Callback):
        def on_round_start(self, trainer, pl_module, loop):
            pl_module.first_step = loop.campaign_step

    loop = ActiveLearningLoop(Draws(), Data(), initial=9, query_size=5, rounds=2, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path, FirstStep()))
    assert drawn == list(range(1, loop.campaign_step + 1))


def test_what_is_set_between_rounds_stays(tmp_path):
    """Only what a fit changed is put back."""
    seen = []

    class Sees(Net):
        def on_train_start(self):
            seen.append((self.lr, self.count))
            self.count += 1

        def on_train_end(self):
            self.lr = 7.0

        count = 0

    class Sets(L.Callback):
        def on_round_start(self, trainer, pl_module, loop):
            pl_module.lr = 0.1 / (1 + len(loop.history))

    model = Sees()
    model.count = 5
    loop = ActiveLearningLoop(model, Ordered(), initial=9, query_size=5, rounds=2, dirpath=tmp_path / "c")
    trainer = make_trainer(tmp_path, Sets())
    for _ in range(2):
        loop.tell(picked := loop.ask(trainer), [loop.datamodule.train_set[i][1].item() for i in picked])
        model.count = 9
    loop.run(trainer)
    assert [round(lr, 3) for lr, _ in seen] == [0.1, 0.05, 0.033]
    assert [count for _, count in seen] == [5, 9, 9]


def test_what_goes_on_from_round_to_round_is_told_once(tmp_path, caplog):
    class Anneals(Net):
        def __init__(self):
            super().__init__()
            self.state, self.outputs = {"temperature": 2.0}, []

        def training_step(self, batch, batch_idx):
            self.state["temperature"] *= 0.9
            self.outputs.append(batch_idx)
            return super().training_step(batch, batch_idx)

        def on_train_epoch_end(self):
            self.outputs.clear()

    with caplog.at_level("INFO"):
        loop = ActiveLearningLoop(Anneals(), Data(), initial=9, query_size=5, rounds=2, dirpath=tmp_path / "c")
        loop.run(make_trainer(tmp_path))
    assert [r.message for r in caplog.records if "A fit changed" in r.message] == [
        "A fit changed what is in state of Anneals. Lists, dicts and other objects are left alone and go on so in the "
        "next round: make those that are no records anew in `on_fit_start`."
    ]


@pytest.mark.few(1)
@pytest.mark.parametrize("mixin", [SAMMixin, AutoSAMMixin])
def test_of_what_a_mixin_keeps_nobody_is_told(tmp_path, caplog, mixin):
    class Sharp(mixin, Net):
        """A user's module."""

    with caplog.at_level("INFO"):
        loop = ActiveLearningLoop(Sharp(rho=0.05), Data(), initial=9, query_size=5, rounds=1, dirpath=tmp_path / "c")
        loop.run(make_trainer(tmp_path))
    assert not [r.message for r in caplog.records if "A fit changed" in r.message]
