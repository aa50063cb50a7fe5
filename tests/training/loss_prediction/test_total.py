"""The total loss: what reaches the main model, and what is no loss of each sample."""

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from torch.nn import functional as F

from lightning_al.training import LossPredictionMixin
from tests.helpers.loss_reference import (
    Front,
    Plain,
    fitted,
    trained,
)


class Reach(Callback):
    """Whether the auxiliary loss reaches the main model, epoch by epoch: by the gradient with a main loss of zero."""

    def __init__(self):
        self.main, self.module = [], []

    def on_after_backward(self, trainer, pl_module):
        self.main.append(max(float(p.grad.abs().max()) for p in pl_module.net[0].parameters()))
        self.module.append(max(float(p.grad.abs().max()) for p in pl_module.loss_prediction.parameters()))


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("epochs", "share", "last"), [(10, None, 6), (5, None, 3), (4, 0.0, 0), (4, 0.5, 2), (3, 1.0, 2), (100, 0.57, 57)]
)
def test_the_gradient_reaches_the_main_model_up_to_an_epoch(epochs, share, last):
    class NoMain(Front):
        def training_step(self, batch, batch_idx):
            return 0 * super().training_step(batch, batch_idx)

        def losses_per_sample(self, caught, output, batch, batch_idx):
            return F.cross_entropy(self.net(batch[0]), batch[1], reduction="none")

    reach = Reach()
    model = NoMain(
        optimizer=lambda params: torch.optim.SGD(params, lr=0.0),
        loss_margin=50.0,
        **({} if share is None else {"loss_detach_after": share}),
    )
    fitted(model, max_epochs=epochs, limit_train_batches=1, callbacks=[reach])
    assert [g > 0 for g in reach.main] == [epoch <= last for epoch in range(epochs)]
    assert all(g > 0 for g in reach.module)


def test_a_loss_written_by_hand_needs_the_method():
    class ByHand(Plain):
        def training_step(self, batch, batch_idx):
            log_p = self(batch[0]).log_softmax(1)
            losses = -log_p.gather(1, batch[1][:, None])[:, 0]
            return {"loss": losses.mean(), "losses": losses}

    class Net(LossPredictionMixin, ByHand):
        pass

    with pytest.raises(MisconfigurationException, match=r"Override `losses_per_sample\(self, caught, output"):
        fitted(Net())

    class Tells(LossPredictionMixin, ByHand):
        def losses_per_sample(self, caught, output, batch, batch_idx):
            assert caught is None
            return output["losses"]

    trained(Tells)


@pytest.mark.parametrize("shape", [(2,), ()])
def test_losses_of_another_shape_are_refused(shape):
    class Net(Front):
        def losses_per_sample(self, caught, output, batch, batch_idx):
            return torch.zeros(shape, dtype=torch.float64)

    with pytest.raises(MisconfigurationException, match=r"features are of 4 samples.*losses_per_sample"):
        fitted(Net())


@pytest.mark.parametrize(
    ("output", "said"), [(None, "returned None"), ({"x": 1}, r"a dict with the keys \['x'\]"), (1, "an? int")]
)
def test_a_step_that_returns_no_loss_is_refused(output, said):
    class Nothing(Front):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            return output

    with pytest.raises(MisconfigurationException, match=said):
        fitted(Nothing())
