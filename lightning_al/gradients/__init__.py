"""Exact per-sample gradients: layer by layer where layers have a rule, through ``torch.func`` where not."""

from lightning_al.gradients.per_sample import score_groups
from lightning_al.gradients.rule import Rule, register_rule
from lightning_al.gradients.scoring_mode import check_whole, plain_outputs, scoring_mode, tensors_of

__all__ = ["Rule", "check_whole", "plain_outputs", "register_rule", "score_groups", "scoring_mode", "tensors_of"]
