"""What an acquisition's ``select`` returns is read as positions, or refused by the name of its class."""

import numpy as np
import pytest
import torch

from lightning_al import score
from lightning_al.acquisition import Entropy
from lightning_al.scoring.pick import check_positions
from lightning_al.zoo import Classifier


@pytest.mark.parametrize(
    "positions",
    [
        [3, 0, 1],
        (3, 0, 1),
        [torch.tensor(3), torch.tensor(0), torch.tensor(1)],
        torch.tensor([[3], [0], [1]], dtype=torch.int32),
        np.array([3, 0, 1], dtype=np.uint64),
    ],
)
def test_positions_of_any_kind(positions):
    chosen = check_positions(positions, 3, 4, Entropy())
    assert chosen.dtype == torch.long
    assert chosen.tolist() == [3, 0, 1]


def test_one_position_and_none():
    assert check_positions(torch.tensor([0.2, 0.9]).argmax(), 1, 2, Entropy()).tolist() == [1]
    assert check_positions([], 0, 2, Entropy()).tolist() == []


@pytest.mark.parametrize(
    ("positions", "seen"),
    [
        (None, "None"),
        ({0, 1, 2}, r"\{0, 1, 2\}"),
        (iter([0, 1, 2]), "<list_iterator"),
        ("012", "'012'"),
        (["a", "b", "c"], r"\['a', 'b', 'c'\]"),
        ([0, [1], 2], r"\[0, \[1\], 2\]"),
        ({"index": [0, 1, 2]}, r"\{'index'"),
        ([2**70, 1, 2], r"\[1180591620717411303424, 1, 2\]"),
        ([0.0, 1.0, 2.0], "torch.float32"),
        (torch.tensor([0j, 1, 2]), "torch.complex64"),
        ([True, False, True], "torch.bool"),
    ],
)
def test_what_is_no_integers_is_refused(positions, seen):
    with pytest.raises(TypeError, match=rf"`Entropy\.select` must return integer positions,.* got {seen}"):
        check_positions(positions, 3, 4, Entropy())


@pytest.mark.parametrize("positions", [torch.tensor(3), 3, [0, 1, 4], [-1, 0, 1], [0, 0, 1], []])
def test_integers_that_are_no_picks_are_refused(positions):
    with pytest.raises(ValueError, match=r"`Entropy\.select` must return 3 distinct positions between 0 and 3, got \["):
        check_positions(positions, 3, 4, Entropy())


def test_a_forgotten_return_is_named():
    class Forgot(Entropy):
        def select(self, rows, k, *, labelled_rows, generator):
            super().select(rows, k, labelled_rows=labelled_rows, generator=generator)

    model = Classifier(torch.nn.Linear(4, 3), num_classes=3)
    with pytest.raises(TypeError, match=r"`Forgot\.select` must return integer positions,.* got None"):
        score(model, torch.utils.data.TensorDataset(torch.randn(6, 4)), Forgot(), 2)
