"""What every task has: features, and how decisions become one value."""

import pytest
import torch
from torch import nn

from lightning_al import ClassificationTask
from lightning_al import functional as F_al
from lightning_al.functional.scores.uncertainty import entropies
from lightning_al.tasks import Task
from tests.helpers.models import randn
from tests.helpers.projects import make_data

TASK = ClassificationTask()


def test_features_are_the_input_of_the_last_linear_layer():
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    x = make_data()[0]
    assert torch.equal(TASK.features(net, x), net[:4](x))
    assert not any(m._forward_pre_hooks for m in net.modules())
    with pytest.raises(ValueError, match=r"No linear or convolutional layer.*features"):
        TASK.features(nn.Sequential(nn.ReLU()), x)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (5, 3, 2, 4)])
def test_the_mean_of_the_decisions_is_the_default(shape):
    z, y = randn(*shape), torch.randint(3, (5, *shape[2:]), generator=torch.Generator().manual_seed(0))
    assert torch.equal(TASK.score(nn.Identity(), z, entropies), F_al.entropy(z))
    losses = F_al.cross_entropy(z, y)
    assert torch.equal(TASK.loss(z, y), losses.flatten(1).mean(1) if losses.ndim > 1 else losses)


class Own(Task):
    """Gives what it was made with, whatever the model."""

    def __init__(self, given):
        self.given = given

    def inputs(self, batch):
        return batch[0]

    def targets(self, batch):
        return batch[1]

    def with_label(self, sample, label):
        return sample[0], label

    def logits(self, model, inputs):
        return self.given


class OfLists(Own):
    def check(self, model, batch):
        self.logits(model, self.inputs(batch))


@pytest.mark.parametrize(
    ("given", "error", "seen"),
    [
        ([torch.zeros(2, 3)], TypeError, "a list"),
        ({"boxes": torch.zeros(2, 3)}, TypeError, "a dict"),
        ((torch.zeros(2, 3), torch.zeros(2)), TypeError, "a tuple"),
        (torch.zeros(2, 3, dtype=torch.long), TypeError, r"torch\.int64 of shape \(2, 3\)"),
        (torch.zeros(2, 1), ValueError, r"torch\.float32 of shape \(2, 1\)"),
    ],
)
def test_logits_of_its_own_need_a_check_of_its_own(given, error, seen):
    batch = torch.zeros(2, 4), torch.zeros(2, dtype=torch.long)
    ways = rf"`Own\.logits` gives {seen}.*override `check\(model, batch\)` too"
    calls = {
        "check": lambda task: task.check(nn.Identity(), batch),
        "pseudo_targets": lambda task: task.pseudo_targets(given),
        "loss": lambda task: task.loss(given, batch[1]),
        "loss_of_known": lambda task: task.loss_of_known(given, batch[1]),
    }
    for method, call in calls.items():
        with pytest.raises(error, match=ways) as caught:
            call(Own(given))
        assert f"the default of `Own.{method}`" in str(caught.value)
    OfLists(given).check(nn.Identity(), batch)


class OwnClasses(ClassificationTask):
    def logits(self, model, inputs):
        return [model(inputs)]


def test_so_do_those_of_a_subclass():
    with pytest.raises(TypeError, match=r"`OwnClasses\.logits` gives a list.*override `check\(model, batch\)` too"):
        OwnClasses().check(nn.Identity(), (randn(2, 3), None))
    with pytest.raises(ValueError, match=r"`task=BinaryTask\(\)`"):
        TASK.loss(torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(TypeError, match="`ClassificationTask` looks at one output of the model, a tensor, got"):
        ClassificationTask().check(lambda x: [x, x], (randn(2, 3), None))


def test_logits_that_are_class_scores_need_none():
    z = randn(2, 3)
    Own(z).check(nn.Identity(), (z, None))
    assert torch.equal(Own(z).pseudo_targets(z), z.argmax(1))


def test_a_model_that_gives_a_list_is_told_of_logits_and_check():
    with pytest.raises(TypeError, match=r"got list\. .*whose `logits\(model, inputs\)`.* that overrides `check` too"):
        F_al.entropy([randn(2, 3)])
