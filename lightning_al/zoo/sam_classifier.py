"""The zoo's classifier, trained with sharpness-aware minimization."""

from lightning_al.training.sam.manual import SAMMixin
from lightning_al.zoo.classifier import Classifier


class SAMClassifier(SAMMixin, Classifier):
    """:class:`~lightning_al.zoo.Classifier` whose optimizer steps by SAM's gradient.

    Takes the arguments of both, by keyword: ``net``, ``num_classes``, ``optimizer`` (SAM's base optimizer, Adam by
    default; the papers use SGD with momentum 0.9) and ``scheduler``; ``variant``, ``rho``, ``perturbation``,
    ``running_stats`` and the other options of :class:`~lightning_al.training.SAMMixin`.

    Example:
        >>> from torch import nn
        >>> SAMClassifier(net=nn.Linear(4, 3), num_classes=3, rho=0.1).automatic_optimization
        False
    """
