"""Outputs of layers of any kind as one number for each channel."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lightning_al.inference.layers import outputs_and_features_of


class Through(nn.Module):
    """Runs a layer, and shows one row of something else for each sample."""

    def __init__(self, layer, given=lambda x: x):
        super().__init__()
        self.layer, self.given = layer, given

    def forward(self, x):
        self.made = self.layer(self.given(x))
        return x.flatten(1)[:, :2]


class Last(nn.Module):
    """As ConvNeXt and Swin have their maps: channels last."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 5, 1), nn.LayerNorm(5)

    def forward(self, x):
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


class In(nn.Module):
    """What a layer gives inside of a tuple or a dict."""

    def __init__(self, wrap):
        super().__init__()
        self.conv, self.wrap = nn.Conv1d(2, 5, 1), wrap

    def forward(self, x):
        return self.wrap(self.conv(x))


def case(layer, *shape, mean, given=lambda x: x):
    return SimpleNamespace(layer=layer, shape=shape, mean=mean, given=given)


CASES = {
    "signals": case(nn.Conv1d(2, 5, 1), 3, 2, 7, mean=lambda y: y.mean(2)),
    "images": case(nn.Conv2d(2, 5, 1), 3, 2, 4, 6, mean=lambda y: y.mean((2, 3))),
    "volumes": case(nn.Conv3d(2, 5, 1), 3, 2, 4, 3, 2, mean=lambda y: y.mean((2, 3, 4))),
    "as many rows as channels": case(nn.Conv2d(2, 5, 1), 3, 2, 4, 5, mean=lambda y: y.mean((2, 3))),
    "tokens": case(nn.Linear(4, 5), 3, 7, 4, mean=lambda y: y.mean(1)),
    "as many tokens as channels": case(nn.Linear(4, 5), 3, 5, 4, mean=lambda y: y.mean(1)),
    "channels last": case(Last(), 3, 2, 4, 6, mean=lambda y: y.mean((1, 2))),
    "vectors": case(nn.Linear(4, 5), 3, 4, mean=lambda y: y),
    "pooled to one": case(
        nn.Sequential(nn.Conv2d(2, 5, 1), nn.AdaptiveAvgPool2d(1)), 3, 2, 4, 4, mean=lambda y: y[..., 0, 0]
    ),
    "tuple": case(In(lambda y: (y, y.sum())), 3, 2, 7, mean=lambda y: y[0].mean(2)),
    "dict": case(In(lambda y: {"last": y}), 3, 2, 7, mean=lambda y: y["last"].mean(2)),
    "recurrent": case(nn.LSTM(4, 5, batch_first=True), 3, 7, 4, mean=lambda y: y[0].mean(1)),
    "time first": case(nn.GRU(4, 5), 3, 7, 4, mean=lambda y: y[0].mean(0), given=lambda x: x.transpose(0, 1)),
    "time first, as long as the batch": case(
        nn.GRU(4, 5), 3, 3, 4, mean=lambda y: y[0].mean(0), given=lambda x: x.transpose(0, 1)
    ),
    "encoder, time first": case(
        nn.TransformerEncoderLayer(4, 2, 8), 3, 3, 4, mean=lambda y: y.mean(0), given=lambda x: x.transpose(0, 1)
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_layer_gives_the_mean_of_each_channel(name):
    one = CASES[name]
    net = Through(one.layer, one.given).eval()
    x = torch.randn(one.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, got = outputs_and_features_of(net, lambda: net(x), "layer")
    assert got.shape[0] == 3
    torch.testing.assert_close(got, one.mean(net.made))


def test_the_last_linear_layer_gets_one_row_a_sample():
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    x = torch.randn(3, 7, 4)
    with torch.no_grad():
        _, got = outputs_and_features_of(net, lambda: net(x).mean(1), None)
    torch.testing.assert_close(got, net[0](x).mean(1).detach())


def test_layers_with_other_rows_than_samples_are_refused():
    class Single(nn.Module):
        def forward(self, x):
            return x.sum()

    net = Through(nn.Identity(), lambda x: x.transpose(0, 1))
    for layer, shape in ((nn.Identity(), r"\(7, 3, 4\)"), (Single(), r"\(\)")):
        net.layer = layer
        with pytest.raises(ValueError, match=rf"one row for each of the 3 samples, got shape {shape} from 'layer'"):
            outputs_and_features_of(net, lambda: net(torch.zeros(3, 7, 4)), "layer")
