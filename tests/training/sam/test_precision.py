"""SAM under autocast, and with a gradient scaler that skips steps."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.nn import functional as F

from tests.helpers.marks import slow
from tests.helpers.sam_reference import (
    AutoFront,
    ManualFront,
    distance,
    expected,
    loader,
    network,
    sam_epsilon,
    sgd,
    trainer,
)


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


@pytest.mark.parametrize(
    ("clip", "initial"), [(0.1, 2.0**10), (None, 2.0**40), slow(None, 2.0**10), slow(0.1, 2.0**40)]
)
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
