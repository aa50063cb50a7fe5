import pytest
import torch

from lightning_al.zoo import SmallCNN


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32)])
@pytest.mark.parametrize("classes", [10, 4])
def test_small_cnn_takes_every_input_of_the_zoo(channels, size, classes):
    net = SmallCNN(num_classes=classes, in_channels=channels, width=8)
    assert net(torch.randn(2, channels, size, size)).shape == (2, classes)
    assert net(torch.randn(1, channels, size, size)).isfinite().all()  # a last batch of one, in train()


def test_small_cnn_size():
    assert sum(p.numel() for p in SmallCNN().parameters()) == pytest.approx(94_000, rel=0.01)
    assert sum(p.numel() for p in SmallCNN(width=16).parameters()) < 30_000
