"""Models that run their layers in unusual ways."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_al import functional as F_al
from tests.helpers import reference
from tests.helpers.exact import FEW, SCORES, assert_exact, assert_exact_otherwise, messages
from tests.helpers.models import B, C, Model, randn, seeded


class Blocks(nn.Module):
    """Residual blocks, run by ``call(block, x)``, with a parameter of their own between them."""

    def __init__(self, call):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1))
            for _ in range(2)
        )
        self.scale = nn.Parameter(torch.rand(2, 1, 1))
        self.head = nn.Linear(2, C)
        self.call = call

    def forward(self, x):
        for block in self.blocks:
            x = x + self.call(lambda v, block=block: block(v) * self.scale, x)
        return self.head(x.mean((2, 3)))


@pytest.mark.few(2)
@pytest.mark.parametrize("score", SCORES)
def test_checkpointed_blocks(score):
    net = seeded(lambda: Blocks(lambda block, x: checkpoint(block, x, use_reentrant=False)))
    assert_exact(net, randn(B, 2, 4, 4), (score,))


@pytest.mark.few(1)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_checkpointed_blocks_in_half_precision(dtype):
    net = seeded(lambda: Blocks(lambda block, x: checkpoint(block, x, use_reentrant=False))).to(dtype)
    raised = seeded(lambda: Blocks(lambda block, x: block(x))).to(dtype).float()
    for score in (F_al.saal, F_al.gradient_norm):
        with messages() as engine:
            got = score(net, randn(B, 2, 4, 4).to(dtype))
        assert not engine.fell_back
        torch.testing.assert_close(got, score(raised, randn(B, 2, 4, 4).to(dtype).float()))


@pytest.mark.slow
def test_checkpointed_attention_and_embeddings():
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(6, 4)
            self.layer = nn.TransformerEncoderLayer(4, 2, 8)
            self.own = nn.PReLU()
            self.head = nn.Linear(4, C)

        def block(self, x):
            return self.own(self.layer(self.table(x.t()))).mean(0)

        def forward(self, x):
            return self.head(checkpoint(self.block, x, use_reentrant=False))

    assert_exact(seeded(Text), torch.randint(6, (B, 4), generator=torch.Generator().manual_seed(2)), FEW)


@pytest.mark.parametrize("asked", [True, False])
def test_reentrant_checkpoints_are_refused(asked):
    """They run their backward pass into the weights' ``.grad``, which scoring must not touch."""

    def call(block, x):
        return checkpoint(block, x.clone().requires_grad_() if asked else x, use_reentrant=True)

    net = seeded(lambda: nn.Sequential(nn.Conv2d(2, 2, 1), Blocks(call)))
    before = reference.snapshot(net)
    for name in ("sam", "tensor_sum", "expected_norm"):
        score, _, options = SCORES[name]
        with pytest.raises(RuntimeError, match="checkpoints with `use_reentrant=True`"):
            score(net, randn(B, 2, 4, 4), **options)
        assert reference.snapshot(net) == before


@pytest.mark.skipif(not torch.distributed.is_available(), reason="no torch.distributed")
def test_a_model_under_ddp():
    net, x = seeded(lambda: Blocks(lambda block, x: block(x))), randn(B, 2, 4, 4)
    want = {name: SCORES[name][1](net, x, **SCORES[name][2]) for name in FEW}
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(net)
        for name in FEW:
            with messages() as engine:
                got = SCORES[name][0](wrapped, x, **SCORES[name][2])
            assert not engine.fell_back
            torch.testing.assert_close(got, want[name], rtol=1e-9, atol=1e-9)
    finally:
        torch.distributed.destroy_process_group()


class Routed(nn.Module):
    """Sends each sample, or all, through one of two layers."""

    def __init__(self, by):
        super().__init__()
        self.first, self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, C)
        self.by = by

    def forward(self, x):
        h = self.first(x)
        if self.by == "sample":
            left = h[:, 0] > 0
            y = torch.empty_like(h)
            y[left], y[~left] = self.one(h[left]), self.other(h[~left])
        elif self.by == "order":  # as experts are fed, sorted by the layer they go to
            order = h[:, 0].argsort()
            y = torch.empty_like(h)
            y[order] = self.one(h[order])
        else:
            y = self.one(h) if h[0, 0] > 0 else self.other(h)
        return self.head(y.tanh())


@pytest.mark.parametrize("by", ["sample", "order", "batch"])
def test_layers_called_on_what_the_data_say(by):
    """None of these can go in a batch, and whatever way is taken the scores are the loop's."""
    net, x = seeded(lambda: Routed(by)), randn(8, 4)
    for name in ("sam", "asam", "tensor_sum"):
        score, loop, options = SCORES[name]
        torch.testing.assert_close(score(net, x, **options), loop(net, x, **options), rtol=1e-9, atol=1e-9)


def test_another_layer_in_the_second_pass_goes_another_way():
    """The perturbation sends the sample through the other layer, of the same kind and shape."""

    def build():
        net = Routed("batch")
        nn.init.zeros_(net.first.weight)
        nn.init.constant_(net.first.bias, 1e-3)
        return net

    net = seeded(build)
    x = randn(1, 4).expand(B, 4).clone()
    want = reference.saal(net, x, rho=3.0)
    same = seeded(build)
    same.other = same.one
    assert (want - reference.saal(same, x, rho=3.0)).abs().max() > 1e-3
    torch.testing.assert_close(F_al.saal(net, x, rho=3.0), want, rtol=1e-9, atol=1e-9)


class Mixing(nn.Module):
    """Each sample's output depends on the others', a little."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(4, 4), nn.Linear(4, C)

    def forward(self, x):
        h = self.first(x)
        return self.head(h - 1e-5 * h.mean(0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_models_that_mix_samples_are_scored_as_if_each_were_alone(dtype):
    net, x = seeded(Mixing).to(dtype), randn(B, 4).to(dtype)
    assert len(F_al.saal(net, x[:1])) == 1  # one sample shows nothing, and must not be taken for proof
    for name in ("sam", "tensor_sum"):
        score, loop, options = SCORES[name]
        with messages() as engine:
            got = score(net, x, **options)
        assert "where the plain loop gives" in engine.fell_back[0]
        torch.testing.assert_close(got, loop(net, x, **options))


def test_several_outputs_and_inputs():
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(4, C), nn.Embedding(5, C)

        def forward(self, inputs):
            h = self.left(inputs["x"]).tanh()
            logits = h * inputs["scale"] + self.right(inputs["index"])
            return {"logits": logits, "hidden": h.t(), "auxiliary": h.sum(), "count": 3, "name": "both"}

    inputs = {"x": randn(B, 4), "scale": 0.7, "index": torch.arange(B) % 5, "files": ["a", "b"]}
    assert_exact(seeded(Many), inputs, forward=lambda m, v: m(v)["logits"], names=FEW)
    options = {"target_fn": lambda z: z["logits"].argmax(1), "loss_fn": lambda z, y: reference.loss(z["logits"], y)}
    with messages() as engine:
        got = F_al.saal(seeded(Many), inputs, **options)
    assert not engine.fell_back
    torch.testing.assert_close(got, reference.saal(seeded(Many), inputs, **options), rtol=1e-9, atol=1e-9)


def test_outputs_the_engine_cannot_look_into_go_another_way():
    class Result:
        def __init__(self, logits):
            self.logits = logits

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, C)

        def forward(self, x):
            return Result(self.head(x))

    options = {"target_fn": lambda z: z.logits.detach().argmax(1), "loss_fn": lambda z, y: reference.loss(z.logits, y)}
    with messages() as engine:
        got = F_al.saal(seeded(Net), randn(B, 4), **options)
    assert "the loss takes more of the model than the tensors it returned" in engine.fell_back[0]
    torch.testing.assert_close(got, reference.saal(seeded(Net), randn(B, 4), **options), rtol=1e-9, atol=1e-9)


def test_a_branch_of_the_batch_size_goes_another_way():
    net = seeded(lambda: nn.Linear(4, C))
    assert_exact_otherwise(
        net,
        randn(B, 4),
        "depends on the number of samples",
        forward=lambda m, x: m(x) if len(x) < 3 else (m(x) + m(x)) / 2,
    )


@pytest.mark.parametrize("view", [False, True])
def test_a_first_output_that_is_written_to(view):
    """Where a graph begins: at an output of memory of its own, and at one that is a view of it."""

    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(3, 5, bias=view), nn.Linear(20, C)

        def forward(self, x):
            h = self.first(x)
            kept = h * 1
            h.relu_()
            return self.head(h.flatten(1)) + self.head(kept.flatten(1)).sin()

    net, x = seeded(Written), randn(B, 4, 3)
    with torch.no_grad():
        assert net.first(x)._is_view() == view
    assert_exact(net, x, FEW)


@pytest.mark.parametrize("layer", [nn.Linear(3, 4), nn.LSTM(3, 4, batch_first=True), nn.Conv1d(5, 4, 1)], ids=repr)
@pytest.mark.parametrize("what", ["input", "in between"])
def test_a_model_that_makes_tensors_ask_for_gradients_in_later_batches(layer, what):
    """Layers after them would be on no way to the anchor, and their gradients not be seen."""

    def forward(m, x):
        later = bool(x.abs().max() > 1)
        if what == "in between":
            x = m.first(x).tanh().detach()
        if later:
            x.requires_grad_()
        y = m.layer(x)
        return m.head((y[0] if isinstance(y, tuple) else y).tanh().flatten(1)[:, :6])

    net = seeded(lambda: Model(forward, layer=layer, first=nn.Linear(3, 3), head=nn.Linear(6, C)))
    x = torch.rand(6, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for of in (0.9 * x, 3 * x, 0.8 * x):
        torch.testing.assert_close(F_al.gradient_norm(net, of), reference.gradient_norm(net, of), rtol=1e-9, atol=1e-12)
