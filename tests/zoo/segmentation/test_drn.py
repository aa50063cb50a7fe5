import pytest
import torch
from torch import nn

from lightning_al.zoo import DRN22


def count(net):
    return sum(p.numel() for p in net.parameters())


def test_the_published_number_of_weights():
    """16.4 million with ImageNet's classes: written out layer by layer, BatchNorm's two for each channel."""
    channels = [3, 16, 16, 32, 64, 128, 256, 512, 512, 512]
    expected = 7 * 7 * 3 * 16 + 2 * 16  # layer 0
    for number in (1, 2, 7, 8):
        before, after = channels[number], channels[number + 1]
        expected += 9 * before * after + 2 * after
    for number in (3, 4, 5, 6):
        before, after = channels[number], channels[number + 1]
        expected += 9 * before * after + 3 * 9 * after * after + before * after + 5 * 2 * after
    expected += 512 * 1000 + 1000
    assert count(DRN22(num_classes=1000)) == expected
    assert round(expected / 1e6, 1) == 16.4


@pytest.mark.parametrize("size", [(64, 48), (37, 50)])
def test_an_eighth_and_back(size):
    net = DRN22(num_classes=5, width=2).eval()
    x = torch.randn(2, 3, *size)
    assert net.features(x).shape == (2, 64, -(-size[0] // 8), -(-size[1] // 8))
    assert net(x).shape == (2, 5, *size)


def test_dilations_and_strides():
    """Of the 3x3 convolutions, stage by stage."""
    net = DRN22(num_classes=5, width=2)
    found = {}
    for number in range(1, 9):
        layers = [m for m in net.get_submodule(f"layer{number}").modules() if isinstance(m, nn.Conv2d)]
        found[number] = [(m.stride[0], m.dilation[0]) for m in layers if m.kernel_size == (3, 3)]
    plain, strided = (1, 1), (2, 1)
    assert found == {
        **{1: [plain], 2: [strided], 3: [strided, plain, plain, plain], 4: [strided, plain, plain, plain]},
        **{5: [(1, 2)] * 4, 6: [(1, 4)] * 4, 7: [(1, 2)], 8: [plain]},
    }


def test_what_a_pixel_sees():
    """Of the features, the middle one sees as far as dilations say: written out from the last layer to the first."""
    net = DRN22(num_classes=5, width=1).double().eval()
    for module in net.modules():  # no ReLU is shut
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 0.1)
    x = torch.ones(1, 3, 600, 1, dtype=torch.double, requires_grad=True)
    net.features(x)[0, :, 37].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    # In pixels at an eighth, a fourth and a half, then at the image's: 3x3 convolutions add twice their dilation.
    wide = 1
    for dilation in [1, 2] + [4] * 4 + [2] * 4 + [1] * 3:
        wide += 2 * dilation
    wide = 2 * (wide - 1) + 3  # the strided one of layer 4
    wide += 2 * 3
    wide = 2 * (wide - 1) + 3  # layer 3
    wide = 2 * (wide - 1) + 3  # layer 2
    wide += 2 + 6  # layer 1, and the 7x7
    assert int(rows[-1] - rows[0]) + 1 == wide < 600


def test_weights_of_the_authors_files(tmp_path):
    """Their names, an `fc` beside them, and no count of batches."""
    net = DRN22(num_classes=5, width=2)
    state = {name: torch.randn_like(w.float()) for name, w in net.state_dict().items() if "tracked" not in name}
    theirs = {name: w for name, w in state.items() if "classify" not in name} | {"fc.weight": torch.ones(7, 64, 1, 1)}
    torch.save(theirs, tmp_path / "drn.pth")
    loaded = DRN22(num_classes=5, width=2, weights=str(tmp_path / "drn.pth")).state_dict()
    assert all(torch.equal(loaded[name], w) for name, w in theirs.items() if name != "fc.weight")
    torch.save({name: w for name, w in theirs.items() if name != "layer5.0.conv1.weight"}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"of another network: 'layer5\.0\.conv1\.weight' is missing"):
        DRN22(num_classes=5, width=2, weights=str(tmp_path / "other.pth"))
