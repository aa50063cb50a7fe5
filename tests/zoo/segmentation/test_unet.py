import pytest
import torch
from torch import nn

from lightning_al.zoo import SmallUNet


def test_number_of_weights_and_no_batch_norm():
    net = SmallUNet(num_classes=11)
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 2) == 0.43
    assert not [m for m in net.modules() if "BatchNorm" in type(m).__name__]


@pytest.mark.parametrize("size", [(24, 32), (17, 23), (8, 8)])
def test_any_size(size):
    net = SmallUNet(num_classes=3, in_channels=1, width=8)
    assert net(torch.randn(2, 1, *size)).shape == (2, 3, *size)


def test_images_do_not_see_each_other():
    net, x = SmallUNet(num_classes=3, width=8).double(), torch.randn(3, 3, 16, 24, dtype=torch.double)
    assert torch.allclose(net(x)[1:2], net(x[1:2]), atol=1e-12)


def test_fine_features_reach_the_logits():
    """A change at one place changes logits there, and each of the two shortcuts carries some of it."""
    net = SmallUNet(num_classes=3, width=8).double()
    x = torch.randn(1, 3, 32, 32, dtype=torch.double)
    whole = net(x)
    for up, channels in ((net.up_to_middle, 16), (net.up_to_fine, 8)):
        convolution: nn.Conv2d = up[0]
        kept = convolution.weight.detach().clone()
        with torch.no_grad():
            convolution.weight[:, -channels:] = 0
        assert not torch.allclose(net(x), whole)
        with torch.no_grad():
            convolution.weight.copy_(kept)


def test_what_is_refused():
    with pytest.raises(TypeError, match=r"`width` must be a multiple of `groups=8`, got 12"):
        SmallUNet(3, width=12)
