import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.zoo import Regressor, TableNet
from tests.helpers.projects import make_trainer


def table(squeezed):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, generator=g)
    y = x @ torch.tensor([1.0, -2.0, 0.5])
    return TensorDataset(x, y if squeezed else y.unsqueeze(1))


@pytest.mark.parametrize("squeezed", [True, False])
def test_errors_are_of_pairs_and_not_of_every_output_and_every_target(squeezed):
    model = Regressor(nn.Linear(3, 1))
    x, y = table(squeezed).tensors
    with torch.no_grad():
        expected = sum((float(model(x[i : i + 1])) - float(y[i])) ** 2 for i in range(12)) / 12
    assert float(model.training_step((x, y), 0)) == pytest.approx(expected, rel=1e-5)
    [logged] = make_trainer(".", acquisition=L.Callback()).validate(
        model, DataLoader(table(squeezed), batch_size=5), verbose=False
    )
    assert logged["val_mse"] == pytest.approx(expected, rel=1e-5)
    assert logged.keys() == {"val_mse", "val_mae"}


def test_it_learns(tmp_path):
    L.seed_everything(0, verbose=False)
    model = Regressor(TableNet(3, dropout=0.0), optimizer=lambda params: torch.optim.Adam(params, lr=0.01))
    trainer = make_trainer(tmp_path, acquisition=L.Callback(), max_epochs=30)
    data = DataLoader(table(True), batch_size=4, shuffle=True)
    [before] = trainer.test(model, data, verbose=False)
    trainer.fit(model, data)
    [after] = trainer.test(model, data, verbose=False)
    assert after["test_mse"] < 0.1 * before["test_mse"]
