"""Fails loudly when Lightning changes what `_compat.py` leans on."""

import copy

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel, ManualOptimBoringModel
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.loops.progress import _BaseProgress
from lightning.pytorch.plugins.environments import SLURMEnvironment
from torch.utils.data import DataLoader, IterableDataset

from lightning_al import _compat
from tests.helpers.projects import Data, Net, make_trainer


def fit(trainer, model):
    trainer.fit(model)
    return model


BOTH = pytest.mark.parametrize("make", [BoringModel, ManualOptimBoringModel])


def plain(value):
    """What a loop keeps, in a form that compares: other objects by their kind."""
    if isinstance(value, _Loop):
        return {
            n: plain(v) for n, v in vars(value).items() if n not in ("trainer", "_batches_that_stepped", "max_steps")
        }
    if isinstance(value, (int, float, str, type(None), _BaseProgress)):
        return copy.deepcopy(value)
    return type(value)


@BOTH
def test_every_loop_is_as_in_a_new_trainer(tmp_path, make):
    options = {"limit_train_batches": 3, "limit_val_batches": 1, "max_epochs": 2, "min_epochs": 1}
    fresh, trainer = make_trainer(tmp_path, **options), make_trainer(tmp_path, **options)
    model = fit(trainer, make())
    assert (trainer.current_epoch, trainer.global_step) == (2, 6)
    fit(trainer, model)
    assert trainer.global_step == 6  # what Lightning does without us: nothing
    assert plain(trainer.fit_loop) != plain(fresh.fit_loop)
    _compat.renew_counters(trainer)
    assert plain(trainer.fit_loop) == plain(fresh.fit_loop)
    assert (trainer.current_epoch, trainer.global_step, _compat.logged_step(trainer)) == (0, 0, 6)
    fit(trainer, model)
    assert (trainer.current_epoch, trainer.global_step, _compat.logged_step(trainer)) == (2, 6, 12)


@BOTH
def test_steps_can_be_restored_in_a_fresh_trainer(tmp_path, make):
    trainer = make_trainer(tmp_path, limit_train_batches=3, limit_val_batches=0)
    model = make()
    _compat.restore_steps(trainer, logged=90, optimizer=100, automatic=model.automatic_optimization)
    fit(trainer, model)
    assert (trainer.global_step, _compat.logged_step(trainer)) == (106, 96)


@BOTH
def test_fits_that_are_not_counted(tmp_path, make):
    trainer = make_trainer(tmp_path, limit_train_batches=3, limit_val_batches=1)
    model = fit(trainer, make())
    before = copy.deepcopy(trainer.fit_loop.state_dict())
    with _compat.same_progress(trainer):
        _compat.renew_counters(trainer)
        fit(trainer, model)
        assert (trainer.global_step, _compat.logged_step(trainer)) == (6, 12)
        assert trainer.fit_loop.state_dict() != before
    assert trainer.fit_loop.state_dict() == before
    assert (trainer.current_epoch, trainer.global_step, _compat.logged_step(trainer)) == (2, 6, 6)
    assert not trainer.fit_loop.restarting
    _compat.renew_counters(trainer)
    fit(trainer, model)  # begins anew
    assert (trainer.current_epoch, trainer.global_step) == (2, 6)
    with pytest.raises(ZeroDivisionError):
        with _compat.same_progress(trainer):
            _compat.renew_counters(trainer)
            raise ZeroDivisionError
    assert trainer.current_epoch == 2


def test_options_that_callbacks_change(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=4, min_steps=2, max_epochs=-1, val_check_interval=0.5)
    with pytest.raises(ZeroDivisionError):
        with _compat.same_options(trainer):
            trainer.fit_loop.max_epochs = trainer.fit_loop.epoch_loop.max_steps = 9
            trainer.accumulate_grad_batches, trainer.limit_train_batches, trainer.val_check_interval = 3, 2, 1
            trainer.gradient_clip_val, trainer.should_stop = 0.1, True
            raise ZeroDivisionError
    assert (trainer.max_epochs, trainer.max_steps, trainer.min_steps) == (-1, 4, 2)
    assert (trainer.accumulate_grad_batches, trainer.limit_train_batches, trainer.val_check_interval) == (1, 1.0, 0.5)
    assert (trainer.gradient_clip_val, trainer.should_stop) == (None, True)


def test_launchers(tmp_path):
    assert not _compat.launches_copies(make_trainer(tmp_path))
    assert _compat.launch(make_trainer(tmp_path), lambda a, b: a + b, 1, 2) == 3
    trainer = make_trainer(tmp_path, strategy="ddp_fork", devices=2)
    assert _compat.launches_copies(trainer)
    _compat.run_in_place(trainer)
    assert trainer.strategy.launcher is None


def test_configure_model_runs_once_by_contract(tmp_path):
    class Late(Net):
        def configure_model(self):
            assert self.trainer is not None
            if not hasattr(self, "late"):
                self.late = torch.nn.Linear(1, 1)

    model, trainer = Late(), make_trainer(tmp_path)
    _compat.connect(trainer, model)
    _compat.configure_model(trainer)
    late = model.late
    _compat.configure_model(trainer)
    assert model.late is late


def test_the_first_samples_of_a_fit(tmp_path):
    class Asks(Net):
        def configure_model(self):
            state = torch.get_rng_state()
            self.first = _compat.first_samples(self.trainer)
            self.drew = not torch.equal(torch.get_rng_state(), state)

    data = Data()
    data.setup("fit")
    expected = [t[:2] for t in data.train.tensors]
    loader, streamed = data.train_dataloader(), DataLoader(Streamed(data.train), batch_size=2)
    for train, found in (
        ({"datamodule": Data()}, expected),
        ({"train_dataloaders": loader}, expected),
        ({"train_dataloaders": streamed}, expected),
        ({"train_dataloaders": [loader, loader]}, None),
    ):
        model = Asks()
        model.training_step = lambda *args: None
        make_trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(model, **train)
        assert (model.first is None) == (found is None)
        assert not model.drew or train.get("train_dataloaders") is streamed
        assert found is None or all(torch.equal(a, b) for a, b in zip(model.first, found, strict=True))


class Streamed(IterableDataset):
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        return iter(self.data)


def test_infinite_barrier_without_a_group():
    with _compat.infinite_barrier():
        pass


@pytest.mark.parametrize("on_slurm", [True, False])
def test_a_checkpoint_that_a_requeued_job_left_is_not_loaded(tmp_path, monkeypatch, on_slurm):
    """On Slurm Lightning loads it in every fit and every pass that is given no other."""
    left, model = Net(), Net()
    with torch.no_grad():
        left.net[0].weight.fill_(7.0)
    first = make_trainer(tmp_path, max_epochs=3, enable_checkpointing=False)
    first.fit(left, Data())
    first.save_checkpoint(tmp_path / "hpc_ckpt_1.ckpt")
    if on_slurm:
        monkeypatch.setattr(SLURMEnvironment, "detect", staticmethod(lambda: True))
    before = [w.detach().clone() for w in model.parameters()]

    def has_other_weights(trainer):
        trainer.validate(model, Data(), verbose=False)
        return not all(map(torch.equal, before, model.parameters()))

    trainer = make_trainer(tmp_path)
    with _compat.no_found_checkpoints(trainer):
        assert not has_other_weights(trainer)
        trainer.fit(model, Data())
        assert trainer.current_epoch == 2
        assert trainer.ckpt_path is None
    assert "_parse_ckpt_path" not in vars(trainer._checkpoint_connector)
    before = [w.detach().clone() for w in model.parameters()]
    assert has_other_weights(make_trainer(tmp_path)) == on_slurm  # what Lightning does without us


def test_seeds_are_set_without_a_word(caplog):
    with caplog.at_level("INFO"):
        with _compat.quiet_infos():
            pl.seed_everything(3)
        assert not caplog.records
        pl.seed_everything(3)
        assert "Seed set to 3" in caplog.text
