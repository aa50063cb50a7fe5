"""Modules that keep part of themselves out of their checkpoints, in the ways that Lightning documents."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import QueryByCommittee
from tests.helpers.projects import Data, Net, make_trainer, picks


class Whole(Net):
    """Has a frozen encoder."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 4).double().requires_grad_(False)

    def forward(self, x):
        return self.net(self.encoder(x))

    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), lr=self.lr)


def without_encoder(state):
    return {name: value for name, value in state.items() if "encoder" not in name}


class NotStrict(Whole):
    """Leaves it out of its state."""

    def __init__(self):
        super().__init__()
        self.strict_loading = False

    def state_dict(self, *args, **kwargs):
        return without_encoder(super().state_dict(*args, **kwargs))


class InCheckpoints(Whole):
    """Leaves it out of checkpoints, and puts it back from where it got it."""

    def on_save_checkpoint(self, checkpoint):
        checkpoint["state_dict"] = without_encoder(checkpoint["state_dict"])
        checkpoint["left_out"] = ["encoder"]

    def on_load_checkpoint(self, checkpoint):
        assert checkpoint["left_out"] == ["encoder"]
        checkpoint["state_dict"].update({f"encoder.{n}": t for n, t in self.encoder.state_dict().items()})


def run(folder, model, *callbacks, resume=False, **options):
    options = {"initial": 8, "query_size": 4, "rounds": 2, "dirpath": folder / "c", **options}
    acquisition = options.pop("acquisition", None)
    trainer = make_trainer(folder, *callbacks, acquisition=acquisition, enable_checkpointing=bool(callbacks))
    return picks(ActiveLearningLoop(model, Data(), **options).run(trainer, resume=resume))


class Dies(L.Callback):
    def on_query_start(self, trainer, module, loop):
        if len(loop.history) == 2:
            raise ZeroDivisionError


@pytest.mark.parametrize("kind", [NotStrict, InCheckpoints])
class TestPicksAreThoseOfTheWholeModule:
    @pytest.mark.few(1)
    @pytest.mark.parametrize("reset", ["initial", "warm", "continue", "fresh"])
    def test_resets(self, tmp_path, kind, reset):
        assert run(tmp_path / "a", kind(), reset=reset) == run(tmp_path / "b", Whole(), reset=reset)

    @pytest.mark.few(1)
    def test_best_weights(self, tmp_path, kind):
        def best():
            return ModelCheckpoint(monitor="val_acc", mode="max")

        expected = run(tmp_path / "b", Whole(), best(), weights="best")
        assert run(tmp_path / "a", kind(), best(), weights="best") == expected

    @pytest.mark.few(1)
    def test_resumed(self, tmp_path, kind):
        with pytest.raises(ZeroDivisionError):
            run(tmp_path / "a", kind(), Dies())
        assert run(tmp_path / "a", kind(), resume=True) == run(tmp_path / "b", Whole())

    @pytest.mark.few(1)
    def test_members_of_a_committee(self, tmp_path, kind):
        expected = run(tmp_path / "b", Whole(), acquisition=QueryByCommittee(members=2), rounds=1)
        assert run(tmp_path / "a", kind(), acquisition=QueryByCommittee(members=2), rounds=1) == expected
