import pytest
import torch

from lightning_al.zoo import ViT


def test_vit():
    net = ViT(num_classes=7, in_channels=1, image_size=12, patch_size=3, dim=8, depth=2, heads=2, mlp_dim=10).eval()
    assert net.position_embedding.shape == (1, 17, 8)
    assert net.layers[0].linear1.out_features == 10
    x = torch.randn(3, 1, 12, 12)
    assert net(x).shape == (3, 7)
    torch.testing.assert_close(net(x)[1:], net(x[1:]))
    assert sum(p.numel() for p in ViT().parameters()) == pytest.approx(5_360_000, rel=0.01)  # ViT-Tiny
    with pytest.raises(ValueError, match="Patches of 5 pixels do not tile an image of 12"):
        ViT(image_size=12, patch_size=5)


def test_vit_sees_where_patches_are():
    net = ViT(image_size=8, dim=8, depth=1, heads=2).eval()
    x = torch.randn(1, 3, 8, 8)
    assert (net(x) - net(x.flip(-1, -2))).abs().max() > 1e-5
