"""A model called with other weights than its own, and without what is wrapped around it."""

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.inference.calling import Around, call_with
from tests.helpers import reference
from tests.helpers.models import B, case, randn
from tests.helpers.scores import SCORES
from tests.helpers.ways import WAYS, only


@pytest.mark.skipif(not torch.distributed.is_available(), reason="no torch.distributed")
def test_a_ddp_wrapper_is_taken_off():
    net, x, *_ = case("layer norm")
    want = {k: s(net, x) for k, s in SCORES.items()}
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(net)
        for name, score in SCORES.items():
            assert torch.equal(score(wrapped, x), want[name])
            assert torch.equal(score(wrapped, x, forward=lambda m, v: m[3](m[:3](v))), want[name])
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("way", WAYS)
def test_a_layer_with_two_names_keeps_its_weights(way, monkeypatch):
    layer = nn.Linear(4, 4)
    net, weight = nn.Sequential(layer, nn.Tanh(), layer), layer.weight
    got = F_al.saal(net.double(), randn(B, 4), max_bytes=only(way, monkeypatch))
    torch.testing.assert_close(got, reference.saal(net, randn(B, 4)), rtol=1e-9, atol=1e-9)
    assert layer.weight is weight


def test_call_with():
    layer, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.weight = layer.weight
    net = nn.Sequential(layer, other, layer)
    weight, bias = layer.weight, layer.bias
    got = call_with(net, {"0.weight": torch.eye(2), "0.bias": torch.ones(2)}, torch.zeros(1, 2))
    torch.testing.assert_close(got, (1 + other.bias + 1)[None])
    assert layer.weight is other.weight is weight
    assert layer.bias is bias
    assert torch.equal(call_with(Around(layer), {"model.bias": torch.ones(2)}, lambda: layer.bias), torch.ones(2))
