"""Whatever lies in a campaign's folder, reading it runs no code."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from lightning_al import ActiveLearningLoop, Campaign
from lightning_al.acquisition import CoreSet, QueryByCommittee
from lightning_al.fitting import RepeatedFit
from tests.helpers.projects import Data, Net, make_trainer


class Hostile:
    """Unpickled, it makes a file."""

    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return os.system, (f"touch '{self.made}'",)


class Stop(Callback):
    """Raises at the start of this epoch, counted from 1 over all fits."""

    def __init__(self, epoch):
        self.left = epoch

    def on_round_start(self, trainer, pl_module, loop):
        pass  # so that its count is kept

    def on_train_epoch_start(self, trainer, pl_module):
        self.left -= 1
        if self.left == 0:
            raise SystemExit


def run(folder, *callbacks, **options):
    options = {"initial": 6, "query_size": 4, "rounds": 2, "dirpath": folder / "campaign", **options}
    checkpoints = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    acquisition = QueryByCommittee(members=3)
    trainer = make_trainer(folder, *callbacks, acquisition=acquisition, max_epochs=3, enable_checkpointing=checkpoints)
    ActiveLearningLoop(Net(), Data(), **options).run(trainer, resume=True)


@pytest.fixture(autouse=True)
def _checkpoints_every_epoch(monkeypatch):
    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", 0.0)


def test_a_hostile_file_really_is_one(tmp_path):
    torch.save({"a": Hostile(tmp_path / "ran")}, tmp_path / "x")
    torch.load(tmp_path / "x", weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("epoch", "ignored"),
    [
        (3, {"resume", "returned"}),  # of the first fit
        (7, {"returned"}),  # of the second member of the committee, when the first is kept
        (12, {"resume", "returned", "member"}),  # of the second fit, when the members are of no use any more
    ],
)
def test_every_file_of_a_campaign(tmp_path, epoch, ignored):
    with pytest.raises(SystemExit):
        run(tmp_path, Stop(epoch))
    killed = tmp_path / "campaign"
    files = [p.relative_to(killed) for p in sorted(killed.rglob("*")) if p.is_file()]
    assert {p.suffix for p in files} == {".json", ".ckpt"}
    for number, name in enumerate([*files, Path("returned.ckpt")]):
        copy = tmp_path / f"copy_{number}"
        shutil.copytree(killed, copy / "campaign")
        torch.save({"state_dict": Hostile(tmp_path / "ran")}, copy / "campaign" / name)
        try:
            run(copy)
        except ValueError as error:
            assert str(name) in str(error)  # noqa: PT017
        else:
            assert name.stem.split("_")[0] in ignored, name
        assert not (tmp_path / "ran").exists(), name


def test_the_best_weights_that_a_resumed_fit_is_told_of(tmp_path):
    def best():
        return ModelCheckpoint(monitor="val_acc", mode="max")

    with pytest.raises(SystemExit):
        run(tmp_path, best(), Stop(3), weights="best")
    path = tmp_path / "campaign" / "round_0" / "resume.ckpt"
    resume = torch.load(path, weights_only=True)
    [state] = [state for name, state in resume["callbacks"].items() if name.startswith("ModelCheckpoint")]
    hostile = Path(state["dirpath"]) / "best.ckpt"
    state |= {"best_model_path": str(hostile), "best_model_score": torch.tensor(2.0)}  # never to be surpassed
    torch.save(resume, path)
    torch.save({"state_dict": Hostile(tmp_path / "ran")}, hostile)
    with pytest.raises(Exception, match=r"best.ckpt holds no weights"):
        run(tmp_path, best(), weights="best")
    assert not (tmp_path / "ran").exists()


def test_features_from_a_file(tmp_path):
    for name in ("features.pt", "features.npy"):
        torch.save(Hostile(tmp_path / "ran"), tmp_path / name)
        with pytest.raises(Exception, match=r"."):
            trainer = make_trainer(tmp_path, acquisition=CoreSet(encoder=tmp_path / name))
            ActiveLearningLoop(Net(), Data(), initial=6, query_size=4, rounds=1).run(trainer)
        assert not (tmp_path / "ran").exists()


def test_the_ledger_is_json_and_read_by_nothing_else(tmp_path):
    run(tmp_path, rounds=1)
    for path in sorted((tmp_path / "campaign" / "ledger").glob("*.json")):
        before = path.read_bytes()
        torch.save(Hostile(tmp_path / "ran"), path)
        with pytest.raises(ValueError, match=f"{path} is damaged"):
            Campaign.load(tmp_path / "campaign")
        path.write_bytes(before)
    assert not (tmp_path / "ran").exists()
