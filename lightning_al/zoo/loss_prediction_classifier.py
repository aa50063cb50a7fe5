"""The zoo's classifier, trained together with a network that predicts its loss."""

from lightning_al.training.loss_prediction.mixin import LossPredictionMixin
from lightning_al.zoo.classifier import Classifier


class LossPredictionClassifier(LossPredictionMixin, Classifier):
    """:class:`~lightning_al.zoo.Classifier` that learns to predict its loss, for ``LearningLoss`` and ``LPLGrad``.

    Takes the arguments of both, by keyword: ``net``, ``num_classes``, ``optimizer`` and ``scheduler``; ``loss_layers``,
    ``loss_weight``, ``loss_lr`` and the other options of :class:`~lightning_al.training.LossPredictionMixin`.

    Example:
        >>> import torch
        >>> from lightning_al.zoo import ResNet18
        >>> model = LossPredictionClassifier(net=ResNet18(width=4), num_classes=10, loss_width=8)
        >>> _ = model.predict_losses(torch.zeros(2, 3, 16, 16))
        >>> model.loss_prediction.layers
        ['net.layer1', 'net.layer2', 'net.layer3', 'net.layer4']
    """
