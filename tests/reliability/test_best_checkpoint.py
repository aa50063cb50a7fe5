"""The best weights of a fit are read without making anything else that lies in its checkpoint."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from tests.helpers.projects import Net
from tests.reliability.wrong import Project
from tests.reliability.wrong_ledgers import Hostile


class Swaps(Callback):
    """Puts something hostile into the best checkpoint before it is read."""

    def __init__(self, harm: Path) -> None:
        self.harm = harm

    def on_fit_end(self, trainer, pl_module):
        path = trainer.checkpoint_callback.best_model_path
        torch.save({**torch.load(path, weights_only=True), "x": Hostile(self.harm)}, path)


def reduced_to_a_method(self):
    return (getattr(self.path, "mkdir"), ())


@pytest.mark.parametrize("reduce", [Hostile.__reduce__, reduced_to_a_method])
def test_a_hostile_best_checkpoint_runs_nothing(tmp_path, reduce, monkeypatch):
    monkeypatch.setattr(Hostile, "__reduce__", reduce)
    project = Project(tmp_path)
    trainer = project.trainer(Swaps(tmp_path / "harm"), ModelCheckpoint(monitor="val_acc"), enable_checkpointing=True)
    project.run(trainer=trainer, weights="best")
    assert not (tmp_path / "harm").exists()


def test_weights_are_read_from_a_checkpoint_with_objects_of_any_kind(tmp_path):
    class Curious(Net):
        def __init__(self, function=len, path=None):
            super().__init__()
            self.save_hyperparameters()

    project = Project(tmp_path)
    checkpoint = ModelCheckpoint(monitor="val_acc", mode="max")
    loop = project.loop(model=Curious(path=tmp_path), weights="best", rounds=0)
    loop.run(project.trainer(checkpoint, enable_checkpointing=True))
    best = torch.load(checkpoint.best_model_path, weights_only=False)
    assert best["hyper_parameters"]["function"] is len
    assert all(torch.equal(value, best["state_dict"][name]) for name, value in loop.model.state_dict().items())
