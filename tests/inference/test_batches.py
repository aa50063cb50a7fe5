import threading
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from lightning_al.inference.batches import copy_of


@dataclass
class Cells:
    x: Any
    extra: Any = None


class Slotted:
    __slots__ = ("x",)


class Pair(NamedTuple):
    x: Any
    y: Any


def test_nothing_that_can_be_written_to_is_shared():
    slotted = Slotted()
    slotted.x = torch.ones(2)
    batch = {
        "x": torch.ones(2),
        "list": [torch.ones(2), [1, {"deep": torch.ones(2)}]],
        "pair": Pair(torch.ones(2), {"a"}),
        "cells": Cells(torch.ones(2), np.ones(2)),
        "slotted": slotted,
        "queue": deque([torch.ones(2)]),
        "packed": pack_sequence([torch.ones(2, 3), torch.ones(1, 3)]),
        "array": np.ones(2),
        "name": "a",
    }
    copied = copy_of(batch)
    batch["x"].zero_()
    batch["list"][0].zero_(), batch["list"][1][1]["deep"].zero_(), batch["list"][1].append(2)
    batch["pair"].x.zero_(), batch["pair"].y.add("b")
    batch["cells"].x.zero_(), batch["cells"].extra.fill(0)
    slotted.x.zero_(), batch["queue"].popleft(), batch["packed"].data.zero_(), batch["array"].fill(0)
    assert list(copied) == list(batch)
    assert copied["x"].tolist() == copied["list"][0].tolist() == copied["list"][1][1]["deep"].tolist() == [1, 1]
    assert len(copied["list"][1]) == 2
    assert copied["pair"].x.tolist() == [1, 1]
    assert copied["pair"].y == {"a"}
    assert type(copied["pair"]) is Pair
    assert copied["cells"].x.tolist() == copied["cells"].extra.tolist() == copied["array"].tolist() == [1, 1]
    assert copied["slotted"].x.tolist() == copied["queue"][0].tolist() == [1, 1]
    assert bool((copied["packed"].data == 1).all())
    assert copied["packed"].batch_sizes.tolist() == [2, 1]


def test_what_is_one_object_stays_one():
    x = torch.zeros(3)
    batch = [x, {"again": x}, x[1:]]
    batch.append(batch)
    copied = copy_of(batch)
    copied[0].add_(1)
    assert copied[0] is copied[1]["again"]
    assert copied[3] is copied
    assert copied[2].tolist() == [1, 1]
    assert x.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.rand(3, 4, 5, 5).to(memory_format=torch.channels_last),
        lambda: torch.rand(6, 8)[1:5, 2:7],
        lambda: torch.rand(4, 3).T,
        lambda: torch.rand(3, 1).expand(3, 5),
        lambda: torch.rand(0, 3),
        lambda: torch.tensor(2.0),
        lambda: torch.rand(6, dtype=torch.complex64).conj(),
        lambda: torch.arange(6, dtype=torch.uint8)[3:],
    ],
)
def test_a_tensor_keeps_values_and_layout(make):
    tensor = make()
    kept, stride = tensor.clone(), tensor.stride()
    [copied] = copy_of([tensor])
    assert torch.equal(copied, kept)
    assert copied.stride() == stride
    assert copied.dtype == tensor.dtype
    if tensor.is_complex() or tensor.numel() == 0:
        return
    assert copied.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr()


def test_only_the_bytes_of_the_batch_are_copied():
    table = torch.rand(1000, 8)
    batch = {"x": table[100:110, :7], "y": table[100:110, 7], "half": table[100:110].view(torch.int16)[:, 0]}
    copied = copy_of(batch)
    assert all(torch.equal(copied[name], batch[name]) for name in batch)
    assert copied["x"].untyped_storage().nbytes() <= 10 * 8 * 4 + 16
    copied["y"].fill_(0)
    assert float(table[100:110, 7].min()) > 0


def test_gradients_reach_what_they_reached():
    leaf, weight = torch.ones(2, requires_grad=True), nn.Parameter(torch.ones(2))
    copied = copy_of([leaf, weight, weight * 3])
    assert copied[0].is_leaf
    assert copied[0].requires_grad
    assert copied[0] is not leaf
    assert copied[1] is weight
    copied[2].sum().backward()
    assert weight.grad.tolist() == [3, 3]
    assert leaf.grad is None


def test_models_and_data_sets_are_no_part_of_a_batch():
    layer = nn.Linear(2, 2)
    data = torch.utils.data.TensorDataset(torch.ones(2))
    copied = copy_of(Cells(layer, [data]))
    assert copied.x is layer
    assert copied.extra[0] is data


def test_what_cannot_be_copied_stays_and_the_rest_is_copied():
    numbers = (i for i in range(3))
    batch = [numbers, Cells(torch.ones(2), threading.Lock()), (Pair(torch.ones(2), numbers),), {"x": torch.ones(2)}]
    batch[1].parent = weakref.ref(batch[1])
    copied = copy_of(batch)
    batch[1].x.zero_(), batch[2][0].x.zero_(), batch[3].clear(), batch.append(1)
    assert len(copied) == 4
    assert copied[0] is numbers
    assert copied[1].extra is batch[1].extra
    assert copied[1].x.tolist() == copied[2][0].x.tolist() == copied[3]["x"].tolist() == [1, 1]


def test_sparse_tensors_and_subclasses():
    class Marked(torch.Tensor):
        pass

    sparse, marked = torch.eye(2).to_sparse(), torch.ones(2).as_subclass(Marked)
    copied = copy_of([sparse, marked])
    sparse.mul_(0), marked.zero_()
    assert copied[0].to_dense().tolist() == [[1, 0], [0, 1]]
    assert type(copied[1]) is Marked
    assert copied[1].tolist() == [1, 1]
