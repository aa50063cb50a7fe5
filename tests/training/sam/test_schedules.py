import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_al.training.sam.schedules import take_monitors
from tests.helpers.marks import slow
from tests.helpers.sam_reference import AutoFront, ManualFront, Plain, distance, fitted, loader, network, sgd, trainer


class Rates(Callback):
    def __init__(self):
        self.rates = []

    def on_train_batch_end(self, trainer, *_):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.on_train_batch_end(trainer)

    on_validation_end = on_train_batch_end
    on_train_end = on_train_batch_end


def one_cycle(o):
    return lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=40)


def step_lr(o):
    return lr_scheduler.StepLR(o, step_size=1, gamma=0.5)


def plateau(o):
    return ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=10.0)  # no metric counts as better


CONFIGURED = {
    "bare": lambda o: ([o], [step_lr(o)]),
    "one scheduler, no list": lambda o: ([o], step_lr(o)),
    "epoch": lambda o: {"optimizer": o, "lr_scheduler": step_lr(o)},
    "epoch frequency": lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": step_lr(o), "frequency": 2}},
    "step": lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": one_cycle(o), "interval": "step"}},
    "step frequency": lambda o: [
        {"optimizer": o, "lr_scheduler": {"scheduler": step_lr(o), "interval": "step", "frequency": 4}}
    ],
    "two": lambda o: ([o], [step_lr(o), {"scheduler": lr_scheduler.ExponentialLR(o, 0.9), "interval": "step"}]),
    "plateau": lambda o: {"optimizer": o, "lr_scheduler": plateau(o), "monitor": "val"},
    "plateau dict": lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": plateau(o), "monitor": "loss"}},
    "plateau epoch metric": lambda o: ([o], [{"scheduler": plateau(o), "monitor": "loss_epoch", "frequency": 2}]),
    "plateau step": lambda o: (
        [o],
        [{"scheduler": plateau(o), "monitor": "val", "interval": "step", "frequency": 2, "strict": False}],
    ),
    "plateau lax": lambda o: ([o], [{"scheduler": plateau(o), "monitor": "no such", "strict": False}]),
    "none": lambda o: o,
    "list": lambda o: [o],
}


@pytest.mark.few(1)
@pytest.mark.filterwarnings("ignore:.*ReduceLROnPlateau.*")
@pytest.mark.parametrize(
    ("case", "n"),
    [
        *((case, 2) for case in ("epoch", "step", "step frequency", "two", "plateau", "plateau step")),
        *(slow(case, 1) for case in CONFIGURED),
        *(slow(case, 2) for case in ("bare", "one scheduler, no list", "epoch frequency", "plateau dict")),
        *(slow(case, 2) for case in ("plateau epoch metric", "plateau lax", "none", "list")),
    ],
)
def test_learning_rates_are_those_of_automatic_optimization(case, n):
    seen = []
    for form in (ManualFront, AutoFront, Plain):

        class Net(form):
            def validation_step(self, batch, batch_idx):
                self.log("val", float(self.global_step))

            def configure_optimizers(self):
                return CONFIGURED[case](sgd(self.parameters()))

        manual = form is ManualFront
        rates = Rates()
        model = Net(accumulate_grad_batches=n) if manual else Net()
        fit = trainer(
            max_epochs=5,
            callbacks=[rates],
            num_sanity_val_steps=0,
            val_check_interval=0.5,
            **({} if manual else {"accumulate_grad_batches": n}),
        )
        fit.fit(model, loader(), loader(4))
        seen.append((rates.rates, model))
    assert seen[0][0] == seen[1][0] == seen[2][0]
    assert distance(seen[0][1].net, seen[1][1].net) == 0
    assert (len(set(seen[0][0])) > 1) == (case not in ("none", "list", "plateau lax"))


def test_a_plateau_without_its_metric_is_an_error():
    class Net(ManualFront):
        def configure_optimizers(self):
            optimizer = sgd(self.parameters())
            return {"optimizer": optimizer, "lr_scheduler": plateau(optimizer), "monitor": "no such"}

    with pytest.raises(MisconfigurationException, match=r"no such.*Logged are.*loss"):
        fitted(Net())


def test_a_plateau_may_carry_its_monitor_and_hooks_on_the_instance_work():
    """As LightningCLI does it: on the instance, so past the mixin."""

    def configure():
        optimizer = sgd(model.parameters())
        scheduler = plateau(optimizer)
        scheduler.monitor = "loss"
        return [optimizer], [scheduler]

    model = ManualFront()
    model.configure_optimizers = configure
    rates = Rates()
    fitted(model, callbacks=[rates], max_epochs=4)
    assert rates.rates[0] == 0.3
    assert rates.rates[-1] == 0.3 / 16


def test_no_warning_about_keys_that_are_honoured(recwarn):
    class Net(ManualFront):
        def configure_optimizers(self):
            optimizer = sgd(self.parameters())
            return [optimizer], [{"scheduler": plateau(optimizer), "monitor": "loss", "strict": True, "name": "mine"}]

    monitor = LearningRateMonitor()

    class Logger(Callback):
        def on_train_start(self, trainer, pl_module):
            self.config = trainer.lr_scheduler_configs[0]

    look = Logger()
    fitted(Net(), callbacks=[look])
    assert look.config.name == "mine"
    assert monitor is not None
    assert not [w for w in recwarn if "ignored" in str(w.message)]


def test_the_users_lr_scheduler_step_is_called():
    class Net(ManualFront):
        calls = []

        def configure_optimizers(self):
            optimizer = sgd(self.parameters())
            return [optimizer], [step_lr(optimizer)]

        def lr_scheduler_step(self, scheduler, metric):
            self.calls.append((type(scheduler).__name__, metric))

    fitted(Net())
    assert Net.calls == [("StepLR", None)] * 2


@pytest.mark.filterwarnings("ignore:.*ckpt_path.*")
@pytest.mark.parametrize(
    ("case", "save_on_train_epoch_end"),
    [
        ("plateau dict", True),
        ("step", False),
        *(slow(*n) for n in (("epoch", True), ("epoch", False), ("step", True), ("plateau dict", False))),
    ],
)
def test_schedules_resume(case, save_on_train_epoch_end, tmp_path):
    def run(form, epochs, ckpt_path=None):
        class Net(form):
            def validation_step(self, batch, batch_idx):
                self.log("val", 1.0)

            def configure_optimizers(self):
                return CONFIGURED[case](sgd(self.parameters()))

        save = ModelCheckpoint(
            dirpath=tmp_path / form.__name__, filename="two", save_on_train_epoch_end=save_on_train_epoch_end
        )
        model, rates = Net(), Rates()
        callbacks = [rates, save] if epochs == 2 else [rates]
        fit = trainer(max_epochs=epochs, enable_checkpointing=epochs == 2, callbacks=callbacks, num_sanity_val_steps=0)
        fit.fit(model, loader(), loader(4), ckpt_path=ckpt_path)
        return model, rates.rates

    def resumed(form):
        run(form, 2)
        return run(form, 4, tmp_path / form.__name__ / "two.ckpt")

    model, rates = resumed(ManualFront)
    if case == "plateau dict" and not save_on_train_epoch_end:
        # saved before the scheduler had its metric: automatic optimization loses that step, and so do we
        other, other_rates = resumed(AutoFront)
    else:
        other, other_rates = run(ManualFront, 4)
        other_rates = other_rates[-len(rates) :]
    assert rates == other_rates
    assert len(rates) > 20
    assert distance(model.net, other.net) == 0


def test_take_monitors_refuses():
    o = sgd(network().parameters())
    with pytest.raises(MisconfigurationException, match="returned 2"):
        take_monitors([o, sgd(network().parameters())])
    with pytest.raises(MisconfigurationException, match="returned 2"):
        take_monitors(([o, o], []))
    with pytest.raises(MisconfigurationException, match="returned 0"):
        take_monitors(None)
    with pytest.raises(MisconfigurationException, match="monitor"):
        take_monitors({"optimizer": o, "lr_scheduler": plateau(o)})
    with pytest.raises(MisconfigurationException, match="'batch'"):
        take_monitors(([o], [{"scheduler": step_lr(o), "interval": "batch"}]))
    with pytest.raises(MisconfigurationException, match="scheduler"):
        take_monitors(([o], [{"interval": "step"}]))
    with pytest.warns(RuntimeWarning, match="freq"):
        kept, _ = take_monitors(([o], [{"scheduler": step_lr(o), "freq": 2}]))
    assert list(kept[1][0]) == ["scheduler"]


def test_take_monitors_leaves_the_users_dict_alone():
    o = torch.optim.SGD([nn.Parameter(torch.ones(1))])
    theirs = {"scheduler": plateau(o), "monitor": "a"}
    conf = {"optimizer": o, "lr_scheduler": theirs, "monitor": "b"}
    _, [taken] = take_monitors(conf)
    assert taken.monitor == "a"
    assert set(theirs) == {"scheduler", "monitor"}
    assert set(conf) == {"optimizer", "lr_scheduler", "monitor"}
