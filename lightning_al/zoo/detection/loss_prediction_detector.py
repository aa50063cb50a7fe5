"""The zoo's detector, trained together with a network that predicts the loss of an image."""

from lightning_al.training.loss_prediction.mixin import LossPredictionMixin
from lightning_al.zoo.detection.detector import Detector


class LossPredictionDetector(LossPredictionMixin, Detector):
    """:class:`~lightning_al.zoo.Detector` that learns to predict its loss, for ``LearningLoss`` and ``LPLGrad``.

    Takes the arguments of both, by keyword: ``detector``, ``classes``, ``optimizer``, ``scheduler`` and ``interval``;
    ``loss_layers``, ``loss_weight``, ``loss_lr`` and the other options of
    :class:`~lightning_al.training.LossPredictionMixin`. Losses are predicted from maps of the detector's backbone. With
    ``trainer.max_steps`` say ``trainer.max_epochs`` too, or ``loss_detach_after=1``.
    """
