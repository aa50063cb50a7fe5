"""Multi-hot targets: every label a question of its own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Bernoulli
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop, Loaders, MultiLabelTask
from lightning_al import functional as F_al
from lightning_al.acquisition import BADGE, SAAL, SRAAL, BatchBALD, CoreSet, Entropy, EntropyGradNorm
from tests.helpers.projects import Net, make_data, make_trainer

TASK = MultiLabelTask()
Z = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Tagger(Net):
    """Three yes-or-no labels."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.binary_cross_entropy_with_logits(self(x), y)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))


def data(n=40):
    x, y = make_data(n)
    return TensorDataset(x, torch.stack([y == 0, y < 2, x[:, 2] > 0], 1).double())


def run(folder, acquisition, model=None, train=None, **options):
    train = train or data()
    loaders = Loaders(DataLoader(train, batch_size=4), DataLoader(data(12), batch_size=6), pool=train)
    options = {"initial": 8, "query_size": 4, "rounds": 2, "task": MultiLabelTask(), "dirpath": folder / "c", **options}
    loop = ActiveLearningLoop(model or Tagger(), loaders, **options)
    return loop, loop.run(make_trainer(folder, acquisition=acquisition))


def test_scores_are_means_over_the_labels():
    logits = TASK.logits(nn.Identity(), Z)
    torch.testing.assert_close(F_al.entropy(logits), Bernoulli(logits=Z).entropy().mean(1))
    p = Z.sigmoid()
    torch.testing.assert_close(F_al.least_confidence(logits), torch.minimum(p, 1 - p).mean(1))
    torch.testing.assert_close(F_al.margin(logits), -(2 * p - 1).abs().mean(1))


def test_the_loss_is_the_mean_binary_cross_entropy():
    targets = (torch.rand(7, 4, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    expected = F.binary_cross_entropy_with_logits(Z, targets, reduction="none").mean(1)
    torch.testing.assert_close(TASK.loss(TASK.logits(nn.Identity(), Z), targets), expected)


def test_residuals_are_the_gradient_under_the_models_own_labels():
    z = Z.clone().requires_grad_()
    F.binary_cross_entropy_with_logits(z, (z > 0).double(), reduction="sum").backward()
    torch.testing.assert_close(TASK.residuals(TASK.logits(nn.Identity(), Z)), z.grad)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=9), st.sampled_from([list, tuple, np.array, torch.tensor]))
def test_labels_survive_the_ledger(label, kind):
    value = MultiLabelTask().encode_label(kind(label))
    assert value == label
    assert {type(entry) for entry in value} == {int}
    sample = TASK.with_label((0, torch.zeros(len(label), dtype=torch.float64)), TASK.decode_label(value))
    assert sample[1].tolist() == label
    assert sample[1].dtype == torch.float64


def test_labels_in_the_type_they_had():
    label = TASK.decode_label([0, 1])
    assert TASK.with_label((0, [1, 1]), label)[1] == [0, 1]
    array = TASK.with_label((0, np.ones(2, np.float32)), label)[1]
    assert array.dtype == np.float32
    assert array.tolist() == [0, 1]
    assert TASK.with_label(torch.zeros(3), label)[1].tolist() == [0, 1]


@pytest.mark.parametrize("label", [3, "cat", [0, 2], torch.tensor([0.5, 1.0]), torch.zeros(2, 2), None])
def test_labels_that_are_not_multi_hot(label):
    with pytest.raises(TypeError, match="needs multi-hot labels"):
        MultiLabelTask().encode_label(label)


@pytest.mark.few(1)
@pytest.mark.parametrize("acquisition", [Entropy, SAAL, EntropyGradNorm, CoreSet, BADGE])
def test_campaigns(tmp_path, acquisition):
    loop, history = run(tmp_path, acquisition())
    assert [r.labelled for r in history] == [8, 12, 16]
    assert len(set(loop.pool.labelled.tolist())) == 16
    assert all(loop.campaign.labels[i] == data()[i][1].int().tolist() for i in loop.campaign.labels)


def test_a_label_of_the_wrong_length_is_named(tmp_path):
    loop, _ = run(tmp_path, Entropy())
    with pytest.raises(TypeError, match=r"The model has 3 labels, and \[1, 0\] has 2"):
        loop.tell(loop.pool.unlabelled[:1], [[1, 0]])


class Wide(Tagger):
    def forward(self, x):
        return super().forward(x)[:, :, None]


class Probabilities(Tagger):
    def forward(self, x):
        return super().forward(x).sigmoid()


def test_outputs_it_cannot_be_for(tmp_path):
    with pytest.raises(ValueError, match=r"one floating output for each label.*shape \(\d+, 3, 1\).*forward="):
        run(tmp_path, Entropy(), model=Wide())
    assert not (tmp_path / "c").exists()
    with pytest.warns(UserWarning, match="between 0 and 1: they look like probabilities"):
        MultiLabelTask().check(Probabilities(), data().tensors)


def test_a_few_logits_may_happen_to_lie_between_0_and_1(recwarn):
    class Positive(Tagger):
        def forward(self, x):
            return torch.full_like(super().forward(x), 0.4)

    MultiLabelTask().check(Positive(), [t[:2] for t in data().tensors])
    assert not [w for w in recwarn if "probabilities" in str(w.message)]
    with pytest.warns(UserWarning, match="look like probabilities"):
        MultiLabelTask().check(Positive(), data().tensors)


@pytest.mark.parametrize("acquisition", [BatchBALD(add_dropout=0.5), SRAAL()])
def test_acquisitions_over_classes_refuse_it(tmp_path, acquisition):
    with pytest.raises(ValueError, match=r"needs logits of shape \(B, C\)"):
        run(tmp_path, acquisition)
    assert not (tmp_path / "c").exists()
