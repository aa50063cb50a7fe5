"""The labelled part of a dataset."""

import torch
from torch.utils.data import TensorDataset

from lightning_al import ClassificationTask
from lightning_al.data.views import LabelledView
from tests.helpers.projects import make_data


def test_batched_reads_go_through():
    class Batched(TensorDataset):
        def __getitems__(self, indices):
            reads.append(indices)
            return [self[i] for i in indices]

    reads = []
    view = LabelledView(
        Batched(*make_data()), torch.tensor([5, 9, 2]), {i: i % 3 for i in (5, 9, 2)}, ClassificationTask()
    )
    samples = view.__getitems__([2, 0])
    assert reads == [[2, 5]]
    assert [int(y) for _, y in samples] == [2, 2]
    assert len(view) == 3
    assert int(view[1][1]) == 0
