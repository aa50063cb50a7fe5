import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.cli import ReduceLROnPlateau
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.zoo import Classifier, Segmenter


def sgd(params):
    return torch.optim.SGD(params, lr=0.4)


def plateau(optimizer):
    return ReduceLROnPlateau(optimizer, monitor="val_loss", factor=0.5, patience=0, threshold=10.0)  # none is better


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_a_plateau_watches_what_it_monitors(kind):
    images = torch.randn(4, 3, 2, 2)
    if kind == "classifier":
        model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), 2, sgd, plateau)
        targets = torch.tensor([0, 1, 1, 0])
    else:
        model = Segmenter(nn.Conv2d(3, 2, 1), 2, optimizer=sgd, scheduler=plateau, interval="epoch")
        targets = torch.randint(2, (4, 2, 2))
    loader = DataLoader(TensorDataset(images, targets), 2)
    trainer = pl.Trainer(
        **{"accelerator": "cpu", "devices": 1, "max_epochs": 3, "logger": False, "enable_checkpointing": False},
        **{"enable_progress_bar": False, "enable_model_summary": False},
    )
    trainer.fit(model, loader, loader)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.4 * 0.5**3
