"""Compiled models are looked at as they are written, and nothing is compiled for it."""

import logging
from functools import partial

import lightning as L
import pytest
import torch
from torch import nn

from lightning_al import ClassificationTask
from lightning_al import functional as F_al
from lightning_al.inference.compiled import is_compiled, unwrapped
from lightning_al.inference.outputs import plain_outputs
from tests.helpers.compiling import WAYS, Backend, never
from tests.helpers.exact import SCORES, messages
from tests.helpers.marks import slow
from tests.helpers.models import B, C, case, randn, seeded

SLOWLY = ["whole", "parts", *map(slow, ("whole in place", "layers in place", "forward alone"))]


@pytest.mark.parametrize("way", SLOWLY)
@pytest.mark.parametrize("score", ["sam", slow("asam, groups"), "tensor_sum", slow("expected_norm")])
def test_scores_by_gradients_are_the_eager_loops_in_float64(way, score):
    net, x, *_ = case("batch norm")
    ours, loop, given = SCORES[score]
    want = loop(net, x, **given)
    compiled = WAYS[way](net, never)
    with messages() as engine:
        got = ours(compiled, x, **given)
    assert not engine.fell_back
    assert engine.passes
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


class Dropping(nn.Sequential):
    def forward(self, x):
        for layer in self:
            x = layer(x)
        return x


def dropping():
    return seeded(lambda: Dropping(nn.Linear(4, 6), nn.ReLU(), nn.Sequential(nn.Dropout(0.5), nn.Linear(6, C))))


LOOKS = {
    "outputs": plain_outputs,
    "dropout": partial(F_al.mc_dropout, passes=4, seed=3),
    "dropout that is added": partial(F_al.mc_dropout, passes=4, seed=3, add_dropout=0.4),
    "features": lambda net, x: plain_outputs(net, x, ClassificationTask().outputs_and_features),
    "features of a layer inside": lambda net, x: plain_outputs(
        net, x, lambda model, x: ClassificationTask().features(model, x, "2.0")
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("look", LOOKS)
def test_so_are_outputs_features_and_passes_with_dropout(way, look):
    x = randn(B, 4)
    want = LOOKS[look](dropping(), x)
    torch.testing.assert_close(LOOKS[look](WAYS[way](dropping(), never), x), want, rtol=0, atol=0)


def test_badge_s_factors_are_those_of_the_layers_by_hand():
    net, x = dropping().eval(), randn(B, 4)
    hidden = net[1](net[0](x)).detach()
    p = net[2](hidden).detach().softmax(1)
    residuals = p - nn.functional.one_hot(p.argmax(1), C)
    task = ClassificationTask()
    outputs, features = plain_outputs(WAYS["parts"](net, never), x, task.outputs_and_features)
    torch.testing.assert_close(features, hidden)
    torch.testing.assert_close(task.residuals(outputs), residuals)


@pytest.mark.parametrize("way", ["parts", *map(slow, ("whole", "whole in place", "layers in place", "forward alone"))])
def test_a_model_goes_on_compiled(way):
    backend = Backend()
    net = WAYS[way](dropping(), backend)
    x = randn(B, 4)
    net(x)
    graphs = len(backend.graphs)
    assert graphs
    F_al.saal(net, x)
    plain_outputs(net, x)
    net(x)
    assert len(backend.graphs) == graphs  # neither compiled for a score nor anew after it


# -- what is said ------------------------------------------------------------------------------------------------------


@pytest.fixture
def said(caplog):
    with caplog.at_level(logging.INFO):
        yield lambda: [m for m in caplog.messages if "compiled" in m]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_said_once_of_each_model(said, way):
    first, second = WAYS[way](dropping(), never), WAYS[way](dropping(), never)
    for net in (first, second, first):
        F_al.saal(net, randn(B, 4))
        plain_outputs(net, randn(B, 4))
    assert len(said()) == 2
    where = {"parts": " in part (`0`, `1`, `2`)", "layers in place": " in part (`0`, `1`, `2.0`, ...)"}.get(way, "")
    assert said()[0].startswith(f"Dropping is compiled{where}: samples are scored by its layers as they are written")


def test_nothing_is_said_of_others(said):
    F_al.saal(dropping(), randn(B, 4))
    assert not said()


# -- what is compiled --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_what_is_compiled(way):
    net = WAYS[way](dropping(), never)
    assert any(map(is_compiled, net.modules()))
    assert not any(map(is_compiled, dropping().modules()))


def test_what_lightning_makes_of_a_compiled_module_is_compiled():
    from lightning.pytorch.utilities.compile import from_compiled

    assert is_compiled(from_compiled(torch.compile(L.LightningModule(), backend=never)))
    assert not is_compiled(L.LightningModule())


def test_what_is_inside():
    net = nn.Linear(2, 2)
    assert unwrapped(torch.compile(net, backend=never)) is net
    assert unwrapped(net) is net
