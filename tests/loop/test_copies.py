"""What processes that are copies of the launching one hand back to it."""

import pytest
import torch

from lightning_al import ActiveLearningLoop, Campaign
from tests.helpers.processes import fork, run
from tests.helpers.projects import Data, Net, make_trainer


def test_what_workers_did_is_copied_back(tmp_path):
    model = Net()
    before = model.net[0].weight.detach().clone()
    history, loop = run(tmp_path, 2, model=model)
    assert not torch.equal(before, model.net[0].weight)  # trained weights
    assert len(loop.pool.labelled) == 16
    assert Campaign.load(tmp_path / "2").rounds == history
    assert loop.history == history


@pytest.mark.slow
@pytest.mark.parametrize("what", ["run", "ask"])
def test_forked_processes_hand_back_more_than_a_pipe_takes(tmp_path, what):
    class Large(Net):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.arange(100_000.0))

    model = Large()
    model.table.zero_()
    loop = ActiveLearningLoop(model, Data(), initial=6, query_size=5, rounds=1, dirpath=tmp_path / "c")
    before = model.net[0].weight.clone()
    with torch.no_grad():
        model.table += 1
    strategy, devices = fork(2)
    found = getattr(loop, what)(make_trainer(tmp_path, strategy=strategy, devices=devices, max_epochs=1))
    assert len(found) == (2 if what == "run" else 5)
    assert not torch.equal(before, model.net[0].weight)
    assert bool((model.table == 1).all())
    assert not list((tmp_path / "c").glob("returned*"))
