import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from lightning_al.zoo import MeanIoU


def written_out(predicted, targets, over):
    """Class by class, pixel by pixel."""
    values = []
    pixels = [(p, t) for p, t in zip(predicted.flatten().tolist(), targets.flatten().tolist(), strict=True) if t != 255]
    for c in over:
        both = sum(p == c and t == c for p, t in pixels)
        either = sum(p == c or t == c for p, t in pixels)
        if either:
            values.append(both / either)
    return sum(values) / len(values) if values else 0.0


@pytest.mark.parametrize("over", [None, [0, 3], [4, 2, 1]])
def test_over_batches(over):
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randint(4, (5, 6, 7), generator=generator)  # class 4 is never predicted
    targets = torch.randint(3, (5, 6, 7), generator=generator)
    targets[torch.rand(5, 6, 7, generator=generator) < 0.3] = 255
    metric = MeanIoU(6, over=over)  # class 5 does not occur at all
    for batch in ([0, 1], [2], [3, 4]):
        metric.update(predicted[batch], targets[batch])
    expected = written_out(predicted, targets, range(6) if over is None else over)
    assert float(metric.compute()) == pytest.approx(expected, abs=1e-7)
    if over is None:
        theirs = MulticlassJaccardIndex(6, ignore_index=255)
        assert float(metric.compute()) == pytest.approx(float(theirs(predicted, targets)), abs=1e-6)
    metric.reset()
    assert float(metric.compute()) == 0.0


def test_all_pixels_void():
    metric = MeanIoU(3)
    metric.update(torch.zeros(1, 2, 2, dtype=torch.long), torch.full((1, 2, 2), 255))
    assert float(metric.compute()) == 0.0
