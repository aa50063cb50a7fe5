"""The engine against the loop written by hand, and proof that the engine did it, not what it falls back on."""

import contextlib
import copy
import logging
import math
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al import functional as F_al
from lightning_al.gradients.tape import Tape
from tests.helpers import extent, reference
from tests.helpers.models import C, seeded

SCORES = {
    "sam": (F_al.saal, reference.saal, {"rho": 0.3}),
    "asam": (F_al.saal, reference.saal, {"rho": 0.5, "perturbation": "asam"}),
    "p=3": (F_al.saal, reference.saal, {"rho": 0.3, "p": 3.0}),
    "p=inf": (F_al.saal, reference.saal, {"rho": 0.01, "p": math.inf}),
    "groups": (F_al.saal, reference.saal, {"rho": 0.3, "group_size": 2, "score": "difference"}),
    "asam, groups": (F_al.saal, reference.saal, {"rho": 0.5, "group_size": 2, "perturbation": "asam"}),
    "entropy": (F_al.gradient_norm, reference.gradient_norm, {}),
    "tensor_sum": (F_al.gradient_norm, reference.gradient_norm, {"loss": "pseudo_label", "norm": "tensor_sum"}),
    "expected_norm": (F_al.gradient_norm, reference.gradient_norm, {"loss": "expected_norm"}),
}
FEW = ("sam", *(("asam", "groups") if extent.everything else ("asam, groups",)), "tensor_sum")
"""One of each kind of work that the engine does with a layer."""
BRIEF = ("sam", "tensor_sum")
"""A perturbation and a norm: for variants of what is held to more of them."""


FALLS_BACK = ("No layer-wise gradients", "cannot vectorize", "Out of memory")


class Messages(logging.Handler):
    def __init__(self):
        super().__init__()
        self.said = []
        self.passes = 0

    def emit(self, record):
        self.said.append(record.getMessage())

    @property
    def fell_back(self):
        return [m for m in self.said if any(words in m for words in FALLS_BACK)]


@contextlib.contextmanager
def messages():
    """What the engine says, and how many batches of more than one unit it recorded."""
    log, handler = logging.getLogger("lightning_al"), Messages()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    record = Tape.record

    def counted(tape, inputs, **options):
        handler.passes += tape.units > 1
        return record(tape, inputs, **options)

    try:
        with mock.patch.object(Tape, "record", counted):
            yield handler
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@contextlib.contextmanager
def layers_as_written():
    """The fused encoder layer, which `no_grad` brings on, drops padded positions: another model."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def narrowed(tree):
    return pytree.tree_map_only(Tensor, lambda t: t.float() if t.is_floating_point() else t, tree)


def assert_exact(net, x, names=tuple(SCORES), forward=None, single=True, **options):
    """Scores equal the loop's, in float64 to 1e-9 and in float32 to 1e-5 of the loss, without falling back.

    Unless everything is tried, a perturbation and a norm are enough in float32.
    """
    for name in names:
        score, loop, given = SCORES[name]
        with messages() as engine:
            got = score(net, x, forward=forward, **given, **options)
        assert not engine.fell_back, (name, engine.said)
        assert engine.passes
        with layers_as_written():
            want = loop(net, x, forward=forward, **given)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")
        if single and (name in BRIEF or extent.everything) and name != "p=inf":  # the sign of rounding errors
            with messages() as engine:
                got = score(copy.deepcopy(net).float(), narrowed(x), forward=forward, **given, **options)
            assert not engine.fell_back, (name, engine.said)
            assert got.dtype == torch.float32
            tolerance = 1e-5 * max(1.0, float(want.abs().max()))
            torch.testing.assert_close(
                got.double(), want, rtol=0, atol=tolerance, msg=lambda m, name=name: f"{name}, float32: {m}"
            )


def assert_exact_otherwise(net, x, reason, names=("sam", "tensor_sum"), forward=None):
    """Scores equal the loop's although the engine itself had to give up, and it said why."""
    for name in names:
        score, loop, given = SCORES[name]
        with messages() as engine:
            got = score(net, x, forward=forward, **given)
        assert any(reason in m for m in engine.fell_back), engine.said
        with layers_as_written():
            want = loop(net, x, forward=forward, **given)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


class Probe(nn.Module):
    """One layer, whose output goes to logits through a fixed random matrix."""

    def __init__(self, layer, call=None):
        super().__init__()
        self.layer = layer
        self.call = call

    def forward(self, x):
        y = (self.layer(x) if self.call is None else self.call(self.layer, x)).tanh().flatten(1)
        mix = torch.randn(y.shape[1], C, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        return y @ mix.to(y.dtype)


def probe(build, call=None):
    """A probed layer whose parameters and statistics are all away from their initial values."""

    def made():
        layer = build()
        for p in layer.parameters():
            nn.init.normal_(p, std=0.5)
        for name, b in layer.named_buffers():
            if b.is_floating_point():
                nn.init.uniform_(b, 0.5, 2.0)
        return Probe(layer, call)

    return seeded(made)
