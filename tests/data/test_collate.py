"""Collate functions under which rows are not the samples at their places."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate

from lightning_al import ActiveLearningLoop, ClassificationTask
from lightning_al.data.collate import check_collate
from tests.helpers.projects import Data, Net, make_trainer

SAMPLES = [(torch.full((length,), float(length)), label) for length, label in ((2, 0), (5, 1), (3, 1), (4, 0))]


def padded(samples):
    return pad_sequence([x for x, _ in samples], batch_first=True), torch.tensor([y for _, y in samples])


def longest_first(samples):
    return padded(sorted(samples, key=lambda sample: -len(sample[0])))


def mixed_up(samples):
    x, y = padded(samples)
    share = torch.rand(())
    y = torch.nn.functional.one_hot(y, 2).float()
    return share * x + (1 - share) * x.roll(1, 0), share * y + (1 - share) * y.roll(1, 0)


def mean_taken_off(samples):
    x, y = padded(samples)
    return x - x[0], y


def noisy(samples):
    x, y = padded(samples)
    return x + torch.randn(()), y


def one_hot(samples):
    x, y = noisy(samples)
    return {"x": x, "y": torch.nn.functional.one_hot(y, 2).float(), "lengths": [len(x) for x, _ in samples]}


def test_targets_in_another_form_are_as_good():
    check_collate(one_hot, SAMPLES, ClassificationTask(inputs="x", target="y"))


@pytest.mark.parametrize("collate", [padded, noisy])
def test_rows_that_are_the_samples(collate):
    check_collate(collate, SAMPLES, ClassificationTask())
    check_collate(default_collate, [(torch.ones(2), torch.tensor(0))] * 3, ClassificationTask())


def without_targets(collate):
    return lambda samples: collate([(sample, 0) for sample in samples])[0]


@pytest.mark.parametrize("collate", [longest_first, mixed_up, mean_taken_off])
def test_rows_that_are_not(collate):
    with pytest.raises(
        ValueError, match=rf"collate function \({collate.__name__}\).*sorts or mixes.*enforce_sorted=False"
    ):
        check_collate(collate, SAMPLES, ClassificationTask())


def test_without_targets_the_order_of_inputs_tells():
    inputs = [x for x, _ in SAMPLES]
    check_collate(without_targets(padded), inputs, ClassificationTask())
    with pytest.raises(ValueError, match="sorts or mixes"):
        check_collate(without_targets(longest_first), inputs, ClassificationTask())


def test_sorted_batches_are_refused_before_there_is_a_campaign(tmp_path):
    """They were scored, and the scores went to other samples."""

    def by_value(samples):
        return default_collate(sorted(samples, key=lambda sample: -float(sample[0][0])))

    data = Data(collate_fn=by_value)
    loop = ActiveLearningLoop(Net(), data, initial=6, query_size=3, rounds=1, dirpath=tmp_path / "c")
    with pytest.raises(ValueError, match="sorts or mixes"):
        loop.run(make_trainer(tmp_path))
    assert not (tmp_path / "c").exists()
