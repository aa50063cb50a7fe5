"""Which samples of a datamodule are scored without a campaign, and how they are set up."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from lightning_al import ClassificationTask, DetectionTask, score
from lightning_al.acquisition import (
    CoreSet,
    Entropy,
)
from lightning_al.data.samples_alone import completed_like
from lightning_al.functional.scores.uncertainty import entropies
from tests.helpers import reference
from tests.helpers.detecting import Detecting, Squares, SquaresData, in_lists
from tests.helpers.projects import Net, make_trainer
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


class Photos(Dataset):
    """Images alone, of two sizes, beside squares that are labelled."""

    def __init__(self):
        self.images = [image for image, _ in Squares(6, ((48, 56), (40, 64)), seed=3).samples]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index].clone()


class WithPhotos(SquaresData):
    def train_dataloader(self):  # the last one's boxes reach out of the images beside it
        return DataLoader(Subset(self.data, [3, 2]), 2, collate_fn=in_lists)

    def unlabelled_dataset(self):
        return Photos()


@pytest.mark.parametrize("source", ["datamodule", "lists"])
def test_images_alone_of_any_sizes_are_scored_as_one_by_one(source, tmp_path):
    model, task = Detecting("ssd"), DetectionTask(score_threshold=0.3)
    with torch.no_grad():
        expected = [float(task.score(model.eval(), [image], entropies)) for image in Photos().images]
    assert min(expected) > 0
    data = WithPhotos(4, ((96, 96),)) if source == "datamodule" else DataLoader(Photos(), 4, collate_fn=list)
    scores = score(model, data, Entropy(), 3, task=task, trainer=make_trainer(tmp_path))
    assert scores.score.tolist() == pytest.approx(expected, rel=1e-5)
    assert scores.picks == sorted(range(6), key=lambda i: -scores.score[i])[:3]
    assert list(scores.key) == [task.key(Photos(), i) for i in range(6)]


def test_samples_of_another_form_than_the_training_set_are_scored_as_they_are():
    train, samples = [(torch.zeros(2), 0)], [(torch.ones(2), 1, 2)]
    assert completed_like(train, samples, ClassificationTask()) is samples
    assert completed_like([], samples, ClassificationTask()) is samples
    completed = completed_like(train, [torch.ones(2)], ClassificationTask())
    assert [entry.tolist() if isinstance(entry, torch.Tensor) else entry for entry in completed[0]] == [[1.0, 1.0], 0]
