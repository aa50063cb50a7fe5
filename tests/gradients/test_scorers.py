"""How many samples are scored at once: groups, the byte budget, and what is done when memory runs out."""

import gc
import weakref

import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import score_groups
from lightning_al.gradients.by_torch_func import MAX_GROUPS, ByTorchFunc
from lightning_al.gradients.tape import Tape
from lightning_al.inference.entries import batch_size_of
from tests.helpers import reference
from tests.helpers.models import case, randn, seeded
from tests.helpers.ways import SCORES, only


def seen_groups(n, group_size=1, copies=1, max_bytes=None, model=None):
    """The group sizes each call of the score saw, where no rules are given, from the shapes inside."""
    model = model or nn.Linear(1, 2)
    sizes = []

    def forward(m, x):
        sizes.append(len(x))
        return m(x)

    def score(diff, call, params, group):
        return call(params, group)[:, 0]

    x = torch.arange(float(n)).reshape(n, 1)
    options = {"forward": forward, "group_size": group_size, "copies": copies, "max_bytes": max_bytes}
    score_groups(model, score, x, **options)  # looks at one group first
    sizes.clear()
    got = score_groups(model, score, x, **options)
    torch.testing.assert_close(got, model(x)[:, 0].detach())
    return sizes


def test_chunks_and_groups_of_torch_func():
    assert MAX_GROUPS == 128
    assert seen_groups(5) == [1]
    assert seen_groups(129) == [1, 1]  # twice: not yet the 257th, which is compared with the plain loop
    assert seen_groups(7, group_size=3) == [3, 1]  # the smaller last group on its own
    assert seen_groups(3, group_size=3) == [3]
    assert seen_groups(2, group_size=3) == [2]
    assert seen_groups(260, group_size=64) == [64, 64, 4]  # at most 128 samples at once
    assert seen_groups(400, group_size=200) == [200, 200]
    size = 4 * 4  # four float32 weights
    assert seen_groups(6, max_bytes=size * 2) == [1] * 3
    assert seen_groups(6, max_bytes=size * 2, copies=2) == [1] * 6
    assert seen_groups(6, max_bytes=size * 3) == [1] * 2
    assert seen_groups(0) == []


def test_what_a_sample_keeps_for_its_gradient_counts(monkeypatch):
    only("torch.func", monkeypatch)
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2)))
    plain = 2 * 8 * sum(p.numel() for p in net.parameters())  # copies of the weights
    kept = 8 * (4 + 64)  # at least: the input and the hidden layer
    batches = []
    scored = ByTorchFunc.__call__

    def counted(scorer, inputs, group_size):
        batches.append(batch_size_of(inputs))
        return scored(scorer, inputs, group_size)

    monkeypatch.setattr(ByTorchFunc, "__call__", counted)
    F_al.gradient_norm(net, randn(6, 4), max_bytes=6 * plain + kept)
    assert max(batches) < 6


def test_nothing_is_left_for_the_collector(monkeypatch):
    """Circles would keep the activations of many batches alive."""
    net, x, *_ = case("batch norm")
    seen = []
    record = Tape.record

    def recorded(tape, given, **options):
        outputs = record(tape, given, **options)
        seen.extend(weakref.ref(call.x) for call in tape.calls)
        return outputs

    monkeypatch.setattr(Tape, "record", recorded)
    for score in SCORES.values():
        score(net, x)  # looks at the model first
        seen.clear()
        gc.disable()
        try:
            score(net, x)
            assert seen
            assert not any(activation() is not None for activation in seen)
        finally:
            gc.enable()


def test_frozen_weights_do_not_count_for_the_budget():
    model = nn.Linear(1, 2)
    model.bias.requires_grad_(False)
    assert seen_groups(6, max_bytes=2 * 4 * 3, model=model) == [1] * 2


def test_out_of_memory_in_torch_func_halves_as_well(monkeypatch):
    only("torch.func", monkeypatch)
    batches = []
    real = ByTorchFunc.__call__

    def call(self, inputs, group_size):
        batches.append(len(inputs[0]))
        if batches[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, inputs, group_size)

    monkeypatch.setattr(ByTorchFunc, "__call__", call)
    net, x, *_ = case("layer norm")
    torch.testing.assert_close(F_al.saal(net, x), reference.saal(net, x), rtol=1e-9, atol=1e-9)
    assert batches == [5, 2, 2, 1]
