"""What is the Trainer's under automatic optimization."""

import torch

from tests.helpers.sam_reference import (
    EXACT,
    AutoFront,
    distance,
    expected,
    fitted,
)


def test_an_optimizer_step_of_the_users_keeps_working():
    class Net(AutoFront):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            for group in optimizer.param_groups:
                group["lr"] = 0.1
            optimizer.step(closure=optimizer_closure)

    model = fitted(Net())
    assert distance(model.net, expected(optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))) < EXACT
