"""Which layers' outputs a loss is predicted from, and how they are averaged."""

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_al.training import LossPredictionMixin
from lightning_al.training.loss_prediction.features import pooled_outputs
from lightning_al.zoo import TextClassifier
from tests.helpers.loss_reference import (
    Front,
    Plain,
    fitted,
    network,
)


class Maps(LightningModule):
    def __init__(self, net, **kwargs):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


def found(net, x, **options):
    class Net(LossPredictionMixin, Maps):
        pass

    model = Net(net=net, **options)
    assert model.predict_losses(x).shape == (len(x),)
    shapes = {k: v.shape[1] for k, v in model.loss_prediction.state_dict().items() if k.endswith("weight") and "/" in k}
    return model.loss_prediction.layers, shapes


def test_of_a_resnet_the_four_stages():
    from lightning_al.zoo import ResNet18

    for dimensions in (1, 2, 3):
        net = ResNet18(width=4, in_channels=1, dimensions=dimensions)
        layers, shapes = found(net, torch.zeros(2, 1, *[16] * dimensions))
        assert layers == [f"net.layer{i}" for i in (1, 2, 3, 4)]
        assert list(shapes.values()) == [4, 8, 16, 32]
    torchvision = pytest.importorskip("torchvision")
    layers, _ = found(torchvision.models.resnet18(num_classes=3), torch.zeros(2, 3, 64, 64))
    assert layers == [f"net.layer{i}" for i in (1, 2, 3, 4)]


def test_of_transformers_the_last_tokens():
    from lightning_al.zoo import TextClassifier, ViT

    layers, shapes = found(ViT(dim=16, depth=2, heads=2, image_size=16), torch.zeros(2, 3, 16, 16))
    assert layers == ["net.patch_embedding", "net.layers.1"]  # the final norm gets the class token alone
    assert set(shapes.values()) == {16}
    layers, shapes = found(TextClassifier(3, 20, 8, dim=8, depth=1, heads=2), torch.ones(2, 8, dtype=torch.long))
    assert len(layers) == 1
    assert list(shapes) == [f"sequences./{layers[0].replace('.', '/')}.weight"]  # 8 tokens of 8 channels
    lstm, shapes = found(Last(nn.LSTM(4, 3, batch_first=True, bidirectional=True), 6), torch.zeros(2, 5, 4))
    assert lstm == ["net.layer"]
    assert shapes == {"sequences./net/layer.weight": 6}


class Last(nn.Module):
    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.fc = layer, nn.Linear(width, 2)

    def forward(self, x):
        return self.fc(self.layer(x)[0][:, -1])


def test_of_vectors_and_of_a_single_layer():
    assert found(network().float(), torch.zeros(2, 5))[0] == ["net.1"]
    assert found(nn.Linear(4, 3), torch.zeros(2, 4))[0] == ["net"]


class Padded(LightningModule):
    """A layer that is told where sequences end, in one of the ways of torch."""

    def __init__(self, way):
        super().__init__()
        torch.manual_seed(1)
        encoder = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        decoder = nn.TransformerDecoderLayer(8, 2, 12, batch_first=True)
        layers = {"layer": encoder, "stack": nn.TransformerEncoder(encoder, 2), "decoder": decoder}
        self.way, self.layer = way, layers.get(way, encoder)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        padding = (x == 0).all(2)
        if self.way == "decoder":
            h = self.layer(x, x[:, :1], tgt_key_padding_mask=padding)
        elif self.way == "by position":
            h = self.layer(x, None, padding)
        elif self.way == "floats":
            h = self.layer(x, src_key_padding_mask=torch.zeros_like(x[..., 0]).masked_fill(padding, -torch.inf))
        else:
            h = self.layer(x, src_key_padding_mask=padding)
        return self.head(h.masked_fill(padding.unsqueeze(2), 0).sum(1))


@pytest.mark.parametrize("way", ["layer", "stack", "decoder", "by position", "floats"])
def test_padding_is_passed_over(way):
    class Net(LossPredictionMixin, Padded):
        loss_width = 5
        loss_layers = ["layer"]

    model = Net(way).double()
    short = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    long = torch.randn(1, 7, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    together = torch.cat([F.pad(short, (0, 0, 0, 4)), long])
    alone = torch.cat([model.predict_losses(short), model.predict_losses(long)])
    torch.testing.assert_close(model.predict_losses(together), alone)
    hidden = model.eval().layer(short) if way != "decoder" else model.eval().layer(short, short[:, :1])
    torch.testing.assert_close(alone[:1], model.loss_prediction({"layer": hidden.mean(1)}).detach())


def test_padding_of_texts_in_training_and_scoring():
    """The zoo's, whose batches are as long as their longest text."""

    class Net(LossPredictionMixin, Plain):
        loss_width = 5

    model = Net(net=TextClassifier(num_classes=3, vocabulary=20, dim=8, heads=2)).double()
    short, long = torch.tensor([[3, 4, 5]]), torch.tensor([[3, 4, 5, 0, 0, 0], [6, 7, 8, 9, 9, 1]])
    torch.testing.assert_close(model.predict_losses(long)[:1], model.predict_losses(short))
    seen = []
    model.loss_prediction.register_forward_pre_hook(lambda _, args: seen.append(args[0]["net.layers.0"]))
    model.net.eval()
    for batch in (short, long):
        with pooled_outputs(model, model.loss_prediction) as features:
            model(batch)
            model.loss_prediction(features())
    torch.testing.assert_close(seen[1][:1], seen[0])


def test_channels_where_blocks_permute():
    class Block(nn.Module):  # as in ConvNeXt
        def __init__(self):
            super().__init__()
            self.conv, self.mlp = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 5)

        def forward(self, x):
            return self.mlp(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    net = nn.Sequential(Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    assert found(net, torch.zeros(2, 3, 7, 7)) == (["net.0"], {"maps./net/0.weight": 5})
    assert found(net, torch.zeros(2, 3, 7, 7), loss_layers=["net.0.mlp"])[1] == {"sequences./net/0/mlp.weight": 5}


def test_a_map_that_is_written_into_later_is_kept_as_it_was():
    class Net(LossPredictionMixin, Maps):
        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(6, 2))
    model = Net(net=net, loss_layers=["net.0"], loss_width=3)
    x, y = torch.randn(4, 1, 5), torch.tensor([0, 1, 0, 1])
    fitted(model, DataLoader(TensorDataset(x, y), batch_size=4), max_epochs=1)
    expected = model.loss_prediction({"net.0": net[0](x)})
    torch.testing.assert_close(model.predict_losses(x), expected.detach())


def test_unknown_and_unusable_layers_are_refused():
    with pytest.raises(ValueError, match=r"no layer 'net.layer9'.*'net\.0'|no layer 'net.layer9'"):
        fitted(Front(loss_layers=["net.layer9"]))

    class Unused(Front):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.idle = nn.Linear(2, 2)

    with pytest.raises(ValueError, match="'idle' does not run"):
        fitted(Unused(loss_layers=["idle"]))
    with pytest.raises(ValueError, match=r"shape \(5, 2, 6\) for 2 samples.*batch_first"):
        found(TimeFirst(), torch.zeros(2, 5, 4), loss_layers=["net.inner"])


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.inner, self.fc = nn.GRU(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.inner(self.layer(x.transpose(0, 1))[0])[-1])


@pytest.mark.parametrize("steps", [5, 3])
def test_torchs_layers_with_the_batch_second_are_turned_round(steps):
    class Net(LossPredictionMixin, Maps):
        loss_layers = ["net.layer"]

    torch.manual_seed(0)
    model, x = Net(TimeFirst()), torch.randn(3, steps, 4)
    got = model.predict_losses(x)
    want = model.loss_prediction({"net.layer": model.net.layer(x.transpose(0, 1))[0].mean(0)})
    torch.testing.assert_close(got, want.detach())


def test_a_layer_that_does_not_run_in_training_is_refused():
    class Other(Front):
        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.net[2](self.net[0](batch[0])), batch[1])

    with pytest.raises(RuntimeError, match=r"'net.1'.*gave nothing.*loss_layers"):
        fitted(Other())
