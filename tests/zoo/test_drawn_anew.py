"""`reset="fresh"` draws the networks of the zoo from the distribution that they are made with."""

import pytest
import torch

from lightning_al.fitting.reset import not_redrawn, redraw_parameters
from lightning_al.zoo import DRN22, SmallCNN, SmallUNet, TextClassifier, ViT
from lightning_al.zoo.segmentation.deeplab import SummedHead

NETWORKS = {
    "SmallCNN": lambda: SmallCNN(width=8),
    "SmallUNet": lambda: SmallUNet(3, width=16),
    "DRN22": lambda: DRN22(3, width=4),
    "SummedHead": lambda: SummedHead(64, 4),
    "ViT": lambda: ViT(dim=32, depth=1, heads=2),
    "TextClassifier": lambda: TextClassifier(3, 500, 40, dim=32, depth=1, heads=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_is_drawn_as_it_was_made(name):
    net = NETWORKS[name]()
    assert not not_redrawn(net)
    made = {name: w.detach().clone() for name, w in net.named_parameters()}
    redraw_parameters(net)
    for name, again in net.named_parameters():
        if made[name].std(correction=0) == 0:
            torch.testing.assert_close(again, made[name], rtol=0, atol=0)
        elif made[name].numel() >= 256:
            assert not torch.equal(again, made[name])
            assert float(again.std()) == pytest.approx(float(made[name].std()), rel=0.2), name
