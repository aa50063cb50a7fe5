"""What is the Trainer's under automatic optimization."""

import pytest
import torch
from torch import nn

from lightning_al.training import sam_step
from tests.helpers.sam_reference import (
    EXACT,
    AutoFront,
    ManualFront,
    distance,
    expected,
    fitted,
    loader,
    network,
)


def test_an_optimizer_step_of_the_users_keeps_working():
    class Net(AutoFront):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            for group in optimizer.param_groups:
                group["lr"] = 0.1
            optimizer.step(closure=optimizer_closure)

    model = fitted(Net())
    assert distance(model.net, expected(optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))) < EXACT


def lbfgs(params):
    return torch.optim.LBFGS(params, lr=0.5, max_iter=3)


def test_an_optimizer_that_evaluates_the_loss_itself():
    """Each of its evaluations is one of SAM, written out here by hand."""
    net, rho = network(), 0.05
    optimizer = lbfgs(net.parameters())
    weights = list(net.parameters())
    for _ in range(2):
        for x, y in loader():

            def gradient(x=x, y=y):
                loss = nn.functional.cross_entropy(net(x), y)
                return loss, torch.autograd.grad(loss, weights)

            def closure(gradient=gradient):
                loss, up = gradient()
                length = sum(g.square().sum() for g in up).sqrt()
                before = [w.detach().clone() for w in weights]
                with torch.no_grad():
                    for w, g in zip(weights, up, strict=True):
                        w.add_(rho * g / length)
                _, steepest = gradient()
                with torch.no_grad():
                    for w, old, g in zip(weights, before, steepest, strict=True):
                        w.copy_(old)
                        w.grad = g
                return loss

            optimizer.step(closure)
    assert (
        distance(fitted(AutoFront(optimizer=lbfgs)).net, net) < 1e-6
    )  # its estimates of the curvature amplify rounding


def test_where_there_is_no_closure_such_an_optimizer_is_refused():
    with pytest.raises(TypeError, match=r"LBFGS needs a closure.*AutoSAMMixin"):
        fitted(ManualFront(optimizer=lbfgs))
    net = network()
    with pytest.raises(TypeError, match=r"LBFGS needs a closure.*AutoSAMMixin"):
        sam_step(net.parameters(), lbfgs(net.parameters()), lambda: None)
