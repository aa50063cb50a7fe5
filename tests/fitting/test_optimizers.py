"""Every fit trains with optimizers of its own."""

import lightning as L
import pytest
import torch

from lightning_al.fitting.optimizers import OptimizerGuard, optimizers_in
from tests.helpers.projects import Net, start


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


def test_optimizers_in_every_form_that_may_be_returned():
    one, two = sgd(Net()), sgd(Net())
    schedule = torch.optim.lr_scheduler.StepLR(one, 1)
    assert optimizers_in(None) == []
    assert optimizers_in(one) == [one]
    assert optimizers_in({"optimizer": one, "lr_scheduler": schedule}) == [one]
    assert optimizers_in(({"optimizer": one}, {"optimizer": two})) == [one, two]
    assert optimizers_in(([one, two], [schedule])) == [one, two]


class Configures(Net):
    """Returns what it is told to."""

    configured = None

    def configure_optimizers(self):
        return self.configured[0]


def test_what_is_refused():
    model = Configures()
    guard = OptimizerGuard(model)

    def fit(optimizer):
        model.configured = [optimizer]  # in a list, so that it is not found on the model
        with guard.watching():
            assert model.configure_optimizers() is optimizer
        assert "configure_optimizers" not in vars(model)

    first = sgd(model)
    fit(first)
    assert guard.last == [first]
    with pytest.raises(RuntimeError, match="returned the same SGD object again"):
        fit(first)
    with pytest.raises(RuntimeError, match="returned a SGD that holds none of the model's parameters"):
        fit(sgd(Net()))
    with pytest.raises(RuntimeError, match="Configures returned None, so nothing would train"):
        fit(None)
    assert guard.last == [first]
    assert "configure_optimizers" not in vars(model)
    model.automatic_optimization = False
    fit(None)
    assert guard.last == []
    model.mine = sgd(model)
    with pytest.raises(RuntimeError, match="returned the same SGD object again"):
        fit(model.mine)


def test_a_model_that_configures_none_is_left_alone():
    model = L.LightningModule()
    with OptimizerGuard(model).watching():
        assert "configure_optimizers" not in vars(model)


def test_an_optimizer_that_is_returned_again(tmp_path):
    made = []

    class Cached(Net):
        def configure_optimizers(self):
            made.append(made[0] if made else super().configure_optimizers())
            return made[0]

    with pytest.raises(RuntimeError, match="returned the same SGD object again"):
        start(tmp_path, model=Cached())
