"""The task of one logit: what it makes of outputs and labels."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lightning_al import AwaitTell, BinaryTask, ClassificationTask, RegressionTask
from lightning_al import functional as F_al
from lightning_al.acquisition import Entropy
from tests.helpers.real_values import Values, loop_over

TASK = BinaryTask()
LOGITS = st.lists(st.floats(-30, 30), min_size=1, max_size=8)


def identity(model, x):
    return x


def h(p):
    return 0.0 if p in (0.0, 1.0) else -p * math.log(p) - (1 - p) * math.log1p(-p)


@given(LOGITS, st.booleans())
def test_scores_are_those_of_a_coin(numbers, column):
    z = torch.tensor(numbers, dtype=torch.float64)
    logits = TASK.logits(nn.Identity(), z.unsqueeze(1) if column else z)
    p = [1 / (1 + math.exp(-x)) for x in numbers]
    assert F_al.entropy(logits).tolist() == pytest.approx([h(q) for q in p], abs=1e-9)
    least = [1 / (1 + math.exp(abs(x))) for x in numbers]
    assert F_al.least_confidence(logits).tolist() == pytest.approx(least, rel=1e-9)
    assert F_al.margin(logits).tolist() == pytest.approx([-abs(2 * q - 1) for q in p], abs=1e-12)


@given(LOGITS, st.data())
def test_the_loss_and_its_gradient_are_binary(numbers, data):
    z = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(z), max_size=len(z))))
    loss = TASK.loss(TASK.logits(nn.Identity(), z), targets.unsqueeze(1))
    expected = F.binary_cross_entropy_with_logits(z, targets.double(), reduction="none")
    torch.testing.assert_close(loss, expected)
    own = (z > 0).double()
    F.binary_cross_entropy_with_logits(z, own, reduction="sum").backward()
    residuals = TASK.residuals(TASK.logits(nn.Identity(), z.detach()))
    torch.testing.assert_close(residuals, z.grad.unsqueeze(1))


def test_probabilities():
    p = torch.tensor([[0.25], [1.0], [0.0]], dtype=torch.float64)
    logits = BinaryTask(outputs="probabilities").logits(nn.Identity(), p)
    torch.testing.assert_close(logits.softmax(1)[:, 1:], p)
    assert bool(logits.isfinite().all())
    with pytest.raises(ValueError, match=r"'logits', 'probabilities', got 'kind'\..* with `output=`"):
        BinaryTask(outputs="kind")


@pytest.mark.parametrize(
    "label",
    [1, 1.0, True, np.int64(1), np.float32(1), np.bool_(True), [1], (1.0,), torch.tensor(1), torch.tensor([[1.0]])],
)
def test_labels_become_plain_ints(label):
    assert TASK.encode_label(label) == 1
    assert type(TASK.encode_label(label)) is int


@pytest.mark.parametrize(
    ("label", "error", "words"),
    [
        (2, ValueError, "needs 0 or 1 as labels, got 2.$"),
        (0.5, ValueError, "got 0.5.$"),
        (-1, ValueError, r"got -1. Where a dataset has no labels they are told: `oracle=AwaitTell\(\)`"),
        (float("nan"), ValueError, "got nan. Where a dataset"),
        ([0, 1], TypeError, r"got \[0, 1\] \(list\)"),
        ("yes", TypeError, r"got 'yes' \(str\)"),
        (None, TypeError, "got None"),
        (torch.zeros(0), TypeError, "Tensor"),
    ],
)
def test_other_labels(label, error, words):
    with pytest.raises(error, match=words):
        TASK.encode_label(label)


@pytest.mark.parametrize(
    ("old", "kind"),
    [
        (0.0, float),
        (False, bool),
        (0, int),
        (-1, int),
        (float("nan"), float),
        (np.float32(0), np.float32),
        (np.zeros(1, np.int16), np.ndarray),
    ],
)
def test_a_told_label_is_of_the_type_that_it_had(old, kind):
    told = TASK.with_label((0, old), TASK.decode_label(1))[1]
    assert type(told) is kind
    assert np.shape(told) == np.shape(old)
    assert told == 1


@pytest.mark.parametrize("sample", [torch.zeros(2), (torch.zeros(2),), (torch.zeros(2), None)])
def test_a_sample_without_a_target_gets_a_float(sample):
    told = TASK.with_label(sample, 1)[1]
    assert (told.dtype, told.shape, told.item()) == (torch.float32, (), 1)
    assert TASK.with_label((0, torch.zeros(1, dtype=torch.float64)), 1)[1].tolist() == [1.0]
    named = BinaryTask(inputs="x", target="y").with_label({"x": 0}, 0)
    assert named["y"].item() == 0


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (torch.zeros(3, 2), r"\(B,\) or \(B, 1\), got torch.float32 of shape \(3, 2\). For two.*ClassificationTask"),
        (torch.zeros(3, 1, 1), r"shape \(3, 1, 1\). Say with `output=`"),
        (torch.zeros(3).long(), "got torch.int64"),
        (torch.zeros(2), "2 outputs for 3 samples"),
    ],
)
def test_outputs_it_cannot_be_for(outputs, words):
    with pytest.raises(ValueError, match=words):
        BinaryTask(forward=lambda model, x: outputs).check(nn.Identity(), (torch.zeros(3, 4), torch.zeros(3)))


class Squashed(nn.Module):
    def __init__(self, squash):
        super().__init__()
        self.last, self.squash = nn.Linear(4, 1), squash

    def forward(self, x):
        return self.squash(self.last(x))


SIGMOIDS = {
    "module": nn.Sigmoid(),
    "function": torch.sigmoid,
    "method": lambda z: z.sigmoid().squeeze(1),
    "in place": lambda z: z.sigmoid_(),
}


@pytest.mark.parametrize("squash", SIGMOIDS.values(), ids=SIGMOIDS)
def test_a_sigmoid_at_the_end_is_warned_of(squash):
    batch = (torch.randn(2, 4), torch.zeros(2))
    with pytest.warns(UserWarning, match="come from a sigmoid.*outputs='probabilities'"):
        TASK.check(Squashed(squash).eval(), batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BinaryTask(outputs="probabilities").check(Squashed(squash).eval(), batch)
        TASK.check(Squashed(lambda z: 4 * z.sigmoid() - 2), batch)  # inside of the model, it may
        TASK.check(Squashed(lambda z: z.clamp(0, 1)), batch)


@pytest.mark.parametrize("targets", [[1.0, float("nan")], [1, -1], [0.0, 0.5]])
def test_samples_without_a_target_have_no_loss(targets):
    with pytest.raises(ValueError, match=r"some samples have none: their target is (nan|-1|0.5)"):
        TASK.known_targets((None, torch.tensor(targets).unsqueeze(1)))


def test_labels_that_are_told_reach_the_batches(tmp_path):
    """Into a dataset whose targets are NaN, as a column of floats."""
    seen = []

    class Watching(Values):
        def training_step(self, batch, batch_idx):
            seen.append(batch[1])
            return super().training_step(batch, batch_idx)

    model = Watching(loss=F.binary_cross_entropy_with_logits)
    targets = torch.full((20, 1), float("nan"), dtype=torch.float64)
    loop, trainer = loop_over(
        tmp_path, Entropy(), model, targets, BinaryTask(), oracle=AwaitTell(), initial=4, evaluate=None
    )
    loop.run(trainer)
    asked = loop.pool.pending.tolist()
    with pytest.raises(TypeError, match="needs 0 or 1 as labels, got 3"):
        loop.tell(asked, [1, 0, 1, 3])
    loop.tell(asked, [1, np.float32(0), True, torch.tensor([0.0])])
    loop.run(trainer, resume=True)
    assert torch.cat(seen).shape == (4, 1)
    assert torch.cat(seen).dtype == torch.float64
    assert sorted(torch.cat(seen).flatten().tolist()) == [0, 0, 1, 1]


def test_people_say_the_class():
    for label in (1, 1.0, torch.tensor([1.0])):
        assert TASK.to_annotation(label, ["no", "yes"]) == "yes"
        assert TASK.encode_label(TASK.from_annotation("yes", ["no", "yes"])) == 1
    assert TASK.to_annotation(0.0, None) == "0"


@pytest.mark.parametrize("task", [BinaryTask, ClassificationTask])
@pytest.mark.parametrize("wrong", [-0.5, 1.5])
def test_probabilities_that_are_none_are_refused(task, wrong):
    outputs = torch.full((3, 1) if task is BinaryTask else (3, 2), 0.5)
    made = task(outputs="probabilities", forward=lambda model, x: outputs)
    batch = (torch.zeros(3, 4), torch.zeros(3))
    made.check(nn.Identity(), batch)
    outputs[1] = wrong
    with pytest.raises(ValueError, match=rf"between 0 and 1, got {wrong}. Of logits say `task={task.__name__}\(\)`"):
        made.check(nn.Identity(), batch)


@pytest.mark.parametrize("task", [BinaryTask, ClassificationTask, RegressionTask])
def test_a_batch_of_one_without_its_dimension(task):
    """As `squeeze()` leaves it."""
    made = task(forward=lambda model, x: torch.tensor(0.5))
    with pytest.raises(ValueError, match=r"a single number.*`squeeze\(1\)`"):
        made.check(nn.Identity(), (torch.zeros(1, 4), torch.zeros(1)))
