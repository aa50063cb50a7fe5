"""An acquisition of one's own, tried: the built-in ones keep to it all, and each fault is found."""

import re

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import check_acquisition
from lightning_al.acquisition import Acquisition, Entropy
from lightning_al.distributed.randomness import Draws
from tests.helpers import reference
from tests.helpers.marks import slow
from tests.helpers.projects import Net, make_data
from tests.helpers.registry import ONE_OF_EACH
from tests.helpers.scene import SIZE, prepare

SAMPLES = TensorDataset(*make_data(SIZE))

OF_CAMPAIGNS = "QueryByCommittee"


@pytest.mark.parametrize(
    "case",
    [case if case.name in ("Random", "CoreSet") else slow(case) for case in ONE_OF_EACH if case.name != OF_CAMPAIGNS],
    ids=lambda case: case.id,
)
def test_every_built_in_acquisition_keeps_to_it(tmp_path, case):
    model = case.model(batch_norm=True, dropout=0.3)
    if case.model is not Net:
        model.predict_losses(make_data(2)[0])
    prepare(model)
    before, draws = state_of(model), Draws()
    acquisition = case.make(tmp_path)
    attributes = dict(vars(acquisition))
    assert check_acquisition(acquisition, model, SAMPLES) is None
    assert state_of(model) == before
    assert not draws.are_taken()
    assert vars(acquisition) == attributes


def state_of(model):
    """Weights, flags, gradients and the like, and not that Lightning has seen it."""
    return {name: value for name, value in reference.snapshot(model).items() if name != "attributes"}


class GlobalGenerator(Entropy):
    def select(self, rows, k, *, labelled_rows, generator):
        return torch.randperm(len(rows["score"]))[:k]


class NoSeed(Entropy):
    def select(self, rows, k, *, labelled_rows, generator):
        return np.random.default_rng().permutation(len(rows["score"]))[:k]


class OwnGenerator(Entropy):
    def __init__(self):
        super().__init__()
        self.draws = torch.Generator().manual_seed(0)

    def __deepcopy__(self, memo):
        return type(self)()

    def select(self, rows, k, *, labelled_rows, generator):
        return torch.randperm(len(rows["score"]), generator=self.draws)[:k]


class DrawsScores(Entropy):
    def score_batch(self, model, batch):
        return torch.rand(len(batch[0]))


class Neighbours(Entropy):
    def score_batch(self, model, batch):
        return super().score_batch(model, batch).softmax(0)


class Twice(Entropy):
    def select(self, rows, k, *, labelled_rows, generator):
        return torch.zeros(k, dtype=torch.long)


class OneLess(Entropy):
    def select(self, rows, k, *, labelled_rows, generator):
        return super().select(rows, k, labelled_rows={}, generator=generator)[: len(rows["score"]) - 1]


class Infinite(Entropy):
    def score_batch(self, model, batch):
        return super().score_batch(model, batch) / 0


class Peeks(Entropy):
    def score_batch(self, model, batch):
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


class Trains(Entropy):
    def score_batch(self, model, batch):
        scores = super().score_batch(model, batch)
        model.train()
        weight = next(model.parameters())
        weight.grad = torch.ones_like(weight)
        return scores


class Moves(Entropy):
    def score_batch(self, model, batch):
        scores = super().score_batch(model, batch)
        next(model.parameters()).data.mul_(1.001)
        return scores


class Locked(Entropy):
    def __init__(self):
        super().__init__()
        self.lines = (line for line in ())


class Labelled(Entropy):
    def select(self, rows, k, *, labelled_rows, generator):
        labelled_rows["score"].mean()
        return super().select(rows, k, labelled_rows={}, generator=generator)


@pytest.mark.parametrize(
    ("broken", "finding"),
    [
        (GlobalGenerator, "GlobalGenerator.select` draws from a global generator"),
        (DrawsScores, r"`DrawsScores` draws from a global generator .* in `rows` or `score_batch`.* Draw in `select`"),
        slow(NoSeed, "picks others in a second run with the same seed"),
        slow(OwnGenerator, "picks others when the same object is used a second time"),
        (Neighbours, r"What `Neighbours` makes of a sample depends on its batch: in batches of 8 and of 3 .*%"),
        slow(Twice, r"must return 5 distinct positions between 0 and 26, got \[0, 0, 0, 0, 0\]"),
        slow(OneLess, r"must return 27 distinct positions between 0 and 26"),
        slow(Infinite, "gave NaN or infinite scores for 2 of "),
        (Peeks, "looks at the labels of samples that nobody has labelled"),
        slow(Trains, r"in `rows` or `score_batch`: gradients 'net.0.weight', `training` of 'the model' and \d+ more"),
        (Moves, r"in `rows` or `score_batch`: parameters 'net.0.weight'\."),
        slow(Locked, r"cannot be copied .*generator"),
    ],
)
def test_each_fault_is_found(broken, finding):
    model = Net()
    model.net[0].weight.grad = torch.ones_like(model.net[0].weight)
    before = state_of(model)
    with pytest.raises(ValueError, match=finding):
        check_acquisition(broken(), model, SAMPLES)
    assert state_of(model) == before


def test_one_that_is_right_of_a_loader_and_of_samples_without_labels():
    check_acquisition(Entropy(), Net(), DataLoader(SAMPLES, batch_size=5))
    check_acquisition(Entropy(), Net(), TensorDataset(SAMPLES.tensors[0]), k=3)


def test_all_findings_are_one_error_and_each_is_said_once():
    class Both(Peeks, GlobalGenerator):
        pass

    with pytest.raises(ValueError, match="2 things") as error:
        check_acquisition(Both(), Net(), SAMPLES)
    assert len(re.findall("draws from a global generator", str(error.value))) == 1
    assert "looks at the labels" in str(error.value)


def test_a_select_that_forgets_to_return_is_named():
    class Forgot(Entropy):
        def select(self, rows, k, *, labelled_rows, generator):
            super().select(rows, k, labelled_rows={}, generator=generator)

    with pytest.raises(TypeError, match=r"`Forgot\.select` must return integer positions,.* got None"):
        check_acquisition(Forgot(), Net(), SAMPLES)


def test_what_cannot_be_tried_is_refused():
    with pytest.raises(KeyError, match="score"):  # `uses_labelled` is not set
        check_acquisition(Labelled(), Net(), SAMPLES)
    with pytest.raises(NotImplementedError, match="must define `score_batch`"):
        check_acquisition(Acquisition(), Net(), SAMPLES)
    with pytest.raises(TypeError, match=r"(?s)`acquisition` must be an acquisition.*`dataset` must be a map-style"):
        check_acquisition(Entropy, Net(), iter([]))
    with pytest.raises(ValueError, match="k"):
        check_acquisition(Entropy(), Net(), SAMPLES, k=28)
