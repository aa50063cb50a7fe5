"""The zoo's classifier, trained by SAM together with a network that predicts its loss."""

from lightning_al.training.loss_prediction.mixin import LossPredictionMixin
from lightning_al.zoo.sam_classifier import SAMClassifier


class SAMLossPredictionClassifier(LossPredictionMixin, SAMClassifier):
    """:class:`~lightning_al.zoo.SAMClassifier` that learns to predict its loss: LL4AL with SAM, of SAAL's Table 1.

    Takes the arguments of :class:`~lightning_al.training.LossPredictionMixin` and of
    :class:`~lightning_al.zoo.SAMClassifier`, by keyword.

    Example:
        >>> from lightning_al.zoo import ResNet18
        >>> model = SAMLossPredictionClassifier(net=ResNet18(width=4), num_classes=10, loss_width=8, rho=0.1)
        >>> model.automatic_optimization
        False
    """
