"""The ways a score can come, each by itself, and how often the model runs for it."""

from lightning_al import functional as F_al
from lightning_al.gradients.by_rules import ByRules
from lightning_al.gradients.by_torch_func import ByTorchFunc
from lightning_al.gradients.errors import NoRule

SCORES = {
    "saal": F_al.saal,
    "entropy": F_al.gradient_norm,
    "expected_norm": lambda m, x, **o: F_al.gradient_norm(m, x, loss="expected_norm", **o),
}
WAYS = ("rules", "rules, one at a time", "torch.func", "one by one")


def only(way, monkeypatch):
    """Let scores come this way or those after it; returns the `max_bytes` to score with."""

    def refuse(*args):
        raise NoRule("switched off")

    if way in ("torch.func", "one by one"):
        monkeypatch.setattr(ByRules, "groups_at_once", refuse)
    if way == "one by one":
        monkeypatch.setattr(ByTorchFunc, "__call__", refuse)
    return 1 if way == "rules, one at a time" else None


def counted(forward=None):
    """A list that grows by one a call, and a forward that makes it grow."""
    calls = []

    def run(model, x):
        calls.append(1)
        return forward(model, x) if forward else model(x)

    return calls, run
