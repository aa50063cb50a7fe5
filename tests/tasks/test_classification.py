from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

from lightning_al import SKIP, AwaitTell, ClassificationTask, DatasetOracle, Pool
from lightning_al.loop.initial import choose_initial
from lightning_al.oracle import sort_answers
from tests.helpers.projects import make_data

Sample = namedtuple("Sample", "image label name")
TASK = ClassificationTask()


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (("x", 0), ("x", 5)),
        (("x", 0, "extra"), ("x", 5, "extra")),
        (["x", 0], ["x", 5]),
        (("x",), ("x", 5)),
        (Sample("x", 0, "n"), Sample("x", 5, "n")),
    ],
)
def test_with_label_keeps_the_kind_of_sample(sample, expected):
    labelled = TASK.with_label(sample, 5)
    assert labelled == expected
    assert type(labelled) is type(expected)


def test_with_label_keeps_the_type_of_the_label():
    told = TASK.with_label((0, torch.tensor([0], dtype=torch.int32)), 5)[1]
    assert told.tolist() == [5]
    assert told.dtype == torch.int32
    assert isinstance(TASK.with_label((0, np.int16(0)), 5)[1], np.int16)
    x, y = TASK.with_label(torch.zeros(2), 5)
    assert (x.tolist(), y) == ([0, 0], 5)


def test_inputs_and_targets():
    x, y = torch.zeros(2, 3), torch.zeros(2)
    assert TASK.inputs((x, y)) is x
    assert TASK.inputs([x]) is x
    assert TASK.inputs(x) is x
    assert TASK.targets([x, y, 1]) is y
    with pytest.raises(TypeError, match=r"got a tuple of 1.*task="):
        TASK.targets((x,))


@pytest.mark.parametrize("label", [3, np.int64(3), torch.tensor(3), torch.tensor([3])])
def test_labels_become_plain_ints(label):
    assert TASK.encode_label(label) == 3
    assert type(TASK.encode_label(label)) is int
    assert TASK.decode_label(3) == 3


def test_keys():
    class Files:
        root = "/data/train"
        samples = ((Path("/data/train/cat/1.jpg"), 0), ("/data/train/dog/2.jpg", 1), ("/elsewhere/3.jpg", 0))

        def __len__(self):
            return 3

    assert TASK.key(Files(), 0) == "cat/1.jpg"
    assert TASK.key(Subset(Files(), [1]), 0) == "dog/2.jpg"
    assert TASK.key(Files(), 2) == "/elsewhere/3.jpg"
    assert TASK.key(TensorDataset(torch.zeros(5)), 4) == "4"


def test_features_are_the_input_of_the_last_linear_layer():
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    x = make_data()[0]
    assert torch.equal(TASK.features(net, x), net[:4](x))
    assert not any(m._forward_pre_hooks for m in net.modules())
    with pytest.raises(ValueError, match=r"No `nn.Linear`.*features"):
        TASK.features(nn.Sequential(nn.ReLU()), x)


def test_probabilities_become_their_logarithm():
    p = torch.tensor([[0.25, 0.75], [0.0, 1.0]])
    z = ClassificationTask(outputs="probabilities").logits(lambda x: x, p)
    assert torch.allclose(z.softmax(1), p)
    assert bool(torch.isfinite(z).all())
    with pytest.raises(ValueError, match="got 'logit'"):
        ClassificationTask(outputs="logit")


def test_the_default_oracle_answers_what_it_was_asked_once():
    _, y = make_data()
    oracle = DatasetOracle(TensorDataset(*make_data()), TASK)
    oracle.request([3, 5])
    oracle.request([5])
    assert {i: int(a) for i, a in oracle.poll().items()} == {3: int(y[3]), 5: int(y[5])}
    assert oracle.poll() == {}
    assert AwaitTell().poll() == {}


def test_answers_are_split():
    assert sort_answers({3: torch.tensor(1), 4: SKIP, 9: 0}, TASK) == ({3: 1, 9: 0}, [4], {})
    assert repr(SKIP) == "SKIP"
    import pickle

    assert pickle.loads(pickle.dumps(SKIP)) is SKIP


# -- the initial set -----------------------------------------------------------------------------------------------


def initial(count, method="random", n=60, seed=0):
    return choose_initial(count, method, Pool(n), TensorDataset(*make_data(n)), TASK, seed=seed)


def test_random_initial_is_seeded():
    assert initial(7) == initial(7) != initial(7, seed=1)
    assert initial(5) == initial(9)[:5]


@pytest.mark.parametrize("count", [1, 3, 6, 10, 47])
def test_balanced_initial(count):
    chosen = initial(count, "balanced")
    labels = [int(make_data()[1][i]) for i in chosen]
    available = make_data()[1].bincount(minlength=3).tolist()
    counts = [labels.count(c) for c in range(3)]
    assert len(set(chosen)) == len(chosen) == count
    full = [c for c in range(3) if counts[c] < available[c]]
    assert max(counts[c] for c in full) - min(counts[c] for c in full) <= 1 if full else True
    assert all(counts[c] >= min(count // 3, available[c]) for c in range(3))
    assert chosen == initial(count, "balanced")


def test_balanced_reads_the_targets_where_the_data_set_keeps_them():
    class Targets(TensorDataset):
        targets = make_data()[1].tolist()

        def __getitem__(self, i):
            raise AssertionError("read a sample")

    chosen = choose_initial(9, "balanced", Pool(60), Targets(*make_data()), TASK, seed=0)
    assert chosen == initial(9, "balanced")
