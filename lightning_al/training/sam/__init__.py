"""Sharpness-aware minimization and its family: a step, and two mixins."""

from lightning_al.training.sam.automatic import AutoSAMMixin
from lightning_al.training.sam.manual import SAMMixin
from lightning_al.training.sam.step import sam_step

__all__ = ["AutoSAMMixin", "SAMMixin", "sam_step"]
