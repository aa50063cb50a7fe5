"""Which samples of a datamodule are scored without a campaign, and how they are set up."""

import lightning as L
import pytest
from torch.utils.data import DataLoader, Subset

from lightning_al.acquisition import (
    CoreSet,
    Entropy,
)
from tests.helpers import reference
from tests.helpers.projects import Net
from tests.helpers.scored import BARE, SAMPLES, X, scored


class Pools(L.LightningDataModule):
    """Has the hooks that it is told to have, each of a size of its own."""

    def __init__(self, *hooks, trains=True):
        super().__init__()
        self.trains, self.calls = trains, []
        for hook in hooks:
            setattr(self, hook, getattr(self, f"_{hook}"))

    def prepare_data(self):
        self.calls.append("prepare")

    def setup(self, stage):
        self.calls.append(f"setup {getattr(stage, 'value', stage)}")
        if stage == "fit":
            if not self.trains:
                raise FileNotFoundError("train/")
            self.train = Subset(SAMPLES, range(30))

    def teardown(self, stage):
        self.calls.append(f"teardown {stage}")

    def _unlabelled_dataset(self):
        return Subset(BARE, range(30, 41))

    def _pool_dataset(self):
        return self.train

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=6, shuffle=True)

    def _predict_dataloader(self):
        return DataLoader(Subset(BARE, range(12)), batch_size=5)


@pytest.mark.parametrize(
    ("hooks", "size"),
    [
        (("unlabelled_dataset", "predict_dataloader", "pool_dataset"), 11),
        (("predict_dataloader", "pool_dataset"), 12),
        (("pool_dataset",), 30),
    ],
)
def test_which_samples_of_a_datamodule_are_scored(tmp_path, caplog, hooks, size):
    data = Pools(*hooks)
    with caplog.at_level("INFO"):
        scores = scored(tmp_path, Entropy(), dataset=data, batch_size=None)
    assert len(scores) == size
    assert [m for m in caplog.messages if m.startswith("Scoring")] == [
        f"Scoring the {size} samples of `{hooks[0]}()` of Pools."
    ]
    assert data.calls[0] == "prepare"
    assert [call for call in data.calls if call.startswith("teardown")]
    assert len(list(scores.key)) == size  # also once it was torn down


def test_a_datamodule_without_training_data(tmp_path, caplog):
    with caplog.at_level("INFO"):
        scores = scored(tmp_path, Entropy(), dataset=Pools("unlabelled_dataset", trains=False), batch_size=None)
    assert len(scores) == 11
    assert any("`setup('fit')` failed (FileNotFoundError: train/)" in message for message in caplog.messages)
    with pytest.raises(ValueError, match=r"Pools does not say which samples.*`unlabelled_dataset\(\)`"):
        scored(tmp_path, Entropy(), dataset=Pools())


def test_the_training_set_is_what_is_labelled(tmp_path):
    of_module = scored(tmp_path, CoreSet(), dataset=Pools("unlabelled_dataset"), labelled=True)
    given = scored(tmp_path, CoreSet(), dataset=Subset(BARE, range(30, 41)), labelled=Subset(BARE, range(30)))
    assert of_module.picks == given.picks
    with pytest.raises(ValueError, match="the very samples that are to be scored"):
        scored(tmp_path, CoreSet(), dataset=Pools("pool_dataset"), labelled=True)


class Moves(Pools):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [batch[0] * 2, *batch[1:]]


def test_the_datamodules_transfer_hooks_see_the_batches(tmp_path):
    scores = scored(tmp_path, Entropy(), dataset=Moves("predict_dataloader"), batch_size=None)
    assert scores.score.tolist() == pytest.approx(reference.entropy(Net()(2 * X[:12]).detach()).tolist())
