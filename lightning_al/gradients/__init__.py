"""The per-sample gradient engine behind :mod:`lightning_al.functional`."""

from lightning_al.gradients.per_sample import DEFAULT_MAX_BYTES, score_groups, scoring_mode

__all__ = ["DEFAULT_MAX_BYTES", "score_groups", "scoring_mode"]
