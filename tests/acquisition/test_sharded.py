"""Every acquisition from weights that lie in pieces on two processes (FSDP2): as from whole ones, or refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.registry import CASES, ONE_OF_EACH
from tests.helpers.scene import SCENES, write_tables

# One acquisition from sharded weights is in tests/campaigns/test_processes.py, quickly.
pytestmark = pytest.mark.slow

WHOLE_WEIGHTS = {"SAAL", "EntropyGradNorm", "ExpectedGradNorm", "LPLGrad", "QueryByCommittee"}
"""Those that run other weights than the model's own in it."""
MINE = [case for case in ONE_OF_EACH if case.model.__name__ == "Net"]

SCRIPT = """
import json, sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard

from tests.helpers.registry import ONE_OF_EACH
from tests.helpers.scene import KEPT, LABELLED, SCENES, SIZE, weights
from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import Random
from lightning_al.storage.weights import load_weights
from tests.helpers.picking import pick
from tests.helpers.projects import Data, Net, make_data, make_trainer


MINE = [case for case in ONE_OF_EACH if case.model is Net]


class Sharded(Net):
    def configure_model(self):
        if not hasattr(self.net[0].weight, "full_tensor"):
            for layer in (self.net[0], self.net[4]):
                fully_shard(layer, mesh=self.device_mesh["data_parallel"])
            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])

    def validation_step(self, batch, batch_idx):
        self(batch[0])


class Picker(L.Callback):
    def on_query_start(self, trainer, pl_module, loop):
        assert all(hasattr(p, "full_tensor") for p in pl_module.parameters())
        with torch.no_grad():
            loop.task.check(pl_module.eval(), make_data(2))  # the number of classes
        for name, state in KEPT.items():
            loop.campaign.states.save(loop.campaign.round_file(name), state)
        told, scene = {}, SCENES["some"]
        for case in MINE:
            load_weights(pl_module, weights(5))
            made = case.make(folder)
            made.bind(loop.task, loop.oracle)
            try:
                candidates = torch.tensor(scene.candidates)
                told[case.id] = pick(loop.session, made, candidates, scene.k, purpose=("contract", scene.seed)).indices
            except Exception as error:
                told[case.id] = f"{type(error).__name__}: {error}"
        if trainer.is_global_zero:
            (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    trainer = make_trainer(folder, Picker(), acquisition=Random(), strategy=strategy, devices=2, max_epochs=1)
    model = Sharded(batch_norm=True, dropout=0.3)
    ActiveLearningLoop(model, Data(SIZE), initial=LABELLED, query_size=1, rounds=1).run(trainer)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each case picked or raised."""
    folder = tmp_path_factory.mktemp("sharded")
    write_tables(folder)
    (folder / "sharded.py").write_text(SCRIPT)
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "sharded.py", str(folder)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "told.json").read_text())


@pytest.mark.parametrize("case", MINE, ids=[case.id for case in MINE])
def test_picks_the_same_or_is_refused(told, case):
    if case.name in WHOLE_WEIGHTS:
        assert told[case.id].startswith("TypeError")
        assert "sharded over processes" in told[case.id]
    else:
        assert told[case.id] == case.picks(SCENES["some"])


def test_what_is_left_out_trains_more_than_the_model():
    assert {case.name for case in CASES} - {case.name for case in MINE} == {"LearningLoss", "LPLGrad"}
