"""Attributes, buffers and tensors of a model that are as they were after it was scored."""

from collections import deque
from functools import partial

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.inference.mode import own_train_undone
from lightning_al.inference.module_state import (
    flags_kept,
    flags_of,
    gradients_kept,
    modules_of,
    named_modules_of,
    set_flags,
    tensors_kept,
    tensors_of_modules,
    weights_kept,
)
from tests.helpers.exact import messages
from tests.helpers.models import B, C, case, randn, seeded
from tests.helpers.scores import SCORES
from tests.helpers.ways import WAYS, only


class Collecting(nn.Module):
    """Caches and collects in attributes, as rotary embeddings and models that show their attention do."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(4, 4), nn.Linear(4, C)
        self.cache, self.last, self.shown, self.named, self.calls = None, None, [], {"by": "name"}, 0
        self.few, self.names = deque(maxlen=2), {"a"}

    def forward(self, x):
        h = self.first(x)
        if self.cache is None:
            self.cache = torch.linspace(0, 1, 4, dtype=h.dtype).cos()
        self.last = [h]
        self.new = 1
        self.shown.append(h)
        self.few.append(h)
        self.names.add(len(x))
        self.named["h"] = h
        self.calls += 1
        return self.head((h * self.cache).tanh())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("score", SCORES)
def test_what_models_remember_is_left_as_it_was(score, way, monkeypatch):
    mode = only(way, monkeypatch)
    net = Collecting()  # in float32, where a cache of the comparison in float64 would not do
    collected = net.shown, net.named, net.few, net.names
    want = [[], {"by": "name"}, deque(), {"a"}]
    for _ in range(2):
        SCORES[score](net, torch.randn(B, 4), max_bytes=mode)
        assert list(collected) == want
        assert (net.cache, net.last, net.calls) == (None, None, 0)
        assert not hasattr(net, "new")
        assert all(now is then for now, then in zip((net.shown, net.named, net.few, net.names), collected, strict=True))


def test_a_cache_of_the_comparison_in_float64_is_not_used_in_float32():
    net = Collecting()
    with messages() as engine:
        F_al.saal(net, torch.randn(B, 4))
    assert not engine.fell_back


class Remembering(nn.Module):
    """Keeps tensors as plain attributes, one of them new."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, C)
        self.last = torch.zeros(1)

    def forward(self, x):
        self.last = self.head(x)
        self.new = self.last.exp()
        return self.last


@pytest.mark.parametrize("way", WAYS)
def test_tensors_that_a_model_keeps_are_put_back(way, monkeypatch):
    net = Remembering()
    last = net.last
    F_al.saal(net, torch.randn(B, 4), max_bytes=only(way, monkeypatch))
    assert net.last is last
    assert not hasattr(net, "new")


def test_buffers_written_in_eval_mode_are_put_back():
    net, x, *_ = case("counting")
    calls, last = net.calls, net.last
    for score in SCORES.values():
        score(net, x)
    assert net.calls is calls
    assert net.last is last
    assert float(calls) == float(last) == 0


class OwnStatistics(nn.Module):
    """Takes the batch's statistics, and goes on with the running ones, in ``eval()`` too."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, C)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))

    def forward(self, x):
        return self.head(nn.functional.batch_norm(x, self.mean, self.var, training=True))


def test_running_statistics_written_in_eval_mode_are_put_back():
    net, x = OwnStatistics(), torch.randn(B, 4)
    loss = net(x).sum()
    expected = net.mean.clone(), net.var.clone()
    with tensors_kept(modules_of(net)):
        net(x)
        assert not torch.equal(net.mean, expected[0])
    assert torch.equal(net.mean, expected[0])
    assert torch.equal(net.var, expected[1])
    loss.backward()  # nothing that it needs looks written to


class OnGraph(nn.Module):
    """Has neighbours as a sparse matrix, which torch does not compare."""

    def __init__(self, layout):
        super().__init__()
        self.head = nn.Linear(4, C)
        graph = torch.eye(C) + torch.eye(C).roll(1, 0)
        self.register_buffer("graph", graph if layout is None else graph.to_sparse(layout=layout))

    def forward(self, x):
        return (self.graph @ self.head(x).T).T


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_buffers_are_as_they_were_and_scores_those_of_dense_ones(layout):
    net, dense, x = OnGraph(layout), OnGraph(None), torch.randn(B, 4)
    dense.head = net.head
    graph = net.graph
    torch.testing.assert_close(F_al.saal(net, x), F_al.saal(dense, x))
    with tensors_kept(modules_of(net)):
        net.graph.values().zero_() if layout is torch.sparse_csr else net.graph._values().zero_()
    assert net.graph is graph
    assert torch.equal(graph.to_dense(), dense.graph)


class NoLuck(Exception):
    pass


def layers():
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def test_flags_come_back_to_the_very_same_layers():
    net = layers()
    net[0].weight.requires_grad_(False)
    net[1].eval()
    before = flags_of(net)
    with pytest.raises(NoLuck), flags_kept(modules_of(net)):
        net.requires_grad_(True).eval()
        raise NoLuck
    assert flags_of(net) == before


def test_flags_come_back_by_name_to_layers_made_anew():
    net = layers()
    net[0].weight.requires_grad_(False)
    net[1].eval()
    before = flags_of(net)
    for i, layer in enumerate(layers()):
        net[i] = layer
    net.append(nn.Linear(1, 1).eval())
    set_flags(net, before)
    assert not net[0].weight.requires_grad
    assert net[0].bias.requires_grad
    assert [layer.training for layer in net] == [True, False, True, False]


def test_gradients_come_back():
    net = nn.Linear(2, 2)
    gradient = net.weight.grad = torch.ones(2, 2)
    with gradients_kept(net):
        net.weight.grad, net.bias.grad = None, torch.ones(2)
    assert net.weight.grad is gradient
    assert net.bias.grad is None


def test_gradients_come_back_to_where_the_weights_are_then():
    net = nn.Linear(2, 2)
    net.weight.grad = torch.full((2, 2), 3.0)
    with gradients_kept(net):
        net.zero_grad()
        net.double()  # as a move to another device: the gradient of before would be refused
    assert net.weight.grad.dtype == torch.float64
    assert torch.equal(net.weight.grad, torch.full((2, 2), 3.0, dtype=torch.float64))


def test_weights_and_buffers_come_back_also_those_that_no_state_holds():
    net = layers()
    net.register_buffer("seen", torch.zeros(1), persistent=False)
    before = [t.detach().clone() for t in (*net.parameters(), *net.buffers())]
    with weights_kept(net):
        net(torch.randn(4, 3))
        with torch.no_grad():
            net[0].weight.fill_(7)
        net.seen += 1
    assert all(torch.equal(a, b) for a, b in zip((*net.parameters(), *net.buffers()), before, strict=True))


def test_weights_come_back_to_layers_made_anew():
    net = layers()
    before = net[0].weight.detach().clone()
    with weights_kept(net):
        net[0] = nn.Linear(3, 3)
    assert torch.equal(net[0].weight, before)


def test_modules_are_those_of_torch_in_its_order():
    shared = nn.Linear(2, 2)
    model = nn.Sequential(
        shared, nn.ModuleDict({"a": shared, "b": nn.Sequential(nn.BatchNorm1d(2), shared)}), nn.ReLU()
    )
    model.none = None
    model.register_module("gone", None)
    assert list(map(id, modules_of(model))) == list(map(id, model.modules()))
    assert named_modules_of(model) == list(model.named_modules())
    tensors = tensors_of_modules(modules_of(model), "_parameters", "_buffers")
    assert {id(t) for t in tensors} == {id(t) for t in (*model.parameters(), *model.buffers())}
    assert len(tensors) == len({id(t) for t in tensors})


class FoldsNorm(nn.Module):
    """Takes the weight norm of a layer away in ``eval()``, for good, as vocoders do before they speak."""

    def __init__(self, parametrized):
        super().__init__()
        self.layer = nn.Linear(4, 3).double()
        (nn.utils.parametrizations.weight_norm if parametrized else nn.utils.weight_norm)(self.layer)

    def eval(self):
        if nn.utils.parametrize.is_parametrized(self.layer):
            nn.utils.parametrize.remove_parametrizations(self.layer, "weight")
        elif self.layer._forward_pre_hooks:
            nn.utils.remove_weight_norm(self.layer)
        return super().eval()

    def forward(self, x):
        return self.layer(x)


class Hooked(FoldsNorm):
    """Puts a hook on its layer in ``eval()``."""

    def __init__(self):
        nn.Module.__init__(self)
        self.layer = nn.Linear(4, 3).double()

    def eval(self):
        self.layer.register_forward_hook(lambda *args: args[-1] * 1.5)
        return super().eval()


def in_a_pass(net):
    with own_train_undone(net):
        net.eval()


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("make", [partial(FoldsNorm, False), partial(FoldsNorm, True), Hooked], ids=["old", "new", ""])
@pytest.mark.parametrize("use", [lambda net: F_al.gradient_norm(net, randn(3, 4)), in_a_pass], ids=["score", "pass"])
def test_hooks_and_reparametrisations_come_back(make, use):
    """Without them a layer would go on with the weight of then, whatever is trained."""
    net, twin, x = seeded(make), seeded(make), randn(5, 4)
    kind = type(net.layer)
    for _ in range(2):
        use(net)
    for model in (net, twin):
        with torch.no_grad():
            for i, parameter in enumerate(model.parameters()):
                parameter.add_(0.1 * (i + 1))
    assert type(net.layer) is kind
    assert net.state_dict().keys() == twin.state_dict().keys()
    assert torch.equal(net(x), twin(x))
