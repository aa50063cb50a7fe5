import pytest
import torch
from torch import nn

from lightning_al.fitting.reset import redraw_parameters
from lightning_al.zoo import ResNet18, ResNet50
from tests.helpers.marks import slow


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_resnet18_keeps_the_resolution_in_its_stem(channels, size):
    net = ResNet18(num_classes=7, in_channels=channels)
    shapes = {}
    for name in ("conv1", "layer1", "layer4"):
        getattr(net, name).register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape)}))
    assert net(torch.randn(2, channels, size, size)).shape == (2, 7)
    assert shapes["conv1"] == (2, 64, size, size)
    assert shapes["layer1"] == (2, 64, size, size)
    assert shapes["layer4"] == (2, 512, 4, 4)
    assert not any(isinstance(module, nn.MaxPool2d) for module in net.modules())


def torchvision_resnet18():
    """torchvision's own, with the stem of ours."""
    net = pytest.importorskip("torchvision").models.resnet18(weights=None, num_classes=10)
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net


def test_resnet18_is_torchvisions():
    ours, theirs = ResNet18().eval(), torchvision_resnet18().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    for b in theirs.buffers():
        if b.is_floating_point():
            nn.init.uniform_(b, 0.5, 2.0)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(x), theirs(x))
    assert sum(p.numel() for p in ours.parameters()) == 11_689_512 - 990 * 513 - 64 * 3 * (49 - 9)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_resnet18_begins_as_torchs_layers_do_and_is_drawn_anew_from_the_same(dimensions):
    """Uniform within 1 / sqrt(fan-in), whoever draws: seen by the largest value and the deviation."""
    torch.manual_seed(0)
    net = ResNet18(width=16, dimensions=dimensions)
    made = {name: w.detach().clone() for name, w in net.named_parameters()}
    redraw_parameters(net)
    for name, again in net.named_parameters():
        if again.ndim == 1 and name != "fc.bias":  # BatchNorm
            assert torch.equal(again, made[name])
            continue
        bound = (net.fc.in_features if name == "fc.bias" else again[0].numel()) ** -0.5
        for drawn in (made[name], again):
            assert drawn.abs().max() < 1.0001 * bound
            assert name == "fc.bias" or float(drawn.std()) == pytest.approx(bound / 3**0.5, rel=0.1)
        assert not torch.equal(made[name], again)


@pytest.mark.parametrize("width", [4, 16])
def test_resnet18_of_other_widths(width):
    net = ResNet18(width=width)
    assert list(net.state_dict()) == list(ResNet18(width=8).state_dict())
    assert net.fc.in_features == 8 * width
    assert net(torch.randn(2, 3, 16, 16)).shape == (2, 10)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_resnet18_of_other_dimensions(dimensions):
    net = ResNet18(num_classes=5, in_channels=2, width=4, dimensions=dimensions)
    assert list(net.state_dict()) == list(ResNet18(width=8).state_dict())
    assert net.layer3[0].conv1.kernel_size == (3,) * dimensions
    assert net(torch.randn(2, 2, *[9] * dimensions)).shape == (2, 5)


def test_resnet18_refuses_other_dimensions():
    with pytest.raises(ValueError, match="`dimensions` must be at least 1 and at most 3, got 4"):
        ResNet18(dimensions=4)


def test_resnet18_refuses_another_stem():
    with pytest.raises(ValueError, match="2 things"):
        ResNet18(dimensions=4, stem="5x5")


@pytest.mark.parametrize(("ours", "name"), [(ResNet18, "resnet18"), slow(ResNet50, "resnet50")])
def test_the_original_stem_is_torchvisions(ours, name):
    theirs = pytest.importorskip("torchvision").models.get_model(name, num_classes=101, width_per_group=64)
    with torch.device("meta"):
        net = ours(num_classes=101, stem="7x7")
    net.load_state_dict(theirs.state_dict(), assign=True)
    assert list(net.state_dict()) == list(theirs.state_dict())
    x = torch.randn(1, 3, 40, 60)
    assert torch.equal(net.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_resnet50_begins_as_torchs_layers_do(dimensions):
    torch.manual_seed(0)
    net = ResNet50(num_classes=5, in_channels=2, width=4, dimensions=dimensions)
    assert net(torch.randn(2, 2, *[9] * dimensions)).shape == (2, 5)
    for layer in net.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            bound = layer.weight[0].numel() ** -0.5
            assert 0.8 * bound < float(layer.weight.detach().abs().max()) < 1.0001 * bound


def test_the_original_stem_in_other_dimensions():
    assert ResNet18(width=2, dimensions=3, stem="7x7").maxpool(torch.zeros(1, 2, 8, 8, 8)).shape == (1, 2, 4, 4, 4)
