import sys

import pytest
import torch

from lightning_al.zoo import DiabetesDataModule

sklearn = pytest.importorskip("sklearn.datasets")


def parts(**options):
    data = DiabetesDataModule(**options)
    data.setup("fit")
    return data, list(data.sets.values())


def rows(part):
    return [(*map(float, x), float(y)) for x, y in part]


def test_the_parts_make_up_the_whole():
    x, y = sklearn.load_diabetes(return_X_y=True)
    whole = torch.cat([torch.tensor(x) * len(x) ** 0.5, (torch.tensor(y).unsqueeze(1) - 150) / 75], 1).float()
    data, cut = parts()
    assert sorted(row for part in cut for row in rows(part)) == sorted(map(tuple, whole.tolist()))
    assert data.pool_dataset() is data.sets["train"]
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [len(loader.dataset) for loader in loaders] == [282, 80, 80]


def test_the_split_depends_on_its_own_seed_only():
    torch.manual_seed(1)
    one = rows(parts()[1][0])
    torch.manual_seed(2)
    assert rows(parts()[1][0]) == one
    assert rows(parts(split_seed=1)[1][0]) != one


def test_scikit_learn_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"lightning-al\[demo\]"):
        parts()
