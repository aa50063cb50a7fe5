"""What is padding is found by what modules are called with, whatever it is called."""

import pytest
import torch
from torch import nn

from lightning_al.inference.layers import outputs_and_features_of
from lightning_al.inference.padding import Padding
from tests.helpers.texts import KNOWN, UNKNOWN, Module, collate, rows

SAMPLES = rows(7)


def features(kind, samples):
    net = Module(kind)
    batch = collate(samples)
    inputs = {name: batch[name] for name in kind.takes}
    with torch.no_grad():
        return outputs_and_features_of(net, lambda: net(**inputs), kind.layer)[1]


@pytest.mark.parametrize("kind", KNOWN)
def test_a_sample_has_the_features_that_it_has_alone(kind):
    alone = torch.cat([features(kind, [sample]) for sample in SAMPLES])
    torch.testing.assert_close(features(kind, SAMPLES), alone)
    assert alone.std(0).min() > 1e-3


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_not_known_is_averaged_with_the_rest(kind):
    alone = torch.cat([features(kind, [sample]) for sample in SAMPLES])
    assert (features(kind, SAMPLES) - alone).abs().max() > 1e-2


def test_features_are_the_mean_over_the_words_of_each_sample():
    net = Module(KNOWN[0]).net
    for sample, got in zip(SAMPLES, features(KNOWN[0], SAMPLES), strict=True):
        with torch.no_grad():
            want = sum(net.hidden(net.words.weight[word]) for word in sample["ids"]) / len(sample["ids"])
        torch.testing.assert_close(got, want)


class Net(nn.Module):
    """Called with anything, under any name."""

    def forward(self, x, mask=None, **more):
        return x


def found(positions=3, x=None, **told):
    net, padding = Net(), Padding()
    with padding.watching(net):
        net(torch.zeros(2, positions, 4) if x is None else x, **told)
    mask = padding.of(2, positions)
    return None if mask is None else mask.int().tolist()


WANT = [[0, 0, 0], [0, 1, 1]]


@pytest.mark.parametrize(
    "told",
    [
        {"mask": torch.tensor([[1, 1, 1], [1, 0, 0]])},
        {"attention_mask": torch.tensor([[True, True, True], [True, False, False]])},
        {"anything": torch.tensor([[0, 0, 0], [0, 1, 1]])},  # no row of it is padding alone
        {"key_padding_mask": torch.tensor([[False, False, False], [False, True, True]])},
        {"padding": torch.tensor([[0, 0, 0], [0, 1, 1]])},
        {"mask": torch.tensor([[0.0, 0.0, 0.0], [0.0, -torch.inf, -torch.inf]])},
        {"mask": torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])},
        {"lengths": torch.tensor([3, 1])},
        {"seq_len": torch.tensor([3, 1], dtype=torch.int32)},
        {"batch": {"ids": torch.zeros(2, 3, dtype=torch.long) + 7, "valid": torch.tensor([[1, 1, 1], [1, 0, 0]])}},
    ],
    ids=lambda told: next(iter(told)),
)
def test_masks_and_lengths_of_any_make(told):
    assert found(**told) == WANT


def test_sequences_may_be_padded_at_their_start():
    assert found(mask=torch.tensor([[1, 1, 1], [0, 0, 1]])) == [[0, 0, 0], [1, 1, 0]]


def test_a_batch_of_one_has_no_padding_whatever_its_mask_says_with_ones():
    for mask in (torch.ones(1, 3), torch.zeros(1, 3)):
        net, padding = Net(), Padding()
        with padding.watching(net):
            net(torch.zeros(1, 3, 4), mask=mask.long())
        assert padding.of(1, 3).int().tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    "told",
    [
        {"ids": torch.tensor([[5, 1, 0], [1, 1, 0]])},
        {"mask": torch.tensor([[1, 0, 1], [1, 1, 0]])},  # has holes
        {"mask": torch.tensor([[1, 1], [1, 0]])},  # of other positions
        {"attn_mask": torch.tensor([[1, 1, 1], [1, 0, 0]])},  # of pairs
        {"memory_key_padding_mask": torch.tensor([[False, False, False], [False, True, True]])},
        {"speaker": torch.tensor([3, 1])},
        {"lengths": torch.tensor([9, 1])},  # of something longer
        {"weights": torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])},
    ],
    ids=lambda told: next(iter(told)),
)
def test_what_is_no_mask(told):
    assert found(**told) is None


def test_what_is_embedded_is_no_mask():
    class Typed(nn.Module):
        def __init__(self):
            super().__init__()
            self.types = nn.Embedding(2, 4)

        def forward(self, types):
            return self.types(types)

    net, padding = Typed(), Padding()
    with padding.watching(net):
        net(torch.tensor([[1, 1, 1], [1, 0, 0]]))
    assert padding.of(2, 3) is None


def test_nothing_stays_on_the_model():
    net = Net()
    with Padding().watching(net):
        assert net._forward_pre_hooks
    assert not net._forward_pre_hooks
