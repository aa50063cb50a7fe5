"""Messages stay short, whatever is shown in them, and say nothing twice."""

import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_al import ActiveLearningLoop, ClassificationTask, MultiLabelTask, NoisyOracle, Pool, checks
from lightning_al import acquisition as acquisitions
from lightning_al import functional as F_al
from lightning_al.acquisition.base import Acquisition
from lightning_al.data.train_loaders import check_train_loader
from lightning_al.loop.initial import choose_initial
from lightning_al.oracle.answers import sort_answers
from lightning_al.stopping import MetricPlateau, MetricReached
from lightning_al.training.sam.options import SAMOptions
from lightning_al.words import said_once, shown
from tests.helpers.projects import Data, Net, loop_in, make_trainer

MOST = 1200


class Endless:
    def __repr__(self):
        return "an object with much to say, " * 4000


GIANTS = {
    "text": "x" * 20_000,
    "tensor": torch.rand(40, 50, 60),
    "many tensors": {f"entry {i}" * 9: torch.rand(90, 90) for i in range(300)},
    "boxes": [{"boxes": torch.rand(7, 4), "labels": torch.arange(7)} for _ in range(200)],
    "numbers": list(range(20_000)),
    "nested": [[[list(range(50)) for _ in range(20)] for _ in range(9)]],
    "object": Endless(),
    "bytes": b"y" * 20_000,
    "huge": 10**4000,
}


def options_of_loop(value):
    for name in ("initial", "query_size", "rounds", "budget", "stop", "subpool_size", "reset", "oracle", "task",
                 "evaluate", "weights", "seed", "pool", "dirpath", "initial_by"):  # fmt: skip
        yield lambda name=name: ActiveLearningLoop(Net(), Data(), **{"initial": 8, "query_size": 4, name: value})


def options_of_acquisitions(value):
    options = {
        "SAAL": ("rho", "perturbation", "p", "group_size", "score", "lowest", "labels", "selection"),
        "Entropy": ("selection",),
        "BALD": ("passes", "add_dropout", "selection"),
        "CoreSet": ("features",),
        "ProbCover": ("delta", "purity", "clusters"),
        "TypiClust": ("max_clusters", "neighbours", "variant"),
        "CoreGCN": ("steps", "hidden", "lr"),
        "VAAL": ("steps", "latent", "reduction"),
        "QueryByCommittee": ("members", "source", "score", "redraw"),
    }
    for name, several in options.items():
        for option in several:
            yield lambda name=name, option=option: getattr(acquisitions, name)(**{option: value})


def labels(value):
    tasks = (ClassificationTask(), MultiLabelTask())
    for task in tasks:
        yield lambda task=task: task.encode_label(value)
        yield lambda task=task: sort_answers(dict.fromkeys(range(9), value), task).check()
        yield lambda task=task: sort_answers({i: [value, i] for i in range(9)}, task).check()
        yield lambda task=task: task.targets(value)
        yield lambda task=task: task.with_label(value, 1)
        yield lambda task=task: task.inputs({"entry": value})
    yield lambda: ClassificationTask(outputs=value)
    yield lambda: ClassificationTask(inputs=value, target=3)
    yield lambda: ClassificationTask(forward=value)
    yield lambda: NoisyOracle(flip=value, classes=value, price=[value])
    yield lambda: choose_initial([value], "random", Pool(3), dataset=[], task=tasks[0], seed=0)


def others(value):
    yield lambda: Pool(value)
    yield lambda: Pool(8).check([value])
    yield lambda: Pool(8).check(value)
    yield lambda: type("Mine", (Acquisition,), {"requires": value})
    yield lambda: MetricReached("acc", value)
    yield lambda: MetricPlateau("acc", patience=value, min_delta=value, mode=value)
    yield lambda: checks.check_count("n", value, 1)
    yield lambda: checks.check_k(value, 4)
    yield lambda: F_al.saal(torch.nn.Linear(2, 2), value)
    yield lambda: F_al.saal(torch.nn.Linear(2, 2), torch.rand(3, 2), targets=value)
    yield lambda: F_al.gradient_norm(torch.nn.Linear(2, 2), torch.rand(3, 2), loss=value, norm=value)
    yield lambda: F_al.mc_dropout(torch.nn.Linear(2, 2), value)
    yield lambda: F_al.entropy(value)
    yield lambda: SAMOptions(rho=value)
    yield lambda: check_train_loader(value)


@pytest.mark.few(6)
@pytest.mark.parametrize("source", [options_of_loop, options_of_acquisitions, labels, others])
@pytest.mark.parametrize("name", GIANTS)
def test_no_message_is_long(name, source):
    texts = []
    for call in source(GIANTS[name]):
        try:
            call()
        except Exception as error:
            if checks.where_raised(error).startswith("lightning_al"):
                texts.append(str(error))
    assert len(texts) > 5
    assert not [text[:2000] for text in texts if len(text) > MOST]


@pytest.mark.parametrize("name", GIANTS)
def test_values_are_shown_in_a_few_words(name):
    assert 0 < len(shown(GIANTS[name])) <= 120


def test_small_values_are_shown_as_they_are():
    for value in (None, True, 3, -0.5, "acc", [1, 2], (1,), {"a": 1}, torch.tensor(3), b"a"):
        assert shown(value) == repr(value)
    assert shown(torch.zeros(3, 4)) == "<Tensor of torch.float32, (3, 4)>"


def test_advice_is_given_once():
    reasons = dict(enumerate(["cat", 1.5, None, [1]]))
    with pytest.raises(TypeError) as caught:
        sort_answers(reasons, ClassificationTask()).check()
    text = str(caught.value)
    assert text.count("MultiLabelTask()") == 1
    assert "got 'cat' (str)" in text
    assert "And so on for 1 more." in text
    assert said_once(["A is 1. Do so.", "A is 2. Do so."]) == ["A is 1. Do so.", "A is 2."]


def test_whole_labels_are_in_no_message_of_a_launch(tmp_path):
    class Dense(Data):
        """Targets that are masks."""

        def setup(self, stage):
            super().setup(stage)
            self.train = TensorDataset(self.train.tensors[0], torch.rand(self.n, 30, 30))

    with pytest.raises(TypeError, match="8 label") as caught:
        loop_in(tmp_path, data=Dense()).run(make_trainer(tmp_path))
    assert len(str(caught.value)) < 600

    class Other(Dense):
        """And a pool of others."""

        def pool_dataset(self):
            return TensorDataset(self.train.tensors[0], torch.rand(self.n, 30, 30))

    class Masks(ClassificationTask):
        def encode_label(self, label):
            return label.tolist()

    with pytest.raises(ValueError, match="they are other data") as caught:
        loop_in(tmp_path, data=Other(), task=Masks()).run(make_trainer(tmp_path))
    assert len(str(caught.value)) < 700
