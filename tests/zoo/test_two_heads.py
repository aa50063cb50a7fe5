import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop, ClassificationTask, Loaders
from lightning_al.acquisition import BADGE, Margin
from lightning_al.zoo import TwoHeads
from tests.helpers.projects import make_data, make_trainer


def made():
    torch.manual_seed(3)
    return TwoHeads(nn.Linear(4, 8), num_classes=3, width=8, mean_weight=2.0)


def test_the_loss_is_of_both_heads():
    x, y = make_data(7)
    x, model = x.float(), made()
    h = model.net(x).relu()
    mean = model.mean(h).squeeze(1)
    expected = F.cross_entropy(model.classes(h), y) + 2 * ((mean - x.mean(1)) ** 2).mean()
    torch.testing.assert_close(model.training_step((x, y), 0), expected)


@pytest.mark.parametrize("acquisition", [Margin(), BADGE()])
def test_a_campaign_by_one_head(tmp_path, acquisition):
    x, y = make_data(40)
    train = TensorDataset(x.float(), y)
    loaders = Loaders(DataLoader(train, batch_size=4), DataLoader(train, batch_size=20), pool=train)
    task = ClassificationTask(output="classes")
    loop = ActiveLearningLoop(made(), loaders, task=task, initial=8, query_size=4, rounds=2, dirpath=tmp_path / "c")
    seen = Recorded()
    history = loop.run(make_trainer(tmp_path, seen, acquisition=acquisition))
    assert [r.labelled for r in history] == [8, 12, 16]
    assert history[0].metrics.keys() == {"val_loss", "val_acc"}
    if isinstance(acquisition, Margin):
        assert history[0].picked == seen.closest


class Recorded(L.Callback):
    """The four samples of the first query whose two best classes are closest, by the class head alone."""

    closest = None

    def on_query_start(self, trainer, pl_module, loop):
        if self.closest is None:
            pl_module.eval()
            gaps = {}
            for i in loop.pool.unlabelled.tolist():
                with torch.no_grad():
                    p = pl_module(make_data(40)[0][i : i + 1].float())["classes"].double().softmax(1)[0].sort().values
                gaps[i] = float(p[-1] - p[-2])
            self.closest = sorted(gaps, key=gaps.get)[:4]
