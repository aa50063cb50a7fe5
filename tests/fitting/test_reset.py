"""New initial weights through the layers' own ``reset_parameters``."""

import re

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from lightning_al.fitting.reset import check_redrawable, not_redrawn, redraw_parameters
from tests.helpers.projects import Net, Starts, loop_in, make_trainer
from tests.helpers.recorder import run


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


class Upper(nn.Module):
    def forward(self, weight):
        return weight.triu()


def symmetric():
    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", Upper())
    return layer


def called(layer):
    """As after a first pass in inference mode, with an inference tensor in place of the weight."""
    with torch.inference_mode():
        layer(torch.ones(1, 4))
    return layer


REPARAMETRISED = {
    "weight_orig (of SpectralNorm)": lambda: nn.utils.spectral_norm(nn.Linear(4, 4)),
    "weight_orig (of SpectralNorm) ": lambda: called(nn.utils.spectral_norm(nn.Linear(4, 4))),
    "weight_g (of WeightNorm), 1.weight_v (of WeightNorm)": lambda: nn.utils.weight_norm(nn.Linear(4, 4)),
    "weight_orig (of L1Unstructured)": lambda: prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5),
    "parametrizations.weight.original (of SpectralNorm)": lambda: parametrizations.spectral_norm(nn.Linear(4, 4)),
    "parametrizations.weight.original (of Orthogonal)": lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
    "parametrizations.weight.original0 (of WeightNorm), 1.parametrizations.weight.original1 (of WeightNorm)": (
        lambda: parametrizations.weight_norm(nn.Linear(4, 4))
    ),
    "parametrizations.weight.original (of Upper)": symmetric,
}


@pytest.mark.parametrize("names", REPARAMETRISED)
def test_reparametrisations_are_named(names):
    model = nn.Sequential(nn.Linear(2, 4), REPARAMETRISED[names]())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=re.escape(f"cannot re-draw 1.{names.strip()} (")):
        check_redrawable(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    redraw_parameters(model)  # what can be drawn is, and nothing fails
    assert not torch.equal(model[0].weight, before["0.weight"])


def test_one_on_the_model_itself_is_named():
    with pytest.raises(ValueError, match=re.escape("re-draw parametrizations.weight.original (of Upper)")):
        check_redrawable(symmetric())


def test_layers_that_draw_what_a_weight_is_computed_from():
    model = nn.utils.weight_norm(nn.LSTM(3, 4), "weight_hh_l0")  # `reset_parameters` goes through all parameters
    check_redrawable(model)
    before = model.weight_hh_l0_v.clone()
    redraw_parameters(model)
    assert not torch.equal(model.weight_hh_l0_v, before)


def test_reset_fresh_names_what_it_cannot_draw(tmp_path):
    class Net2(Net):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones((), dtype=torch.double))

        def forward(self, x):
            return self.scale * super().forward(x)

    with pytest.raises(ValueError, match=r"cannot re-draw scale.*reset_parameters"):
        run(tmp_path, model=Net2(), reset="fresh")
    assert not (tmp_path / "c").exists()  # nothing was trained or written


def test_fresh_tries_whether_everything_is_drawn(tmp_path):
    class Skips(nn.Linear):
        def __init__(self):
            super().__init__(8, 8)
            self.scale = nn.Parameter(torch.ones(8))

    model = Net()
    model.net[1] = nn.Sequential(Skips(), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))).double()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"cannot re-draw net.1.0.scale.*original"):
        loop_in(tmp_path, model=model, reset="fresh").run(make_trainer(tmp_path))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_fresh_leaves_frozen_parameters_alone(tmp_path):
    model = Starts()
    model.net[0].requires_grad_(False)
    before = model.net[0].weight.clone()
    loop_in(tmp_path, model=model, reset="fresh").run(make_trainer(tmp_path))
    assert torch.equal(model.net[0].weight, before)
    assert len(set(model.starts)) == 3
