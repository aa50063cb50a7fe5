import pytest
import torch
from torch import nn

from lightning_al.fitting.reset import redraw_parameters
from lightning_al.zoo import VGG16


@pytest.mark.parametrize("batch_norm", [False, True])
def test_it_is_torchvisions(batch_norm):
    models = pytest.importorskip("torchvision").models
    with torch.device("meta"):
        ours, theirs = VGG16(batch_norm=batch_norm), models.get_model("vgg16_bn" if batch_norm else "vgg16")
    shapes = [{name: tuple(w.shape) for name, w in net.state_dict().items()} for net in (ours, theirs)]
    assert list(shapes[0].items()) == list(shapes[1].items())
    assert [type(m) for m in ours.features] == [type(m) for m in theirs.features]
    assert [type(m) for m in ours.classifier] == [type(m) for m in theirs.classifier]
    assert ours.avgpool.output_size in (7, theirs.avgpool.output_size)


@pytest.mark.parametrize("initial", ["torch", "kaiming"])
def test_it_begins_as_it_says_and_is_drawn_anew_from_the_same(initial):
    net = VGG16(width=8, hidden=32, initial=initial)
    made = {name: w.detach().clone() for name, w in net.named_parameters()}
    redraw_parameters(net)
    for drawn in (made, dict(net.named_parameters())):
        for name, layer in net.named_modules():
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            weight, bias = drawn[f"{name}.weight"].detach(), drawn[f"{name}.bias"].detach()
            if initial == "torch":
                bound = weight[0].numel() ** -0.5
                assert 0.9 * bound < weight.abs().max() < 1.0001 * bound
                assert 0 < bias.abs().max() < 1.0001 * bound
            else:
                kaiming = (2 / (weight.shape[0] * 9)) ** 0.5
                assert float(weight.std()) == pytest.approx(kaiming if weight.ndim == 4 else 0.01, rel=0.2)
                assert not bias.any()
    assert not torch.equal(made["features.0.weight"], net.features[0].weight)


def test_refused():
    with pytest.raises(ValueError, match="`initial` must be one of 'torch', 'kaiming', got 'xavier'"):
        VGG16(width=1, hidden=1, initial="xavier")
