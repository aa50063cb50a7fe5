"""What changes how a model trains: sharpness-aware minimization, and learning to predict its loss."""

from lightning_al.training.loss_prediction import LossPredictionMixin
from lightning_al.training.sam import AutoSAMMixin, SAMMixin, sam_step

__all__ = ["AutoSAMMixin", "LossPredictionMixin", "SAMMixin", "sam_step"]
