import pytest
import torch
from torch import nn

from lightning_al.zoo import DeepLab

models = pytest.importorskip("torchvision.models")


@pytest.fixture(scope="module")
def nets():
    """Of each head one."""
    torch.manual_seed(0)
    return {head: DeepLab(num_classes=4, backbone="resnet50", head=head).eval() for head in ("v2", "v3")}


@pytest.mark.slow
def test_v3_is_torchvisions(nets):
    theirs = models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=4).eval()
    missing = theirs.load_state_dict(nets["v3"].state_dict())
    assert not missing.missing_keys
    x = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        assert torch.equal(nets["v3"](x), theirs(x)["out"])


def test_v2_is_a_sum_at_an_eighth(nets):
    net = nets["v2"]
    x = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        features = net.backbone(x)
        assert features.shape == (1, 2048, 6, 8)
        parts = [
            nn.functional.conv2d(features, layer.weight, layer.bias, padding=rate, dilation=rate)
            for layer, rate in zip(net.classifier.convolutions, (6, 12, 18, 24), strict=True)
        ]
        expected = nn.functional.interpolate(sum(parts), (48, 64), mode="bilinear")
        assert torch.allclose(net(x), expected, atol=1e-6)
    assert float(net.classifier.convolutions[0].weight.detach().std()) == pytest.approx(0.01, rel=0.1)


def test_working_size(nets):
    net = nets["v2"]
    x = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        small = nn.functional.interpolate(x, (24, 32), mode="bilinear")
        expected = nn.functional.interpolate(net.classifier(net.backbone(small)), (48, 64), mode="bilinear")
        net.working_size = (24, 32)
        assert torch.equal(net(x), expected)
        net.working_size = None


def test_frozen_batch_norm_and_weights_of_a_file(tmp_path):
    torch.manual_seed(1)
    resnet = models.resnet50(weights=None)
    torch.save(resnet.state_dict(), tmp_path / "resnet50.pth")
    net = DeepLab(4, "resnet50", "v2", str(tmp_path / "resnet50.pth"), frozen_batch_norm=True)
    assert torch.equal(net.backbone.layer4[2].conv3.weight, resnet.layer4[2].conv3.weight)
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not [name for name, _ in net.named_parameters() if ".bn" in name]


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"`backbone` must be one of .*\n.*`head` must be one of"):
        DeepLab(4, backbone="vgg", head="v4")
    with pytest.raises(ValueError, match=r"`working_size \(width\)` must be at least 1, got 0"):
        DeepLab(4, working_size=(32, 0))
    with pytest.raises(TypeError, match=r"`working_size` must be the height and the width, .*got 32"):
        DeepLab(4, working_size=32)
    with pytest.raises(ValueError, match="there is no such file"):
        DeepLab(4, backbone="resnet50", head="v2", weights="nothing.pth")
