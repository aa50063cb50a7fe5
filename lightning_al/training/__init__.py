"""What changes how a model trains: sharpness-aware minimization."""

from lightning_al.training.sam import sam_step
from lightning_al.training.sam_mixins import AutoSAMMixin, SAMMixin

__all__ = ["AutoSAMMixin", "SAMMixin", "sam_step"]
