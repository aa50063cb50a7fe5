"""The ways a score can come, each by itself."""

from lightning_al.gradients import per_sample
from lightning_al.gradients.stand_ins import NoRule

WAYS = ("rules", "rules, one at a time", "torch.func", "one by one")


def only(way, monkeypatch):
    """Let scores come this way or those after it; returns the `max_bytes` to score with."""

    def refuse(*args):
        raise NoRule("switched off")

    if way in ("torch.func", "one by one"):
        monkeypatch.setattr(per_sample.ByRules, "_find_plan", refuse)
    if way == "one by one":
        monkeypatch.setattr(per_sample.ByTorchFunc, "__call__", refuse)
    return 1 if way == "rules, one at a time" else None
