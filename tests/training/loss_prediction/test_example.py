"""Making the module from one run of the model on example inputs."""

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_al.nn import LossPrediction
from lightning_al.training.loss_prediction.example import like_weights
from tests.helpers.loss_reference import (
    WIDTH,
    Front,
    fitted,
    loader,
    made,
    network,
)
from tests.helpers.projects import Net
from tests.helpers.sam_reference import distance


def test_made_in_a_plain_fit_and_configure_model():
    class Late(Front):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.net, self.calls = None, 0

        def configure_model(self):
            self.calls += 1
            self.net = self.net or network()

    model = Late(loss_width=WIDTH)
    torch.manual_seed(5)
    fitted(model, max_epochs=1)
    assert (model.calls, model.loss_prediction.layers) == (1, ["net.1"])
    weights = model.loss_prediction
    fitted(model, max_epochs=1)
    assert model.loss_prediction is weights


def test_making_it_draws_nothing_from_the_global_generators():
    model, again = Front(), Front()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    made(model)
    assert torch.equal(torch.get_rng_state(), state)
    made(again)
    assert distance(model.loss_prediction, again.loss_prediction) == 0  # and follows from them


def test_example_input_array_and_batches_that_say_nothing():
    class Dicts(Front):
        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self(batch["x"]), batch["y"])

    rows = [{"x": x, "y": y} for x, y in loader().dataset]
    with pytest.raises(MisconfigurationException, match=r"\(dict\).*example_input_array"):
        fitted(Dicts(), DataLoader(rows, batch_size=4), max_epochs=1)
    model = Dicts()
    for example in (torch.zeros(3, 5).double(), (torch.zeros(3, 5).double(),), {"x": torch.zeros(3, 5).double()}):
        model.example_input_array = example
        fitted(model, DataLoader(rows, batch_size=4), max_epochs=1)
        del model.loss_prediction

    class NoForward(Front):
        forward = LightningModule.forward

    with pytest.raises(MisconfigurationException, match=r"could not be run once.*example_input_array"):
        fitted(NoForward())


def test_a_module_of_ones_own_is_taken():
    model = Front()
    model.loss_prediction = own = LossPrediction({"net.0": 7}, width=2).double()
    fitted(model, max_epochs=1)
    assert model.loss_prediction is own
    taken = Front()
    taken.loss_prediction = nn.Linear(1, 1)
    with pytest.raises(TypeError, match=r"Front.loss_prediction is a Linear.*Rename"):
        fitted(taken, max_epochs=1)


def test_inputs_go_to_where_the_weights_are_whatever_the_module_says():
    net = Net().to("meta")
    net.net = Net().net  # made since
    assert net.device.type == "meta"
    assert like_weights(net, torch.zeros(2, 4)).device.type == "cpu"
