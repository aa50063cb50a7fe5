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


def hand_scaled(initial, epochs, clip=None, variant="sam", rho=0.05):
    """SAM with a gradient scaler: the first gradient only gives a direction, so it is not unscaled."""
    kept = {"t": 0}

    def flat(grads):
        return torch.cat([g.flatten() for g in grads])

    def turned(first):
        """The direction by equation, of both gradients in the same scale."""
        g, ahead = flat(first), flat([w.grad.double() for w in params])
        if variant == "gsam":
            ahead = ahead - 0.4 * (g - g.dot(ahead) / ahead.dot(ahead) * ahead)
        if variant == "looksam" and ahead.isfinite().all():
            kept["v"] = ahead - g.dot(ahead) / g.dot(g) * g
            kept["t"] = 1
        return ahead

    net, scaler = network(torch.float32), torch.amp.GradScaler("cpu", init_scale=initial)
    params = list(net.parameters())
    optimizer = sgd(params)

    def backward(x, y):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.half, cache_enabled=False):
            loss = F.cross_entropy(net(x), y)
        scaler.scale(loss).backward()

    def write(direction):
        for w, part in zip(params, direction.split([w.numel() for w in params])):
            w.grad = part.view_as(w).to(w)

    def step():
        scaler.unscale_(optimizer)
        if clip:
            nn.utils.clip_grad_norm_(params, clip)
        scaler.step(optimizer)
        scaler.update()

    for _ in range(epochs):
        for x, y in loader(dtype=torch.float32):
            backward(x, y)
            theta = [w.detach().clone() for w in params]
            grads = [w.grad.double() for w in params]
            if variant == "looksam" and kept["t"] % 3:
                v, g = kept["v"], flat(grads)
                kept["t"] += bool(g.isfinite().all())
                write(g + 0.7 * g.norm() / v.norm() * v)
                step()
                continue
            if all(g.isfinite().all() for g in grads):
                with torch.no_grad():
                    for w, e in zip(params, sam_epsilon(theta, grads, None, rho=rho)):
                        w += e
            backward(x, y)
            for w, t in zip(params, theta):
                w.data = t
            write(turned(grads))
            step()
    return net


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("variant", "clip", "initial"),
    [
        ("sam", 0.1, 2.0**10),
        ("sam", None, 2.0**40),
        *(slow("sam", *case) for case in ((None, 2.0**10), (0.1, 2.0**40))),
        *(slow(v, *case) for v in ("gsam", "looksam") for case in ((None, 2.0**10), (0.1, 2.0**40))),
    ],
)
@pytest.mark.parametrize("form", [ManualFront, AutoFront])
def test_gradient_scaler(form, variant, initial, clip):
    scaler = torch.amp.GradScaler("cpu", init_scale=initial)
    manual = form is ManualFront
    options = {} if variant == "sam" else {"variant": variant, **({"every": 3} if variant == "looksam" else {})}
    # LookSAM blows the part that is orthogonal up to the size of the gradient, and half precision's rounding with it.
    rho, epochs, tolerance = (0.5, 2 if initial < 2.0**20 else 5, 1e-2) if variant == "looksam" else (0.05, 6, 1e-4)
    model = form(net=network(torch.float32), rho=rho, **options, **({"gradient_clip_val": clip} if manual else {}))
    count = Scaled()
    fit = trainer(
        max_epochs=epochs,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
        callbacks=[count],
        **({} if manual else {"gradient_clip_val": clip}),
    )
    fit.fit(model, loader(dtype=torch.float32))
    by_hand = hand_scaled(initial, epochs, clip, variant=variant, rho=rho)
    assert distance(model.net, by_hand) < tolerance
    assert distance(model.net, network(torch.float32)) > 1e-2
    assert (count.skipped > 5) == (initial > 2.0**20)
    assert all(w.isfinite().all() for w in model.parameters())


def test_bf16_autocast_trains_with_float32_steps():
    model = ManualFront(net=network(torch.float32))
    fit = trainer(precision="bf16-mixed")
    fit.fit(model, loader(dtype=torch.float32))
    assert distance(model.net.double(), expected()) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("form", [ManualFront, AutoFront])
@pytest.mark.parametrize(("variant", "options"), [("esam", {"gamma": 1.0, "beta": 1.0}), ("saf", {}), ("mesa", {})])
def test_variants_that_look_at_samples_train_under_a_scaler(variant, options, form):
    options = options or {"start_epoch": 1, **({"lag": 1} if variant == "saf" else {"decay": 0.8})}
    model, whole = form(net=network(torch.float32), variant=variant, **options), form(variant=variant, **options)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    trainer(max_epochs=3, plugins=[MixedPrecision("16-mixed", "cpu", scaler)]).fit(model, loader(dtype=torch.float32))
    trainer(max_epochs=3).fit(whole, loader())
    assert distance(model.net.double(), whole.net) < 0.05
    assert distance(whole.net, network()) > 0.1
