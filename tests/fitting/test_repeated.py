"""Every fit starts as if its Trainer and model were new."""

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import QueryByCommittee
from tests.helpers.projects import Data, Net, make_trainer


class Thaws(Net):
    """Trains its head first, and its body, in training mode, from epoch 1."""

    def __init__(self):
        super().__init__(dropout=0.5)
        self.net[0].requires_grad_(False)
        self.net[3].eval()
        self.seen = []

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.net[0].requires_grad_(True)
            self.net[3].train()
        self.seen.append((self.current_epoch, self.net[0].weight.requires_grad, self.net[3].training))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


@pytest.mark.parametrize("reset", ["initial", "warm", "continue", "fresh"])
def test_what_was_frozen_is_frozen_again_in_the_next_round(tmp_path, reset):
    """Later rounds began with what the first had thawed."""
    model = Thaws()
    loop = ActiveLearningLoop(model, Data(), initial=8, query_size=4, rounds=2, reset=reset, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path))
    assert model.seen == [(0, False, False), (1, True, True)] * 3


def test_members_of_a_committee_begin_frozen_too(tmp_path):
    model = Thaws()
    loop = ActiveLearningLoop(model, Data(), initial=8, query_size=4, rounds=1, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path, acquisition=QueryByCommittee(members=2)))
    assert len(model.seen) > 4
    assert model.seen == [(0, False, False), (1, True, True)] * (len(model.seen) // 2)


class FailsOnce(Net):
    """Its evaluation fails after the fit of one round, the first time."""

    def __init__(self, round_number):
        super().__init__()
        self.fits_left = round_number + 1

    def on_fit_end(self):
        self.fits_left -= 1

    def on_validation_epoch_end(self):
        if self.fits_left == 0 and self.trainer.state.fn == TrainerFn.VALIDATING:
            self.fits_left = -1
            raise ConnectionError("the metrics' server is away")


@pytest.mark.parametrize("round_number", [0, 1])
def test_a_fit_that_was_not_recorded_leaves_no_momentum(tmp_path, round_number):
    """Fitted again, in the same process too, a round begins with what the optimizers of the last one had gathered."""
    options = {"initial": 8, "query_size": 4, "rounds": 2, "reset": "continue"}
    smooth, fails = Net(), FailsOnce(round_number)
    history = ActiveLearningLoop(smooth, Data(), dirpath=tmp_path / "smooth", **options).run(make_trainer(tmp_path))
    loop = ActiveLearningLoop(fails, Data(), dirpath=tmp_path / "fails", **options)
    trainer = make_trainer(tmp_path)
    with pytest.raises(ConnectionError):
        loop.run(trainer)
    again = loop.run(trainer)
    assert [(r.picked, r.metrics) for r in again] == [(r.picked, r.metrics) for r in history]
    for name, weight in smooth.state_dict().items():
        assert torch.equal(fails.state_dict()[name], weight), name
