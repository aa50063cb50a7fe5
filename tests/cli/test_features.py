"""`lightning-al features`: an encoder trained without labels, and a file of what it makes of every sample."""

import re
import sys
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.acquisition import ProbCover
from lightning_al.cli import main
from lightning_al.zoo import PlainCNN, SimCLR
from tests.helpers.marks import slow

IMAGES = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
PROJECT = """
trainer: {accelerator: cpu, devices: 1, max_epochs: 2, logger: false, enable_checkpointing: false,
          enable_progress_bar: false, enable_model_summary: false}
model:
  class_path: SimCLR
  init_args:
    net: {class_path: PlainCNN, init_args: {size: 8, width: 2}}
    projection: 4
    optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1}}
data: {class_path: tests.cli.test_features.Data}
"""


class Data(pl.LightningDataModule):
    """Training images, which are made darker; and the pool, which is not."""

    def train_dataloader(self):
        return DataLoader(TensorDataset(IMAGES / 2, torch.arange(20)), 7, shuffle=True)

    def pool_dataset(self):
        return TensorDataset(IMAGES, torch.arange(20))


class Beside(Data):
    """The same beside samples that have no label."""

    def unlabelled_dataset(self):
        return TensorDataset(IMAGES[:3].flip(0))


class Unbatched(Data):
    """Samples one by one."""

    def train_dataloader(self):
        return DataLoader(self.pool_dataset(), batch_size=None)


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    pytest.importorskip("jsonargparse")
    pytest.importorskip("torchvision")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-al"])
    (tmp_path / "project.yaml").write_text(PROJECT)


def features(*words):
    main(["features", "-c", "project.yaml", *words])


def kept(path="features.ckpt"):
    return torch.load(path, weights_only=True)


def test_trains_on_views_goes_on_and_writes_what_it_makes_of_the_pool_in_order(capsys, recwarn):
    features("--trainer.max_epochs=1", "--resume", "--output=out/f.npy")
    *epochs, last = capsys.readouterr().out.splitlines()
    assert last == "out/f.npy: 20 samples, 8 features each"
    assert [re.sub(r"[\d.]+$", "L", line) for line in epochs] == ["epoch 1 of 1: train_loss L"]
    first = torch.load("out/f.ckpt", weights_only=True)
    assert (first["epoch"], first["global_step"]) == (0, 2)  # 7 of 20 a batch, the last is left out
    features("--resume", "--output=out/f.npy")
    state = torch.load("out/f.ckpt", weights_only=True)
    assert (state["epoch"], state["global_step"]) == (1, 4)
    assert sorted(path.name for path in Path("out").iterdir()) == ["f.ckpt", "f.npy"]

    model = SimCLR(PlainCNN(size=8, width=2), projection=4)
    model.load_state_dict(state["state_dict"])
    with torch.no_grad():
        expected = model.eval()(IMAGES)
    np.testing.assert_allclose(np.load("out/f.npy"), expected.numpy(), atol=1e-6)
    ProbCover(encoder="out/f.npy").check_pool(20)
    said = [str(warning.message) for warning in recwarn]
    assert not [words for words in said if "deprecat" not in words.lower()]


def test_an_encoder_that_does_not_train_and_unlabelled_samples_first():
    features("--data=tests.cli.test_features.Beside", "--model=Encoder", "--model.std=[0.5]")
    table = np.load("features.npy")
    assert table.shape == (23, 8)
    np.testing.assert_allclose(table[:3], table[5:2:-1], atol=1e-6)
    assert not Path("features.ckpt").exists()


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--output=there.npy"], r"there.npy is there already. `--resume` goes on"),
        (["--output=features.csv"], "must name a `.npy` file, got 'features.csv'"),
        (["--trainer.devices=2"], r"runs on one device, and the Trainer has 2: `--trainer.devices=1`"),
        (["--data=tests.cli.test_features.Unbatched"], "must be one `torch.utils.data.DataLoader` with a batch size"),
    ],
)
def test_refused(words, match):
    Path("there.npy").touch()
    with pytest.raises(SystemExit, match=match):
        features(*words)


@slow
def test_training_that_diverges():
    with pytest.raises(SystemExit, match="Features of 20 of 20 samples are NaN or infinite, indices"):
        features("--model.optimizer.lr=1e30", "--trainer.max_epochs=3")
    assert not Path("features.npy").exists()
