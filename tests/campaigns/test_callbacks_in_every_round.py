"""Every callback that Lightning ships, in a later round as in a fit of a new Trainer."""

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch import callbacks as shipped
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BasePredictionWriter,
    BatchSizeFinder,
    DeviceStatsMonitor,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LambdaCallback,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelPruning,
    ModelSummary,
    OnExceptionCheckpoint,
    RichModelSummary,
    RichProgressBar,
    SpikeDetection,
    StochasticWeightAveraging,
    ThroughputMonitor,
    Timer,
    TQDMProgressBar,
    WeightAveraging,
)

from lightning_al import ActiveLearningLoop
from tests.helpers.fresh_fits import check_rounds
from tests.helpers.projects import Data, Net, make_trainer


def first(trainer, kind):
    return next(c for c in trainer.callbacks if isinstance(c, kind))


class Searches(Net):
    """Its learning rate is a hyperparameter too."""

    def __init__(self, lr=0.05):
        super().__init__(lr)
        self.save_hyperparameters()


class Sized(Net):
    """Its batch size is searched, and nobody takes it."""

    batch_size = 1


class Backbone(Net):
    """With layers that can be frozen, a schedule and BatchNorm."""

    def __init__(self):
        super().__init__(batch_norm=True)
        self.backbone, self.head = self.net[:3], self.net[3:]

    def configure_optimizers(self):
        optimizer = torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]


class Thaws(BaseFinetuning):
    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.backbone, train_bn=False)

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, train_bn=False)


class Every3(WeightAveraging):
    def should_update(self, step_idx=None, epoch_idx=None):
        return step_idx is not None and step_idx >= 2 and step_idx % 3 == 0


def saved(trainer):
    """What a ModelCheckpoint kept: names, scores and steps."""
    callback = first(trainer, ModelCheckpoint)
    kept = {Path(path).name: float(score) for path, score in callback.best_k_models.items()}
    files = {f.name: torch.load(f, weights_only=True)["global_step"] for f in Path(callback.dirpath).glob("*.ckpt")}
    return kept, files, Path(callback.best_model_path).name


def early(trainer):
    return [c.state_dict() for c in trainer.callbacks if isinstance(c, EarlyStopping)]


ROWS = {
    "StochasticWeightAveraging": (
        lambda: [StochasticWeightAveraging(0.01, swa_epoch_start=1, annealing_epochs=1)],
        {"max_epochs": 4, "model": Backbone, "batch_size": 5},
    ),
    "StochasticWeightAveraging, stopped": (
        lambda: [StochasticWeightAveraging(0.05), EarlyStopping("val_acc", mode="max", min_delta=2.0, patience=1)],
        {"max_epochs": 4, "model": Backbone, "batch_size": 5},
    ),
    "WeightAveraging": (lambda: [WeightAveraging()], {}),
    "WeightAveraging, by step": (lambda: [Every3()], {"max_epochs": 3}),
    "EMAWeightAveraging, from a step on": (
        lambda: [EMAWeightAveraging(decay=0.5, update_starting_at_step=4, update_every_n_steps=2)],
        {"max_epochs": 3, "model": lambda: Net(batch_norm=True), "batch_size": 5},
    ),
    "EMAWeightAveraging, from an epoch on": (
        lambda: [EMAWeightAveraging(decay=0.5, update_every_n_steps=0, update_starting_at_epoch=1)],
        {"max_epochs": 3},
    ),
    "BackboneFinetuning": (
        lambda: [BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_ratio_lr=0.5, train_bn=False)],
        {"max_epochs": 4, "model": Backbone, "batch_size": 5},
    ),
    "BaseFinetuning": (lambda: [Thaws()], {"max_epochs": 3, "model": Backbone, "batch_size": 5}),
    "EarlyStopping": (
        lambda: [EarlyStopping("val_acc", mode="max", patience=2)],
        {"max_epochs": 9, "observe": early},
    ),
    "EarlyStopping, with least steps": (
        lambda: [EarlyStopping("val_acc", mode="max", min_delta=2.0, patience=1)],
        {"max_epochs": 9, "min_steps": 13, "observe": early},
    ),
    "EarlyStopping, with least epochs": (
        lambda: [EarlyStopping("val_acc", mode="max", min_delta=2.0, patience=1)],
        {"max_epochs": 9, "min_epochs": 5, "observe": early},
    ),
    "ModelCheckpoint, the best two": (
        lambda: [ModelCheckpoint(monitor="val_acc", mode="max", save_top_k=2, save_last=True)],
        {"max_epochs": 4, "enable_checkpointing": True, "observe": saved},
    ),
    "ModelCheckpoint, by steps": (
        lambda: [ModelCheckpoint(every_n_train_steps=4, save_top_k=-1)],
        {"max_epochs": 3, "enable_checkpointing": True, "observe": saved},
    ),
    "GradientAccumulationScheduler": (
        lambda: [GradientAccumulationScheduler({0: 1, 1: 3})],
        {"max_epochs": 3},
    ),
    "LearningRateFinder": (
        lambda: [LearningRateFinder(num_training_steps=15, early_stop_threshold=None)],
        {
            "max_epochs": 5,
            "model": Searches,
            "observe": lambda t: (first(t, LearningRateFinder).optimal_lr.results, t.lightning_module.lr),
        },
    ),
    "LearningRateFinder, too few points": (
        lambda: [LearningRateFinder(num_training_steps=8, min_lr=1e-3)],
        {
            "max_epochs": -1,
            "max_steps": 7,
            "model": Searches,
            "observe": lambda t: (first(t, LearningRateFinder).optimal_lr.results, t.lightning_module.lr),
        },
    ),
    "LearningRateMonitor": (
        lambda: [LearningRateMonitor("step", log_momentum=True)],
        {"model": Backbone, "batch_size": 5, "observe": lambda t: first(t, LearningRateMonitor).lrs},
    ),
    "ModelPruning": (
        lambda: [ModelPruning("l1_unstructured", amount=0.3)],
        {"max_epochs": 3, "observe": lambda t: sum(int((p == 0).sum()) for p in t.lightning_module.parameters())},
    ),
    "ModelPruning, after validation": (
        lambda: [
            ModelPruning(
                "l1_unstructured", amount=0.3, prune_on_train_epoch_end=False, use_lottery_ticket_hypothesis=False
            )
        ],
        {"max_epochs": 3},
    ),
    "BatchSizeFinder": (
        lambda: [BatchSizeFinder(steps_per_trial=1, max_trials=1)],
        {"model": Sized, "observe": lambda t: first(t, BatchSizeFinder).optimal_batch_size},
    ),
    "ModelSummary": (lambda: [ModelSummary()], {"enable_model_summary": True}),
    "RichModelSummary": (lambda: [RichModelSummary()], {"enable_model_summary": True}),
    "TQDMProgressBar": (
        lambda: [TQDMProgressBar()],
        {"enable_progress_bar": True, "observe": lambda t: first(t, TQDMProgressBar).total_train_batches},
    ),
    "RichProgressBar": (
        lambda: [RichProgressBar()],
        {"enable_progress_bar": True, "observe": lambda t: first(t, RichProgressBar).total_train_batches},
    ),
    "SpikeDetection": (
        lambda: [SpikeDetection(warmup=3, atol=10.0)],
        {"max_epochs": 2, "observe": lambda t: float(first(t, SpikeDetection).running_mean.compute())},
    ),
    "ThroughputMonitor": (
        lambda: [ThroughputMonitor(batch_size_fn=lambda batch: len(batch[0]), window_size=4)],
        {"values": False},
    ),
    "OnExceptionCheckpoint": (lambda: [OnExceptionCheckpoint(".")], {"enable_checkpointing": True}),
    "LambdaCallback": (lambda: [LambdaCallback(on_train_epoch_start=slower)], {"max_epochs": 3}),
}
"""The callbacks, and what is special about the fit."""


def slower(trainer, pl_module):
    trainer.optimizers[0].param_groups[0]["lr"] /= 1 + trainer.global_step


@pytest.mark.few(4)
@pytest.mark.parametrize("row", ROWS)
def test_a_later_round_is_as_a_new_fit(tmp_path, monkeypatch, row):
    monkeypatch.setattr("gc.collect", lambda *args: 0)  # a search for a batch size collects a second at a time
    callbacks, options = ROWS[row]
    check_rounds(tmp_path, callbacks, **options)


def test_no_callback_of_lightning_is_forgotten():
    tried = {kind.__name__ for callbacks, _ in ROWS.values() for c in callbacks() for kind in type(c).__mro__}
    apart = {"Timer", "DeviceStatsMonitor", "BasePredictionWriter"}
    bases = {"Callback", "Checkpoint", "ProgressBar"}
    assert set(shipped.__all__) <= tried | apart | bases
    table = (Path(__file__).parents[2] / "docs" / "rounds.md").read_text().split("## Callbacks")[1]
    assert [name for name in shipped.__all__ if f"`{name}`" not in table] == []


@pytest.mark.few(2)
@pytest.mark.parametrize("reset", ["warm", "fresh"])
@pytest.mark.parametrize("row", ["BaseFinetuning", "EMAWeightAveraging, from a step on"])
def test_whatever_a_round_starts_from(tmp_path, row, reset):
    callbacks, options = ROWS[row]
    check_rounds(tmp_path, callbacks, reset=reset, **options)


def test_a_timer_ends_each_round_by_itself(tmp_path, monkeypatch):
    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls):
            return cls.now

    def tick(*args):
        Clock.now += 1.0

    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", Clock)
    rounds = check_rounds(
        tmp_path,
        lambda: [LambdaCallback(on_train_batch_start=tick), Timer({"seconds": 5})],
        max_epochs=9,
        observe=lambda t: first(t, Timer).time_elapsed(),
    )
    assert [sum("batch" in note for note in notes) for notes in rounds] == [5, 5]


def test_device_stats(tmp_path, monkeypatch):
    stats = "lightning.pytorch.accelerators.cpu.CPUAccelerator.get_device_stats"
    monkeypatch.setattr(stats, lambda self, device: {"percent": 1.0})
    monkeypatch.setattr("lightning.pytorch.callbacks.device_stats_monitor._PSUTIL_AVAILABLE", True)
    rounds = check_rounds(tmp_path, lambda: [DeviceStatsMonitor(cpu_stats=True)])
    assert "DeviceStatsMonitor" in str(rounds[1])


def test_scores_are_no_predictions_to_write(tmp_path):
    written = []

    class Writes(BasePredictionWriter):
        def write_on_batch_end(self, *args):
            written.append(args)

        write_on_epoch_end = write_on_batch_end

    check_rounds(tmp_path, lambda: [Writes("batch_and_epoch")])
    assert written == []


def test_a_checkpoint_of_an_exception_is_of_its_round(tmp_path):
    class Fails(Net):
        def training_step(self, batch, batch_idx):
            if self.fails and self.global_step == 3:
                raise ZeroDivisionError
            return super().training_step(batch, batch_idx)

        fails = False

    class FailsNext(L.Callback):
        def on_round_end(self, trainer, pl_module, loop):
            pl_module.fails = True

    trainer = make_trainer(tmp_path, OnExceptionCheckpoint(tmp_path), FailsNext(), enable_checkpointing=True)
    loop = ActiveLearningLoop(Fails(), Data(), initial=9, query_size=5, rounds=1, dirpath=tmp_path / "c")
    with pytest.raises(ZeroDivisionError):
        loop.run(trainer)
    checkpoint = torch.load(tmp_path / "on_exception.ckpt", weights_only=True)
    assert (checkpoint["global_step"], checkpoint["lightning_al_round"]["round"]) == (3, 1)


def test_masks_that_stay_are_refused(tmp_path):
    trainer = make_trainer(tmp_path, ModelPruning("l1_unstructured", make_pruning_permanent=False))
    loop = ActiveLearningLoop(Net(), Data(), initial=9, query_size=5, rounds=1, dirpath=tmp_path / "c")
    with pytest.raises(ValueError, match="Use `make_pruning_permanent=True`"):
        loop.run(trainer)
    assert not (tmp_path / "c").exists()


def test_profiler_of_torch_is_refused(tmp_path):
    """It fails in the third fit of one Trainer."""
    loop = ActiveLearningLoop(Net(), Data(), initial=9, query_size=5, rounds=1, dirpath=tmp_path / "c")
    with pytest.raises(ValueError, match='`profiler="simple"`'):
        loop.run(make_trainer(tmp_path, profiler="pytorch"))
    assert not (tmp_path / "c").exists()


def test_the_best_weights_are_those_that_are_evaluated(tmp_path):
    """And not the average of the last ones, which stands in for them while Lightning validates."""

    class Sees(Net):
        def on_validation_start(self):
            if self.trainer.state.fn == "validate":
                evaluated.append(self.net[0].weight.tolist())

    class Scores(L.Callback):
        def on_query_start(self, trainer, pl_module, loop):
            scored.append(pl_module.net[0].weight.tolist())
            best = torch.load(first(trainer, ModelCheckpoint).best_model_path, weights_only=True)
            saved_best.append(best["state_dict"]["net.0.weight"].tolist())

    evaluated, scored, saved_best = [], [], []
    best = ModelCheckpoint(monitor="val_acc", mode="min")
    trainer = make_trainer(tmp_path, WeightAveraging(), best, Scores(), enable_checkpointing=True, max_epochs=4)
    loop = ActiveLearningLoop(Sees(), Data(), initial=9, query_size=5, rounds=2, weights="best", dirpath=tmp_path / "c")
    loop.run(trainer)
    assert evaluated[:2] == scored == saved_best
