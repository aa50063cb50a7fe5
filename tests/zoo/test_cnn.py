import pytest
import torch

from lightning_al.zoo import PlainCNN, SmallCNN


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32)])
@pytest.mark.parametrize("classes", [10, 4])
def test_small_cnn_takes_every_input_of_the_zoo(channels, size, classes):
    net = SmallCNN(num_classes=classes, in_channels=channels, width=8)
    assert net(torch.randn(2, channels, size, size)).shape == (2, classes)
    assert net(torch.randn(1, channels, size, size)).isfinite().all()  # a last batch of one, in train()


def test_small_cnn_size():
    assert sum(p.numel() for p in SmallCNN().parameters()) == pytest.approx(94_000, rel=0.01)
    assert sum(p.numel() for p in SmallCNN(width=16).parameters()) < 30_000


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 5)])
def test_plain_cnn_is_two_convolutions_and_two_linear_layers(channels, size):
    net = PlainCNN(num_classes=4, in_channels=channels, size=size, width=3)
    x = torch.randn(2, channels, size, size)
    first, second, hidden, last = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert (first.weight.shape, second.weight.shape) == ((3, channels, 3, 3), (6, 3, 3, 3))
    assert (hidden.out_features, last.out_features) == (12, 4)
    maps = torch.nn.functional.max_pool2d(first(x).relu(), 2)
    maps = torch.nn.functional.max_pool2d(second(maps).relu(), 2)
    torch.testing.assert_close(net(x), last(hidden(maps.flatten(1)).relu()))
    torch.testing.assert_close(net(x)[:1], net(x[:1]))  # in train() too: no BatchNorm


def test_plain_cnn_size():
    assert sum(p.numel() for p in PlainCNN().parameters()) == 105_866
    for size, error in ((3, ValueError), (28.0, TypeError)):
        with pytest.raises(error, match="`size` must be"):
            PlainCNN(size=size)
