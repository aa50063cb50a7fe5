import pytest
import torch
from torch import nn

from lightning_al.zoo import Encoder, ImageBackbone, PlainCNN, ResNet18
from tests.helpers.marks import slow


def net():
    torch.manual_seed(0)
    return PlainCNN(num_classes=3, in_channels=2, size=8, width=2)


def test_features_are_what_the_last_layer_gets_of_normalised_and_scaled_images():
    whole, encoder = net(), Encoder(net(), mean=[0.5, 0.25], std=[0.1, 0.2], size=8)
    images = torch.rand(3, 2, 12, 12)
    normalised = torch.stack([(images[:, 0] - 0.5) / 0.1, (images[:, 1] - 0.25) / 0.2], 1)
    scaled = nn.functional.interpolate(normalised, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(encoder(images), whole.hidden(whole.features(scaled)))
    assert encoder.num_features == 8
    plain = Encoder(net())(images[..., :8, :8])
    torch.testing.assert_close(plain, whole.hidden(whole.features(images[..., :8, :8])))


@slow
def test_networks_of_the_zoo_and_of_torchvision():
    pytest.importorskip("torchvision")
    images = torch.zeros(2, 3, 32, 32)
    for made, size in (
        (ResNet18(width=2), 16),
        (ImageBackbone(num_classes=2, name="resnet18"), 512),
    ):
        assert Encoder(made).eval()(images).shape == (2, size)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"mean": [0.5], "std": [0.1, 0.2]}, ValueError, "one number per channel each"),
        ({"std": [0.0]}, ValueError, "`std` must be above 0"),
        ({"size": 0, "mean": ["a"]}, TypeError, "2 things"),
    ],
)
def test_refused(options, error, match):
    with pytest.raises(error, match=match):
        Encoder(net(), **options)


def test_a_network_without_a_linear_layer_is_refused():
    for other in (nn.Sequential(nn.Conv2d(1, 2, 1)), nn.Linear(2, 2)):
        with pytest.raises(ValueError, match="`net` must end with a linear layer"):
            Encoder(other)
