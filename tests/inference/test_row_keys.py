"""Keys of samples: the same for the same input in any batch, others for all else."""

import pytest
import torch

from lightning_al.inference.row_keys import row_keys


def alike(one, other):
    return bool((row_keys(*one) == row_keys(*other)).all())


def test_a_sample_has_one_key_in_any_batch():
    x = torch.randn(6, 3, 2)
    keys = row_keys([x, torch.arange(6)], "model")
    assert len({tuple(key) for key in keys.tolist()}) == 6
    order = torch.tensor([4, 0, 3])
    assert torch.equal(row_keys([x[order], order], "model"), keys[order])
    view = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(row_keys([view, torch.arange(6)], "model"), keys)


X = torch.tensor([[1.0, -0.0]])
OTHERS = {
    "a value": ([torch.tensor([[1.0, 2.0]])], ""),
    "a sign": ([torch.tensor([[1.0, 0.0]])], ""),
    "a type": ([X.double()], ""),
    "bits of another type": ([X.view(torch.int32)], ""),
    "a shape": ([X.view(1, 2, 1)], ""),
    "another tensor": ([X, X], ""),
    "a plain value": ([X, 3], ""),
    "a context": ([X], "autocast"),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_whatever_differs_makes_another_key(other):
    assert alike(([X], ""), ([X.clone()], ""))
    assert not alike(([X], ""), other)


def test_plain_values_are_told_apart():
    assert not alike(([X, 1], ""), ([X, True], ""))
    assert not alike(([X, "1"], ""), ([X, 1], ""))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.complex64, torch.uint8])
def test_numbers_of_any_type(dtype):
    x = torch.tensor([[0, 1], [1, 1], [0, 1]]).to(dtype)
    one, two, three = row_keys([x], "").tolist()
    assert one == three != two


WITHOUT = {
    "no tensor": ["a"],
    "tensors of several lengths": [torch.zeros(2), torch.zeros(3)],
    "a scalar": [torch.zeros(2), torch.tensor(1.0)],
    "no sample": [torch.zeros(0, 2)],
    "an object": [torch.zeros(2), object()],
    "a sparse tensor": [torch.eye(2).to_sparse()],
}


@pytest.mark.parametrize("leaves", WITHOUT.values(), ids=WITHOUT)
def test_what_cannot_be_told_apart_has_no_keys(leaves):
    assert row_keys(leaves, "") is None
