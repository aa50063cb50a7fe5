"""A small campaign that kept its weights, open to be looked at."""

import lightning as L
import pytest
import torch

from lightning_al.report.diagnostics import open_campaign
from lightning_al.storage.weights import whole_copy
from tests.helpers.projects import Data, Net, loop_in, make_trainer


class Noted(L.Callback):
    """Notes what the model is when each round ends, and what was scored and picked."""

    def __init__(self):
        self.states, self.candidates, self.labelled = [], [], []

    def on_query_start(self, trainer, pl_module, loop):
        self.labelled.append(loop.pool.labelled.tolist())

    def on_round_end(self, trainer, pl_module, loop):
        self.states.append(whole_copy(pl_module.state_dict()))


@pytest.fixture(scope="session")
def campaign(tmp_path_factory):
    """Its folder, what a callback noted of it, and its history."""
    folder, noted = tmp_path_factory.mktemp("kept"), Noted()
    loop = loop_in(folder, model=Net(batch_norm=True), keep_weights=True, rounds=2, subpool_size=30, evaluate="test")
    history = loop.run(make_trainer(folder, noted, max_epochs=4))
    return folder / "c", noted, history


@pytest.fixture(scope="session")
def kept(campaign):
    torch.manual_seed(0)
    with open_campaign(campaign[0], Net(batch_norm=True), Data(), name="kept", batch_size=7) as opened:
        yield opened
