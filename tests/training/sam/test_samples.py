"""Some of the samples of a batch."""

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from lightning_al.training.sam.samples import some_of

X = torch.arange(12.0).view(4, 3)
ROWS = torch.tensor([1, 3])
BATCHES = {
    "pair": ([X, torch.arange(4)], lambda some: torch.equal(some[0], X[ROWS]) and some[1].tolist() == [1, 3]),
    "dict": (
        {"x": X, "names": list("abcd"), "nested": {"y": torch.arange(4)}},
        lambda some: some["names"] == ["b", "d"] and some["nested"]["y"].tolist() == [1, 3],
    ),
    "images of all sizes": (
        ([torch.ones(1, n) for n in range(1, 5)], [{"boxes": torch.ones(n, 4)} for n in range(4)]),
        lambda some: [x.shape[1] for x in some[0]] == [2, 4] and [len(t["boxes"]) for t in some[1]] == [1, 3],
    ),
    "tensor": (X, lambda some: torch.equal(some, X[ROWS])),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_some_of_a_batch_is_a_batch(kind):
    batch, is_right = BATCHES[kind]
    some = some_of(batch, 4, ROWS)
    assert type(some) is type(batch)
    assert is_right(some)


def test_a_batch_of_other_samples_is_refused():
    with pytest.raises(MisconfigurationException, match=r"the 4 samples.*esam"):
        some_of([X[:3], torch.arange(4)], 4, ROWS)
