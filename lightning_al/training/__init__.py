"""What changes how a model trains: sharpness-aware minimization, and learning to predict its loss."""

from lightning_al.training.loss_prediction import LossPredictionMixin
from lightning_al.training.sam import sam_step
from lightning_al.training.sam_mixins import AutoSAMMixin, SAMMixin

__all__ = ["AutoSAMMixin", "LossPredictionMixin", "SAMMixin", "sam_step"]
