"""The task of real values: what it makes of outputs and labels."""

import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_al import AwaitTell, RegressionTask
from lightning_al.acquisition import CoreSet, MCDropout, Random
from lightning_al.campaign import Standing
from tests.helpers.real_values import Values, loop_over, real_targets

TASK = RegressionTask()
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
KINDS = st.sampled_from([list, tuple, np.array, lambda values: torch.tensor(values, dtype=torch.float64)])


@given(st.lists(NUMBERS, min_size=1, max_size=4), KINDS)
def test_labels_survive_the_ledger(label, kind):
    value = json.loads(json.dumps(TASK.encode_label(kind(label))))
    assert value == (label if len(label) > 1 else label[0])
    old = torch.zeros(len(label), dtype=torch.float64)
    assert TASK.with_label((0, old), TASK.decode_label(value))[1].tolist() == label


@pytest.mark.parametrize("label", [3, 3.0, np.float32(3), np.int64(3), torch.tensor(3), torch.tensor([[3.0]]), [3]])
def test_one_number_is_a_float(label):
    assert TASK.encode_label(label) == 3.0
    assert type(TASK.encode_label(label)) is float


@pytest.mark.parametrize(
    ("old", "told", "new"),
    [
        (torch.zeros(1), 2.5, torch.tensor([2.5])),
        (torch.tensor(0.0, dtype=torch.float64), 2.1, torch.tensor(2.1, dtype=torch.float64)),
        (torch.tensor(float("nan")), [1.0, 2.0], torch.tensor([1.0, 2.0])),
        (torch.tensor(1), 2.0, torch.tensor(2)),
        (torch.tensor(1), 2.5, torch.tensor(2.5)),  # which an integer cannot hold
        (0.0, 2.5, 2.5),
        (1, 2.5, 2.5),
        (1, 2.0, 2),
        (np.float32(0), 2.5, np.float32(2.5)),
        (np.int64(1), 2.5, np.float32(2.5)),
        (np.zeros((1, 2)), [1.0, 2.5], np.array([[1.0, 2.5]])),
        ([0.0, 0.0], [1.0, 2.5], [1.0, 2.5]),
        (None, 2.5, torch.tensor(2.5)),
        (-1, [1.0, 2.5], torch.tensor([1.0, 2.5])),
    ],
)
def test_a_told_label_is_like_the_one_before_and_keeps_its_fraction(old, told, new):
    got = TASK.with_label((0, old), told)[1]
    assert type(got) is type(new)
    assert np.shape(got) == np.shape(new)
    assert getattr(got, "dtype", None) == getattr(new, "dtype", None)
    assert np.array_equal(got, new)


@pytest.mark.parametrize(
    ("label", "error", "words"),
    [
        (float("nan"), ValueError, r"nan is no label.*told: `oracle=AwaitTell\(\)`; .*`SKIP`"),
        (torch.tensor([1.0, float("nan")]), ValueError, "nan stands for none"),
        (float("inf"), ValueError, "inf stands for none"),
        ("3", TypeError, r"real numbers as labels, got '3' \(str\)"),
        (True, TypeError, "got True"),
        (None, TypeError, "got None"),
        ([], TypeError, r"got \[\]"),
        ([1.0, "a"], TypeError, "got "),
        (1 + 2j, TypeError, "got "),
    ],
)
def test_what_is_no_label(label, error, words):
    with pytest.raises(error, match=words):
        TASK.encode_label(label)


def test_the_loss_is_squared_error():
    z, y = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([[0.0, 0.0], [3.0, 3.0]])
    assert TASK.loss(z, y).tolist() == [2.5, 2.0]
    assert TASK.loss(torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 2.0])).tolist() == [4.0, 0.0]
    scaled = RegressionTask(scale=[1.0, 10.0])
    outputs = scaled.outputs(nn.Identity(), 10 * z)
    assert outputs.tolist() == [[10.0, 2.0], [30.0, 5.0]]
    assert scaled.loss(outputs, 10 * y).tolist() == [(10**2 + 2**2) / 2, (0 + 2**2) / 2]
    assert scaled.pseudo_targets(outputs).tolist() == (10 * z).tolist()


def test_missing_targets_have_no_loss():
    with pytest.raises(ValueError, match="some samples have none: their target is NaN"):
        TASK.known_targets((0, torch.tensor([1.0, float("nan")])))


@pytest.mark.parametrize(
    ("scale", "error"), [(0, ValueError), ([1.0, -1.0], ValueError), ("x", TypeError), ([], ValueError)]
)
def test_scales_that_are_none(scale, error):
    with pytest.raises(error, match="`scale`"):
        RegressionTask(scale=scale)


X = torch.zeros(3, 4)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (torch.zeros(3).long(), "floating outputs.*torch.int64"),
        (torch.zeros(2, 1), "2 rows of outputs for 3 samples"),
        (torch.zeros(3, 3), r"has 2 numbers, and the model's outputs are \(3, 3\)"),
    ],
)
def test_outputs_it_cannot_be_for(outputs, words):
    task = RegressionTask(scale=[1.0, 2.0], forward=lambda model, x: outputs)
    with pytest.raises(ValueError, match=words):
        task.check(nn.Identity(), (X, torch.zeros(3)))


def test_class_scores_are_refused():
    with pytest.raises(TypeError, match=r"no class scores.*task\.outputs.*\"values\""):
        TASK.logits(nn.Identity(), X)


@pytest.mark.parametrize(("of_model", "of_data"), [((3, 1), (3,)), ((3,), (3, 1))])
def test_shapes_whose_difference_is_every_pair_are_warned_of(of_model, of_data):
    task = RegressionTask(forward=lambda model, x: torch.zeros(of_model))
    with pytest.warns(UserWarning, match=r"\(B, B\), every output against every target.*squeeze\(1\)"):
        task.check(nn.Identity(), (X, torch.zeros(of_data)))


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2)])
def test_equal_shapes_are_not(shape):
    task = RegressionTask(forward=lambda model, x: torch.zeros(shape))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task.check(nn.Identity(), (X, torch.zeros(shape)))
        task.check(nn.Identity(), (X,))


def test_a_label_of_another_size_is_named(tmp_path):
    loop, trainer = loop_over(
        tmp_path, MCDropout(score="variance"), Values(2), real_targets(outputs=2), RegressionTask()
    )
    loop.run(trainer)
    with pytest.raises(TypeError, match=r"The model has 2 outputs, and 3\.0 has 1"):
        loop.tell(loop.pool.unlabelled[:1], [3.0])
    loop.tell(loop.pool.unlabelled[:1], [[3.0, 4.0]])


def test_targets_that_are_missing_are_told(tmp_path):
    """Under a simulated oracle NaN is refused before anything trains; told labels reach the batches."""
    seen = []

    class Watching(Values):
        def training_step(self, batch, batch_idx):
            seen.append(batch[1])
            return super().training_step(batch, batch_idx)

    hidden = torch.full((20, 1), float("nan"), dtype=torch.float64)
    loop, trainer = loop_over(tmp_path / "simulated", CoreSet(), Watching(), hidden, RegressionTask())
    with pytest.raises(TypeError, match="nan stands for none"):
        loop.run(trainer)
    assert not (tmp_path / "simulated" / "c").exists()
    loop, trainer = loop_over(
        tmp_path, CoreSet(), Watching(), hidden, RegressionTask(), oracle=AwaitTell(), initial=4, evaluate=None
    )
    loop.run(trainer)
    loop.tell(loop.pool.pending, [0.1, 0.2, 0.3, 0.7])
    loop.run(trainer, resume=True)
    assert sorted(torch.cat(seen).flatten().tolist()) == [0.1, 0.2, 0.3, 0.7]
    assert loop.status == "waiting"


def test_classes_in_equal_shares_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'"balanced".*`RegressionTask` has no classes'):
        loop_over(tmp_path, CoreSet(), Values(), real_targets(), TASK, initial_by="balanced")


def test_people_say_the_number():
    assert TASK.to_annotation(torch.tensor([2]), None) == 2.0
    assert type(TASK.to_annotation(2, None)) is float
    assert TASK.encode_label(TASK.from_annotation(2.5, None)) == 2.5
    with pytest.raises(TypeError, match="one number of a sample"):
        TASK.to_annotation([0.0, 1.0], None)  # no two classes


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2)])
def test_a_unit_for_each_output(shape):
    """Outputs (B,) are one for each sample, however many samples there are."""
    task = RegressionTask(scale=[2.0] * (shape[1] if len(shape) > 1 else 1), forward=lambda model, x: torch.ones(shape))
    task.check(nn.Identity(), (X,))
    assert torch.equal(task.outputs(nn.Identity(), X), torch.full(shape, 0.5))
    others = RegressionTask(scale=[2.0] * 3, forward=lambda model, x: torch.ones(shape))
    with pytest.raises(ValueError, match="has 3 numbers"):
        others.check(nn.Identity(), (X,))


@pytest.mark.few(1)
@pytest.mark.parametrize("acquisition", [Random, CoreSet, lambda: MCDropout(score="variance")])
def test_people_say_one_number_of_one_output_alone(tmp_path, acquisition):
    """Whatever the acquisition looks at, and in whichever process."""
    for name, outputs in (("one", 1), ("two", 2)):
        folder = tmp_path / name
        folder.mkdir()
        for _ in range(2):  # processes
            parts = (acquisition(), Values(outputs), real_targets(outputs=outputs), RegressionTask())
            loop, trainer = loop_over(folder, *parts, oracle=AwaitTell(), initial=4, evaluate=None)
            loop.run(trainer, resume=True)
            assert Standing(folder / "c").kind == ("number" if outputs == 1 else None)
    with pytest.raises(TypeError, match=r"The model has 2 outputs, and 3\.0 has 1"):
        loop.tell(loop.pool.pending[:1], [3.0])


@pytest.mark.parametrize("said", ["0.5|1.0", ["0.5", "1.0"], "cat", True])
def test_what_is_no_number(said):
    with pytest.raises(TypeError, match=r"People say one number of a sample.*`loop\.tell`"):
        TASK.from_annotation(said, None)
