"""Exact per-sample gradients: layer by layer where layers have a rule, through ``torch.func`` where not."""

from lightning_al.gradients.per_sample import score_groups
from lightning_al.gradients.rules.base import Rule, register_rule

__all__ = ["Rule", "register_rule", "score_groups"]
