"""The ways a score can come, each by itself."""

from lightning_al.gradients.by_rules import ByRules
from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.scorers import ByTorchFunc

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
