"""Models that fold weights or keep tensors in ``eval()``: scored by their weights, and left as they were."""

import functools

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.inference.calling import ForwardOf, tensors_of
from lightning_al.inference.live_weights import live_weights
from lightning_al.inference.mode import own_train_undone, scoring_mode
from lightning_al.inference.outputs import plain_outputs
from tests.helpers import reference
from tests.helpers.exact import SCORES as EXACT
from tests.helpers.folding import LAYERS, Folding, plain_twin
from tests.helpers.marks import slow
from tests.helpers.models import B, Model, randn, seeded
from tests.helpers.scores import SCORES

EXTRA = {
    "mc_dropout": lambda m, x: F_al.mc_dropout(m, x, passes=2, add_dropout=0.5),
    "bound": lambda m, x: F_al.sharpness_bound(m, x, steps=2).total,
}


def built(name):
    """A model that was trained a little, and its twin."""
    net = seeded(lambda: Folding(name)).train()
    return net, plain_twin(net), randn(B, 4)


def state(net):
    weights = [(p, p.data_ptr(), p.detach().clone()) for p in (*net.parameters(), *net.buffers())]
    plain = {k: v for m in net.modules() for k, v in vars(m).items() if isinstance(v, (bool, int, dict))}
    kept = {k: (id(v), v.detach().clone()) for k, v in vars(net.layer).items() if isinstance(v, torch.Tensor)}
    return weights, plain, kept


def assert_as_it_was(net, before):
    after = state(net)
    assert len(before[0]) == len(after[0])
    for (p, memory, value), (q, place, now) in zip(before[0], after[0], strict=True):
        assert p is q
        assert memory == place
        assert torch.equal(value, now)
    assert before[1].keys() == after[1].keys()
    assert before[2].keys() == after[2].keys()
    assert all(torch.equal(v, after[2][k][1]) and i == after[2][k][0] for k, (i, v) in before[2].items())


@pytest.mark.few(1)
@pytest.mark.parametrize("arriving", ["eval, used", *map(slow, ("train", "eval"))])
@pytest.mark.parametrize("name", LAYERS)
def test_scores_follow_the_weights_and_leave_nothing_behind(name, arriving):
    net, twin, x = built(name)
    net.train(arriving == "train")
    if arriving == "eval, used":
        with torch.no_grad():
            net(x)
    before = state(net)
    for score in ("sam", "tensor_sum"):
        call, loop, options = EXACT[score]
        for _ in range(2):
            got = call(net, x, **options)
            torch.testing.assert_close(got, loop(twin, x, **options), rtol=1e-6, atol=1e-9)
            assert_as_it_was(net, before)
    for score in (*SCORES.values(), *EXTRA.values()):
        score(net, x)
        assert_as_it_was(net, before)
    torch.testing.assert_close(F_al.sharpness_bound(net, x, steps=3), F_al.sharpness_bound(twin, x, steps=3))
    torch.testing.assert_close(plain_outputs(net, x), plain_outputs(twin, x))


@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith(("Folded", "KeptIn", "Made", "Cached"))])
def test_gradients_of_what_is_folded_alone(name):
    """All else is frozen, so that a score of 0 would show that it was missed."""
    net, twin, x = built(name)
    for model in (net, twin):
        model.first.requires_grad_(False)
        model.head.requires_grad_(False)
    net.eval()
    got = F_al.gradient_norm(net, x, loss="pseudo_label")
    want = reference.gradient_norm(twin, x, lambda z: nn.functional.cross_entropy(z, z.argmax(1)))
    assert (want > 1e-6).all()
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_of_other_weights(name):
    """The weights of another fit, taken in training mode, are put into a model that folds its own in ``eval()``."""
    net, _, x = built(name)
    other = seeded(lambda: Folding(name), seed=1).train()
    want = plain_outputs(plain_twin(other), x)
    torch.testing.assert_close(plain_outputs(net.eval(), x, tensors=tensors_of(other)), want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_training_mode_after_an_error(name):
    net, _, x = built(name)
    before = state(net)

    def fails(m, v):
        raise KeyError("no luck")

    for score in SCORES.values():
        with pytest.raises(KeyError, match="no luck"):
            score(net, x, forward=fails)
        assert_as_it_was(net, before)


@pytest.mark.parametrize("name", ["FoldedByAddition", "FoldedByNewMemory", "FoldedByNewParameter", "KeptInADict"])
def test_a_pass_of_lightnings_own_is_undone_but_for_what_it_noted(name):
    net, twin, x = built(name)
    net.register_buffer("seen", torch.zeros(()))
    before = state(net)
    with own_train_undone(net):
        net.eval()
        torch.testing.assert_close(net(x), twin.eval()(x))
        net.seen += 1
        net.noted = 3
        for module in net.modules():
            module.training = True  # flags, and no more, as Lightning has it
    assert net.noted == 3
    assert net.seen == 1
    net.seen.zero_()
    del net.noted
    assert_as_it_was(net, before)


def test_half_precision_is_folded_in_no_score():
    net, twin, x = built("FoldedByAddition")
    net, twin = net.bfloat16(), twin.bfloat16().double()
    before = state(net)
    got = F_al.gradient_norm(net, x.float())
    torch.testing.assert_close(got.double(), reference.gradient_norm(twin, x.float().double()), rtol=1e-4, atol=1e-6)
    assert_as_it_was(net, before)


def test_what_cannot_be_had_is_said(caplog):
    """Dropout of its own beside a fold that goes by the flag: in neither mode are the outputs those of ``eval()``."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.kept = nn.Linear(4, 3), None

        def train(self, mode=True):
            self.kept = None if mode else self.linear.weight.detach().clone()
            return super().train(mode)

        def forward(self, x):
            weight = self.linear.weight if self.training else self.kept
            return nn.functional.dropout(nn.functional.linear(x, weight, self.linear.bias), 0.5, self.training)

    net, x = seeded(Both), randn(B, 4)
    for _ in range(2):
        F_al.gradient_norm(net, x)
    [said] = [r.getMessage() for r in caplog.records if "has no part in the gradients" in r.getMessage()]
    assert said.startswith("Both gives other outputs in eval()")


def test_scoring_mode_calls_eval_of_the_models_own():
    net, twin, x = built("FoldedByAddition")
    before = state(net)
    with scoring_mode(net):
        assert net.layer.merged
        torch.testing.assert_close(net(x), twin.eval()(x))
    assert_as_it_was(net, before)


def test_weight_norm_of_old_keeps_its_weight_in_an_attribute(recwarn):
    old = seeded(lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)))
    new = seeded(
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3))
    )
    with torch.no_grad():
        for p, q in zip((old[0].bias, old[0].weight_g, old[0].weight_v), new[0].parameters(), strict=True):
            q.copy_(p)
        new[2].load_state_dict(old[2].state_dict())
    weight, x = old[0].weight, randn(B, 4)
    torch.testing.assert_close(F_al.gradient_norm(old, x), reference.gradient_norm(new, x), rtol=1e-6, atol=1e-9)
    assert old[0].weight is weight
    assert not any("performance drop" in str(warning.message) for warning in recwarn)


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    @functools.cached_property
    def made(self):
        return self.weight @ self.weight.t()

    def forward(self, x):
        return x @ self.made


class Weighing(nn.LSTM):
    @functools.cached_property
    def made(self):
        return self.weight_ih_l0.mean(0)

    def forward(self, x):
        return super().forward(x * self.made)[0][:, -1]


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (lambda: nn.utils.parametrizations.weight_norm(Product()), randn(B, 4)),
        (lambda: Weighing(4, 4, batch_first=True), randn(B, 3, 4)),
    ],
    ids=["parametrized", "recurrent"],
)
def test_what_classes_made_of_torchs_keep_follows_the_weights(layer, x):
    net = seeded(lambda: nn.Sequential(layer(), nn.Linear(4, 3)))
    torch.testing.assert_close(F_al.gradient_norm(net, x), reference.gradient_norm(net, x), rtol=1e-9, atol=1e-12)


def test_no_pass_is_spent_on_the_constants_of_torchvision():
    anchors = pytest.importorskip("torchvision").models.detection.anchor_utils.DefaultBoxGenerator([[2]])
    net = Model(lambda m, x: m.layer(x), layer=nn.Linear(4, 3), anchors=anchors)
    calls = []
    net.register_forward_pre_hook(lambda *_: calls.append(1))
    with live_weights(net, ForwardOf(net, None), torch.randn(B, 4)):
        assert not calls
        assert not net.training
    net.kept = torch.ones(2)  # of a module that is not torchvision's
    with live_weights(net, ForwardOf(net, None), torch.randn(B, 4)):
        assert len(calls) == 2
