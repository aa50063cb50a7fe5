"""What a model's weights are when they are kept and given back."""

import lightning as L
import pytest
import torch
from torch import nn

from lightning_al import ActiveLearningLoop, Campaign
from lightning_al.acquisition import Entropy, QueryByCommittee
from tests.helpers.projects import Data, Net, make_trainer


class Versioned(nn.Linear):
    """Weights of its first release were half as large."""

    _version = 2

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        if (local_metadata.get("version") or 1) < 2:
            state_dict[f"{prefix}weight"] = 2 * state_dict[f"{prefix}weight"]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class Extra(nn.Identity):
    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def forward(self, x):
        self.extra["batches"] += 1
        return x

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state


def run(model, tmp_path, *callbacks):
    loop = ActiveLearningLoop(model, Data(), initial=6, query_size=4, rounds=2, dirpath=tmp_path)
    return loop.run(make_trainer(tmp_path, *callbacks, max_epochs=1))


def test_modules_with_versions_get_weights_of_their_own_version(tmp_path):
    model = Net(lr=0.0)
    model.net[-1] = Versioned(8, 3).double()
    before = model.net[-1].weight.detach().clone()
    run(model, tmp_path)
    assert torch.equal(model.net[-1].weight, before)


def test_every_round_starts_from_the_extra_state_that_there_was(tmp_path):
    class Starts(L.Callback):
        def on_train_start(self, trainer, pl_module):
            seen.append(pl_module.net[1].extra["batches"])

    seen: list[int] = []
    model = Net()
    model.net[1] = Extra({"batches": 0})
    run(model, tmp_path, Starts())
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_extra_state_that_could_not_be_read_back_is_refused_at_once(tmp_path):
    class Counts(dict):
        pass

    model = Net()
    model.net[1] = Extra(Counts(batches=0))
    with pytest.raises(TypeError, match=r"`net\.1\._extra_state` of the model's `state_dict` is a Counts"):
        run(model, tmp_path)
    assert not Campaign.exists(tmp_path)


class Counting(Net):
    """Has extra state that is no tensor, and writes to it."""

    def __init__(self):
        super().__init__()
        self.net.insert(0, Extra({"batches": 0}))

    def on_fit_start(self):
        self.starts = [*getattr(self, "starts", []), self.net[0].extra["batches"]]


class WithSetup(Counting):
    def setup(self, stage):
        pass


@pytest.mark.parametrize(
    ("model", "acquisition"),
    [(WithSetup, Entropy), (Counting, lambda: QueryByCommittee(members=2))],
    ids=["setup", "committee"],
)
def test_extra_state_that_is_no_tensor_begins_anew_in_every_fit(tmp_path, model, acquisition):
    net = model()
    loop = ActiveLearningLoop(net, Data(), initial=6, query_size=4, rounds=2, dirpath=tmp_path)
    loop.run(make_trainer(tmp_path, acquisition=acquisition(), max_epochs=1))
    assert len(net.starts) >= 3
    assert set(net.starts) == {net.starts[0]}


def test_extra_state_that_is_no_tensor_goes_with_fresh_weights(tmp_path):
    loop = ActiveLearningLoop(Counting(), Data(), initial=6, query_size=4, rounds=1, reset="fresh", dirpath=tmp_path)
    assert [r.labelled for r in loop.run(make_trainer(tmp_path, max_epochs=1))] == [6, 10]
