import pytest
import torch

from lightning_al.zoo import ImageBackbone

pytest.importorskip("torchvision")
NAME = "squeezenet1_1"  # small; its last layer is a convolution
RESNET = "resnet18"


def test_weights_of_a_file_but_for_a_last_layer_of_other_classes(tmp_path):
    source = ImageBackbone(5, RESNET)
    torch.save(source.net.state_dict(), tmp_path / "w.pth")
    same, other = (ImageBackbone(count, RESNET, str(tmp_path / "w.pth")).net.state_dict() for count in (5, 3))
    for name, value in source.net.state_dict().items():
        assert torch.equal(same[name], value)
        assert torch.equal(other[name], value) != name.startswith("fc.")
    assert other["fc.weight"].shape == (3, 512)


def test_another_network(tmp_path):
    net = ImageBackbone(3, NAME).eval()
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    torch.save(net.net.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth'` are of another network: 'conv1\.weight' is missing"):
        ImageBackbone(3, RESNET, str(tmp_path / "w.pth"))


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"no network 'resnet19'; near it are .*resnet18"):
        ImageBackbone(3, "resnet19")
    with pytest.raises(ValueError, match=r"no weights or file 'IMAGENET'; near it are IMAGENET1K_V1"):
        ImageBackbone(3, RESNET, "IMAGENET")
    with pytest.raises(ValueError, match="there is no such file"):
        ImageBackbone(3, RESNET, "nowhere/w.pth")
    with pytest.raises(ValueError, match="`library` must be"):
        ImageBackbone(3, RESNET, library="keras")


def test_timm(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="needs timm"):
        ImageBackbone(3, RESNET, library="timm")
    monkeypatch.undo()
    pytest.importorskip("timm", reason="timm is not installed")
    assert ImageBackbone(3, RESNET, library="timm").eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
