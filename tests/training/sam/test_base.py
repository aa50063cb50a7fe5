"""What both SAM mixins do alike: equal to the loop written by hand, whatever the fit is told."""

import math

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn import functional as F

from lightning_al.training import AutoSAMMixin, SAMMixin
from tests.helpers.marks import slow
from tests.helpers.sam_reference import (
    AUTO,
    BATCHES,
    EXACT,
    MANUAL,
    AutoFront,
    ManualFront,
    Plain,
    adam,
    asam_epsilon,
    by_norm,
    by_value,
    distance,
    expected,
    fitted,
    hand_sam,
    loader,
    network,
    sam_epsilon,
    sgd,
    trainer,
    written_on,
)


@pytest.mark.parametrize(
    ("form", "make_optimizer"),
    [*((form, sgd) for form in MANUAL + AUTO), *(slow(form, adam) for form in MANUAL + AUTO)],
)
def test_every_form_is_the_loop_written_by_hand(form, make_optimizer):
    model = form(optimizer=make_optimizer)
    fit = trainer()
    fit.fit(model, loader())
    assert distance(model.net, expected(optimizer=make_optimizer)) < EXACT
    assert model.passes == [0, 1] * (2 * BATCHES)  # one SAM step per batch, not two
    assert fit.global_step == 2 * BATCHES
    assert model.sam_pass == 0


OPTIONS = {
    "rho": ({"rho": 0.5}, lambda *a: sam_epsilon(*a, rho=0.5)),
    "p": ({"rho": 0.5, "p": 1.5}, lambda *a: sam_epsilon(*a, rho=0.5, p=1.5)),
    "p=inf": ({"p": math.inf}, lambda *a: sam_epsilon(*a, p=math.inf)),
    "perturbation": ({"perturbation": "asam", "rho": 0.5}, lambda *a: asam_epsilon(*a, rho=0.5)),
    "eta": (
        {"perturbation": "asam", "rho": 0.5, "eta": 0.3},
        lambda *a: asam_epsilon(*a, rho=0.5, eta=0.3),
    ),
    "scope": (
        {"perturbation": "asam", "rho": 0.5, "eta": 0.3, "scope": "weights"},
        lambda *a: asam_epsilon(*a, rho=0.5, eta=0.3, scope="weights"),
    ),
}


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
@pytest.mark.parametrize(
    ("name", "as_attribute"),
    [
        *((name, False) for name in OPTIONS),
        ("rho", True),
        *(slow(name, True) for name in OPTIONS if name != "rho"),
    ],
)
def test_options_reach_the_perturbation(form, as_attribute, name):
    options, epsilon = OPTIONS[name]
    model = type("Net", (form,), dict(options))() if as_attribute else form(**options)
    fitted(model, max_epochs=1)
    assert distance(model.net, expected(epochs=1, epsilon=epsilon)) < EXACT


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(("algorithm", "limit", "clip"), [("norm", 0.2, by_norm(0.2)), ("value", 0.03, by_value(0.03))])
def test_clipping_is_of_the_second_gradient(n, algorithm, limit, clip):
    by_hand = expected(n=n, clip=clip)
    options = {"gradient_clip_val": limit, "gradient_clip_algorithm": algorithm}
    manual = fitted(ManualFront(accumulate_grad_batches=n, **options))
    auto = fitted(AutoFront(), accumulate_grad_batches=n, **options)
    assert distance(manual.net, by_hand) < EXACT
    assert distance(auto.net, by_hand) < EXACT
    assert distance(by_hand, expected(n=n)) > 1e-3


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_max_steps_counts_batches(form):
    model = form()
    fit = trainer(max_epochs=-1, max_steps=4)
    fit.fit(model, loader())
    assert fit.global_step == 4
    net = network()
    hand_sam(net, list(loader())[:4], sgd)
    assert distance(model.net, net) < EXACT


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_weights_are_restored_when_the_second_pass_raises(form):
    class Net(form):
        def training_step(self, batch, batch_idx):
            self.seen = [w.detach().clone() for w in self.parameters()]
            if self.sam_pass == 1:
                raise KeyError("user")
            return super().training_step(batch, batch_idx)

    model = Net()
    with pytest.raises(KeyError):
        fitted(model)
    theta = network()
    assert all(torch.equal(a, b) for a, b in zip(model.net.parameters(), theta.parameters()))
    assert any((a != b).any() for a, b in zip(model.seen, theta.parameters()))
    assert model.sam_pass == 0


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_validation_during_the_fit_is_not_trained_on(form):
    class Net(form):
        def validation_step(self, batch, batch_idx):
            self.training_step(batch, batch_idx)

    model = Net()
    trainer().fit(model, loader(), loader())
    assert distance(model.net, expected()) < EXACT


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_steps_with_a_batch_only_and_decorated_steps_are_called_as_by_lightning(form):
    class Short(form):
        def training_step(self, batch):
            return F.cross_entropy(self.net(batch[0]), batch[1])

    assert distance(fitted(Short()).net, expected()) < EXACT


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_resuming_goes_on_exactly(form, tmp_path):
    whole = fitted(form(optimizer=adam), max_epochs=4)
    save = ModelCheckpoint(dirpath=tmp_path, filename="two")
    fitted(form(optimizer=adam), enable_checkpointing=True, callbacks=[save])
    resumed = form(optimizer=adam)
    fit = trainer(max_epochs=4)
    fit.fit(resumed, loader(), ckpt_path=tmp_path / "two.ckpt", weights_only=True)
    assert fit.global_step == 4 * BATCHES
    assert distance(resumed.net, whole.net) == 0
    assert distance(whole.net, expected(epochs=2, optimizer=adam)) > 1e-3


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_a_plain_modules_checkpoint_fits_the_mixin_and_back(form, tmp_path):
    model = fitted(form(), max_epochs=1)
    Plain().load_state_dict(model.state_dict())
    form().load_state_dict(Plain().state_dict())


def test_hyperparameters_of_both_are_saved(tmp_path):
    class Module(LightningModule):
        def __init__(self, width: int = 2):
            super().__init__()
            self.save_hyperparameters()
            self.net = network()

        training_step = Plain.training_step
        passes = []

        def configure_optimizers(self):
            return sgd(self.parameters())

    class Net(SAMMixin, Module):
        pass

    fit = trainer(max_epochs=1)
    fit.fit(Net(width=3, rho=0.7), loader())
    fit.save_checkpoint(tmp_path / "a.ckpt")
    loaded = Net.load_from_checkpoint(tmp_path / "a.ckpt")
    assert loaded.hparams.width == 3
    assert loaded._sam.options.rho == 0.7


def test_both_mixins_take_keywords_on_own_init():
    for mixin in (SAMMixin, AutoSAMMixin):
        model = written_on(mixin, LightningModule)(rho=0.5)
        fitted(model, max_epochs=1)
        assert distance(model.net, expected(epochs=1, epsilon=lambda *a: sam_epsilon(*a, rho=0.5))) < EXACT
