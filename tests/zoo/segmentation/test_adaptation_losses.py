import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.zoo.segmentation.adaptation_losses import local_consistency_loss, negative_learning_loss
from tests.helpers.extent import examples


def consistency_written_out(logits, targets):
    """Pixel by pixel: the window inside the image's border for the predictions, 0 around the image for the numbers."""
    batch, classes, height, width = logits.shape
    p = logits.softmax(1)
    values = []
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                window = [(i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)]
                inside = [(y, x) for y, x in window if 0 <= y < height and 0 <= x < width]
                laplacian = 9 * int(targets[b, i, j]) - sum(int(targets[b, y, x]) for y, x in inside)
                if laplacian == 0 or targets[b, i, j] == 255:
                    continue
                clipped = [(min(max(y, 0), height - 1), min(max(x, 0), width - 1)) for y, x in window]
                value = sum(abs(p[b, c, i, j] - sum(p[b, c, y, x] for y, x in clipped) / 9) for c in range(classes))
                values.append(value)
    return sum(values) / len(values) if values else torch.zeros((), dtype=logits.dtype)


def negative_written_out(logits, below):
    values = [-math.log(1 - p + 1e-6) for p in logits.softmax(1).flatten().tolist() if p < below]
    return sum(values) / len(values) if values else 0.0


@examples(25)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([2, 40]))
def test_local_consistency(height, width, seed, classes):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, height, width, generator=generator, dtype=torch.double)
    targets = torch.randint(min(classes, 4), (2, height, width), generator=generator)
    targets[torch.rand(2, height, width, generator=generator) < 0.2] = 255
    loss = local_consistency_loss(logits, targets)
    assert float(loss) == pytest.approx(float(consistency_written_out(logits, targets)), abs=1e-12)


def test_its_gradient():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 3, 4, dtype=torch.double, requires_grad=True)
    targets = torch.tensor([[[0, 0, 1, 1], [0, 255, 1, 1], [2, 2, 1, 1]]])
    grads = [
        torch.autograd.grad(f(logits, targets), logits)[0] for f in (local_consistency_loss, consistency_written_out)
    ]
    assert torch.allclose(*grads, atol=1e-12, rtol=0)


def test_boundaries():
    """By hand: class 0 alone has none; of class 1 alone the image's border; a void pixel is none, and makes some."""
    logits = torch.zeros(1, 2, 4, 4, dtype=torch.double)
    logits[0, 0, 1, 1] = 5.0
    none = torch.zeros(1, 4, 4, dtype=torch.long)
    assert float(local_consistency_loss(logits, none)) == 0
    assert float(local_consistency_loss(logits, none + 1)) > 0
    one_void = none.clone()
    one_void[0, 1, 1] = 255
    expected = float(consistency_written_out(logits, one_void))
    assert float(local_consistency_loss(logits, one_void)) == pytest.approx(expected, abs=1e-12)
    assert expected > 0


@pytest.mark.parametrize("below", [0.05, 0.3, 1.0])
def test_negative_learning(below):
    torch.manual_seed(0)
    logits = 3 * torch.randn(2, 5, 3, 4, dtype=torch.double)
    assert float(negative_learning_loss(logits, below)) == pytest.approx(negative_written_out(logits, below), abs=1e-12)


def test_nothing_unlikely():
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    loss = negative_learning_loss(logits, 0.05)
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()
    assert negative_learning_loss(torch.zeros(0, 3, 2, 2)) == 0


def test_certain_predictions_are_no_nan():
    logits = torch.tensor([200.0, 0.0, -200.0]).view(1, 3, 1, 1).requires_grad_()
    negative_learning_loss(logits, 1.0).backward()
    assert logits.grad.isfinite().all()
