"""Every fit starts as if its Trainer and model were new."""

import pytest
import torch

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
