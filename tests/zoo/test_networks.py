import sys

import pytest
import torch
from torch import nn

from lightning_al.zoo import ResNet18, SmallCNN


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32)])
@pytest.mark.parametrize("classes", [10, 4])
def test_small_cnn_takes_every_input_of_the_zoo(channels, size, classes):
    net = SmallCNN(num_classes=classes, in_channels=channels, width=8)
    assert net(torch.randn(2, channels, size, size)).shape == (2, classes)
    assert net(torch.randn(1, channels, size, size)).isfinite().all()  # a last batch of one, in train()


def test_small_cnn_size():
    assert sum(p.numel() for p in SmallCNN().parameters()) == pytest.approx(94_000, rel=0.01)
    assert sum(p.numel() for p in SmallCNN(width=16).parameters()) < 30_000


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_resnet18_keeps_the_resolution_in_its_stem(channels, size):
    pytest.importorskip("torchvision")
    net = ResNet18(num_classes=7, in_channels=channels)
    shapes = {}
    for name in ("conv1", "layer1", "layer4"):
        getattr(net, name).register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape)}))
    assert net(torch.randn(2, channels, size, size)).shape == (2, 7)
    assert shapes["conv1"] == (2, 64, size, size)
    assert shapes["layer1"] == (2, 64, size, size)
    assert shapes["layer4"] == (2, 512, 4, 4)
    assert not any(isinstance(module, nn.MaxPool2d) for module in net.modules())


def test_resnet18_is_the_known_one():
    pytest.importorskip("torchvision")
    # torchvision's 11,689,512 with 10 classes for 1,000 and a 3x3 stem for a 7x7 one.
    assert sum(p.numel() for p in ResNet18().parameters()) == 11_689_512 - 990 * 513 - 64 * 3 * (49 - 9)


def test_resnet18_names_the_extra_without_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ImportError, match=r"lightning-al\[vision\]"):
        ResNet18()
