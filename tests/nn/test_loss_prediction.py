import pytest
import torch
from torch import nn

from lightning_al.nn import LossPrediction


def test_is_the_published_module_on_maps_of_any_dimension_and_on_sequences():
    torch.manual_seed(0)
    module = LossPrediction({"a": 3, "b.c": 4, "d": 2, "v": 5}, {"tokens": 6}, width=7).double()
    features = {
        "a": torch.randn(5, 3, 8),
        "b.c": torch.randn(5, 4, 6, 2),
        "d": torch.randn(5, 2, 3, 4, 5),
        "v": torch.randn(5, 5),
        "tokens": torch.randn(5, 9, 6),
    }
    features = {k: v.double() for k, v in features.items()}
    state = module.state_dict()
    hidden = []
    for name, x in features.items():
        kind, key = ("sequences" if name == "tokens" else "maps"), name.replace(".", "/")
        pooled = x.mean(1) if name == "tokens" else x.reshape(5, x.shape[1], -1).mean(2)
        hidden.append((pooled @ state[f"{kind}./{key}.weight"].T + state[f"{kind}./{key}.bias"]).relu())
    expected = torch.cat(hidden, 1) @ state["head.weight"].T + state["head.bias"]
    torch.testing.assert_close(module(features), expected[:, 0])
    pooled = {name: module.pool(name, x) for name, x in features.items()}
    torch.testing.assert_close(module(pooled), expected[:, 0])
    assert module.layers == ["a", "b.c", "d", "v", "tokens"]


def test_the_default_width_and_number_of_weights():
    module = LossPrediction({"layer1": 64, "layer2": 128})
    assert sum(p.numel() for p in module.parameters()) == 65 * 128 + 129 * 128 + 257


def test_padding_is_passed_over_in_sequences_only():
    module = LossPrediction({"map": 2}, {"tokens": 3})
    padding = torch.tensor([[False, False, True], [True, True, True]])
    tokens = torch.tensor([[[1.0, 2, 3], [3, 4, 5], [float("nan")] * 3], [[9.0] * 3] * 3])
    assert module.pool("tokens", tokens, padding).tolist() == [[2, 3, 4], [0, 0, 0]]
    maps = torch.arange(12.0).reshape(2, 2, 3)
    assert torch.equal(module.pool("map", maps, padding[:, :2]), maps.mean(2))
    assert torch.equal(module.pool("tokens", tokens[:, :2], padding), tokens[:, :2].mean(1))  # of other tokens


def test_is_made_again_from_its_weights():
    first = LossPrediction({"net.layer1": 3}, {"net.1.block": 4}, width=5).double()
    again = LossPrediction.like(first.state_dict())
    again.load_state_dict(first.state_dict())
    assert again.layers == first.layers
    assert next(again.parameters()).dtype == torch.float64


def test_half_precision_features_and_names_of_methods():
    module = LossPrediction({"keys": 2, "values": 2})
    x = torch.ones(3, 2, 4, dtype=torch.bfloat16)
    assert module({"keys": x, "values": x}).dtype == torch.float32
    assert isinstance(module.maps["/keys"], nn.Linear)


@pytest.mark.parametrize(
    ("maps", "sequences", "message"), [({}, {}, "none"), ({"a": 1}, {"a": 2}, "'a' is among both")]
)
def test_refuses(maps, sequences, message):
    with pytest.raises(ValueError, match=message):
        LossPrediction(maps, sequences)
