import math

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.nn import functional as F

from lightning_al.training import AutoSAMMixin, SAMMixin
from tests.helpers.sam_reference import (
    AUTO,
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

BATCHES = 6
EXACT = 1e-11  # the papers' 1e-12 beside a norm of about 0.1


# ---- equal to the loop written by hand


@pytest.mark.parametrize("make_optimizer", [sgd, adam])
@pytest.mark.parametrize("form", MANUAL + AUTO)
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
@pytest.mark.parametrize("as_attribute", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_options_reach_the_perturbation(form, as_attribute, name):
    options, epsilon = OPTIONS[name]
    model = type("Net", (form,), dict(options))() if as_attribute else form(**options)
    fitted(model, max_epochs=1)
    assert distance(model.net, expected(epochs=1, epsilon=epsilon)) < EXACT


@pytest.mark.parametrize("n", [2, 4, 10])
def test_accumulation_is_of_the_whole_window_also_the_last_incomplete_one(n):
    by_hand = expected(n=n)
    manual, auto = ManualFront(accumulate_grad_batches=n), AutoFront()
    fit = trainer()
    fit.fit(manual, loader())
    assert fit.global_step == 2 * math.ceil(BATCHES / n)
    fitted(auto, accumulate_grad_batches=n)
    assert distance(manual.net, by_hand) < EXACT
    assert distance(auto.net, by_hand) < EXACT
    assert distance(by_hand, expected()) > 1e-3


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


def test_the_users_hook_sees_the_gradient_before_clipping():
    class Net(ManualFront):
        def on_before_optimizer_step(self, optimizer):
            self.norm = torch.cat([w.grad.flatten() for w in self.parameters()]).norm().item()

    model = fitted(Net(gradient_clip_val=1e-3), max_steps=1)
    after = torch.cat([w.grad.flatten() for w in model.parameters()]).norm().item()
    assert after == pytest.approx(1e-3, rel=1e-3)
    assert model.norm > 0.05


def test_only_parameters_of_the_optimizer_count():
    class Net(ManualFront):
        def __init__(self):
            super().__init__()
            self.outside = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) + (5 * self.outside).sum()

        def configure_optimizers(self):
            return sgd(self.net.parameters())

    model = fitted(Net())
    assert distance(model.net, expected()) < EXACT
    assert model.outside.tolist() == [1.0] * 3


# ---- what a fit may do


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
def test_limit_train_batches_ends_the_window(form):
    accumulation = {"accumulate_grad_batches": 2}
    manual = form is ManualFront
    model = form(**accumulation) if manual else form()
    fitted(model, max_epochs=1, limit_train_batches=3, **({} if manual else accumulation))
    net = network()
    hand_sam(net, list(loader())[:3], sgd, n=2)
    assert distance(model.net, net) < EXACT


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
@pytest.mark.parametrize("skip_last", [False, True])
def test_a_step_that_returns_none_is_skipped(form, skip_last):
    skipped = 3 if skip_last else 2  # in windows of two: the last of the second, or its first

    class Net(form):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == skipped else {"loss": loss, "extra": 1}

    manual = form is ManualFront
    model = Net(accumulate_grad_batches=2) if manual else Net()
    fitted(model, max_epochs=1, **({} if manual else {"accumulate_grad_batches": 2}))
    batches = list(loader())
    net = network()
    optimizer = sgd(net.parameters())
    kept = next(b for i, b in enumerate(batches) if i in (2, 3) and i != skipped)
    for window in (batches[:2], [kept], batches[4:]):
        hand_sam(net, window, lambda _: optimizer, n=2)
    assert distance(model.net, net) < EXACT


def test_a_window_of_none_makes_no_step():
    class Net(ManualFront):
        def training_step(self, batch, batch_idx):
            return None

    model = Net()
    fit = trainer()
    fit.fit(model, loader())
    assert fit.global_step == 0
    assert distance(model.net, network()) == 0


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
def test_an_epoch_cut_short_leaves_nothing_to_the_next(form):
    class Net(form):
        def on_train_batch_start(self, batch, batch_idx):
            return -1 if batch_idx == 3 else None

    manual = form is ManualFront
    model = Net(accumulate_grad_batches=2) if manual else Net()
    fitted(model, **({} if manual else {"accumulate_grad_batches": 2}))
    net = network()
    hand_sam(net, list(loader())[:2], sgd, n=2, epochs=2)
    assert distance(model.net, net) < EXACT


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_a_second_fit_forgets_the_window_of_an_interrupted_one(form):
    class Net(form):
        broken = True

        def training_step(self, batch, batch_idx):
            if batch_idx == 1 and self.broken:
                raise KeyError("user")
            return super().training_step(batch, batch_idx)

    manual = form is ManualFront
    options = {} if manual else {"accumulate_grad_batches": 3}
    model = Net(accumulate_grad_batches=3) if manual else Net()
    with pytest.raises(KeyError):
        fitted(model, **options)
    model.broken = False
    fitted(model, **options)
    assert distance(model.net, expected(n=3)) < EXACT


def test_training_step_outside_of_training_is_the_users():
    class Net(ManualFront):
        def validation_step(self, batch, batch_idx):
            return self.training_step(batch, batch_idx)

    model = Net()
    loss = Plain.training_step(Plain(), next(iter(loader())), 0)
    assert model.training_step(next(iter(loader())), 0).item() == loss.item()
    trainer().validate(model, loader(), verbose=False)
    assert distance(model.net, network()) == 0
    assert set(model.passes) == {0}


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_validation_during_the_fit_is_not_trained_on(form):
    class Net(form):
        def validation_step(self, batch, batch_idx):
            self.training_step(batch, batch_idx)

    model = Net()
    trainer().fit(model, loader(), loader())
    assert distance(model.net, expected()) < EXACT


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_a_validation_inside_a_window_leaves_its_gradients(form):
    class Net(form):
        def validation_step(self, batch, batch_idx):
            pass

    manual = form is ManualFront
    model = Net(accumulate_grad_batches=2) if manual else Net()
    trainer(val_check_interval=3, **({} if manual else {"accumulate_grad_batches": 2})).fit(model, loader(), loader())
    assert distance(model.net, expected(n=2)) < EXACT


def test_an_optimizer_step_of_the_users_keeps_working():
    class Net(AutoFront):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            for group in optimizer.param_groups:
                group["lr"] = 0.1
            optimizer.step(closure=optimizer_closure)

    model = fitted(Net())
    assert distance(model.net, expected(optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))) < EXACT


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_steps_with_a_batch_only_and_decorated_steps_are_called_as_by_lightning(form):
    class Short(form):
        def training_step(self, batch):
            return F.cross_entropy(self.net(batch[0]), batch[1])

    assert distance(fitted(Short()).net, expected()) < EXACT


# ---- checkpoints


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


# ---- fp16 gradient scaler


class Scaled(Callback):
    def __init__(self):
        self.skipped = self.taken = 0
        self.before = None

    def on_train_batch_start(self, trainer, pl_module, *_):
        self.before = [w.detach().clone() for w in pl_module.parameters()]

    def on_train_batch_end(self, trainer, pl_module, *_):
        same = all(torch.equal(a, b) for a, b in zip(self.before, pl_module.parameters()))
        self.skipped += same
        self.taken += not same


def hand_scaled(initial, epochs, clip=None):
    """SAM with a gradient scaler: the first gradient only gives a direction, so it is not unscaled."""
    net, scaler = network(torch.float32), torch.amp.GradScaler("cpu", init_scale=initial)
    params = list(net.parameters())
    optimizer = sgd(params)

    def backward(x, y):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.half, cache_enabled=False):
            loss = F.cross_entropy(net(x), y)
        scaler.scale(loss).backward()

    for _ in range(epochs):
        for x, y in loader(dtype=torch.float32):
            backward(x, y)
            theta = [w.detach().clone() for w in params]
            grads = [w.grad.double() for w in params]
            if all(g.isfinite().all() for g in grads):
                with torch.no_grad():
                    for w, e in zip(params, sam_epsilon(theta, grads, None)):
                        w += e
            backward(x, y)
            for w, t in zip(params, theta):
                w.data = t
            scaler.unscale_(optimizer)
            if clip:
                nn.utils.clip_grad_norm_(params, clip)
            scaler.step(optimizer)
            scaler.update()
    return net


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("initial", [2.0**10, 2.0**40])
@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_gradient_scaler(form, initial, clip):
    scaler = torch.amp.GradScaler("cpu", init_scale=initial)
    manual = form is ManualFront
    model = form(net=network(torch.float32), **({"gradient_clip_val": clip} if manual else {}))
    count = Scaled()
    fit = trainer(
        max_epochs=6,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
        callbacks=[count],
        **({} if manual else {"gradient_clip_val": clip}),
    )
    fit.fit(model, loader(dtype=torch.float32))
    by_hand = hand_scaled(initial, 6, clip)
    assert distance(model.net, by_hand) < 1e-4
    assert distance(model.net, network(torch.float32)) > 1e-2
    assert (count.skipped > 5) == (initial > 2.0**20)
    assert all(w.isfinite().all() for w in model.parameters())


def test_bf16_autocast_trains_with_float32_steps():
    model = ManualFront(net=network(torch.float32))
    fit = trainer(precision="bf16-mixed")
    fit.fit(model, loader(dtype=torch.float32))
    assert distance(model.net.double(), expected()) < 0.05


# ---- m-sharpness needs ranks, see test_sam_distributed.py; noise needs dropout


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.masks = network(), []

    def forward(self, x):
        mask = torch.rand(x.shape) < 0.5
        self.masks.append(mask)
        return self.body(x * mask)


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("same", [False, True])
def test_same_noise(form, n, same):
    manual = form is ManualFront
    model = form(net=Noisy(), same_noise=same, **({"accumulate_grad_batches": n} if manual else {}))
    fitted(model, max_epochs=1, data=loader(count=16), **({} if manual else {"accumulate_grad_batches": n}))
    masks = model.net.masks
    assert len(masks) == 8
    for start in range(0, 8, 2 * n):
        first, second = masks[start : start + n], masks[start + n : start + 2 * n]
        assert all(torch.equal(a, b) for a, b in zip(first, second)) == same
    firsts = [m for start in range(0, 8, 2 * n) for m in masks[start : start + n]]
    assert not any(torch.equal(a, b) for i, a in enumerate(firsts) for b in firsts[:i])


def test_same_noise_leaves_the_random_stream_where_a_plain_run_leaves_it():
    class Restless(Noisy):
        def forward(self, x):
            if torch.is_grad_enabled() and getattr(self.owner[0], "sam_pass", 0) == 1:
                torch.rand(7)  # draws more in the second pass
            return super().forward(x)

    ends = []
    for form in (
        Plain,
        lambda net: ManualFront(net=net, same_noise=True),
        lambda net: AutoFront(net=net, same_noise=True),
    ):
        model = form(net=Restless())
        model.net.owner = [model]
        torch.manual_seed(5)
        fitted(model)
        ends.append(torch.rand(3))
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


def test_both_mixins_take_keywords_on_own_init():
    for mixin in (SAMMixin, AutoSAMMixin):
        model = written_on(mixin, LightningModule)(rho=0.5)
        fitted(model, max_epochs=1)
        assert distance(model.net, expected(epochs=1, epsilon=lambda *a: sam_epsilon(*a, rho=0.5))) < EXACT
