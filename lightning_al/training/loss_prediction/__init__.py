"""Training a model together with a small network that predicts its loss."""

from lightning_al.training.loss_prediction.mixin import LossPredictionMixin

__all__ = ["LossPredictionMixin"]
