"""New initial weights through the layers' own ``reset_parameters``."""

import pytest
import torch
from torch import nn

from lightning_al.fitting.reset import check_redrawable, not_redrawn, redraw_parameters


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.MultiheadAttention(4, 2))
        self.scale = nn.Parameter(torch.ones(2))
        self.backbone = nn.Linear(3, 3).requires_grad_(False)


def test_all_is_drawn_but_what_is_frozen_or_cannot_be():
    model = Model()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    state = torch.get_rng_state()
    assert not_redrawn(model) == ["scale"]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    model.layers[1].running_mean.fill_(3)
    redraw_parameters(model)
    same = {name for name, t in model.state_dict().items() if torch.equal(t, before[name])}
    assert {"scale", "backbone.weight", "backbone.bias", "layers.1.running_mean"} <= same
    assert not {"layers.0.weight", "layers.0.bias", "layers.2.in_proj_weight"} & same


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match=r"cannot re-draw scale \(1 parameter"):
        check_redrawable(Model())
    check_redrawable(Model().layers)
