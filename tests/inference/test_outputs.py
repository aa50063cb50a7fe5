"""A model's outputs, as the scores see them, and the size of a batch."""

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.inference.entries import batch_size_of
from lightning_al.inference.outputs import plain_outputs
from tests.helpers import reference
from tests.helpers.models import NAMES, case, randn, take


@pytest.mark.parametrize("name", NAMES)
def test_plain_outputs(name):
    net, x, forward, _ = case(name)
    net.train()
    got = plain_outputs(net, x, forward)
    assert not got.requires_grad
    want = reference.outputs(reference.evaluated(net), take(x, slice(None)), forward).detach()
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_plain_outputs_of_a_model_without_weights():
    x = randn(3, 2)
    assert torch.equal(plain_outputs(nn.Identity(), x), x)


def test_batch_size_of():
    assert batch_size_of({"a": torch.zeros(4, 2), "b": [torch.zeros(4), None, "text", 3]}) == 4
    assert batch_size_of(torch.zeros(0, 2)) == 0


@pytest.mark.parametrize(
    ("inputs", "seen"),
    [
        ({"a": torch.zeros(4, 2), "b": torch.zeros(3)}, r"\[3, 4\]"),
        ([torch.zeros(4), torch.tensor(1.0)], r"\[-1, 4\] \(-1: a scalar\)"),
        (torch.tensor(1.0), r"\[-1\]"),
        ({"a": 1, "b": None}, "no tensor"),
    ],
)
def test_refuses_inputs_without_a_common_batch(inputs, seen):
    with pytest.raises(ValueError, match=f"same first dimension, the batch, .*; seen: {seen}"):
        batch_size_of(inputs)
    with pytest.raises(ValueError, match=seen):
        F_al.saal(nn.Linear(2, 2), inputs)
