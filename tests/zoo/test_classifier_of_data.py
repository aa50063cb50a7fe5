import lightning as L
import pytest
import torch
from torch import nn

from lightning_al.zoo import DataClassifier


class Data(L.LightningDataModule):
    classes = ("a", "b", "c", "d")

    def train_dataloader(self):
        data = torch.utils.data.TensorDataset(torch.randn(8, 5), torch.arange(8) % 4)
        return torch.utils.data.DataLoader(data, batch_size=4)


def test_it_has_as_many_classes_as_the_data():
    model = DataClassifier(lambda count: nn.Linear(5, count))
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", barebones=True)
    trainer.fit(model, Data())
    assert model.num_classes == model.train_acc.num_classes == 4
    assert model(torch.zeros(1, 5)).shape == (1, 4)
    net = model.net
    model.configure_model()
    assert model.net is net


def test_nothing_says_how_many():
    data = Data()
    data.classes = None
    with pytest.raises(ValueError, match="Give `num_classes=`"):
        L.Trainer(max_epochs=1, accelerator="cpu", barebones=True).fit(DataClassifier(lambda n: nn.Linear(5, n)), data)
