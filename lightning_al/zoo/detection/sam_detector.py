"""The zoo's detector, trained with sharpness-aware minimization."""

from lightning_al.training.sam.manual import SAMMixin
from lightning_al.zoo.detection.detector import Detector


class SAMDetector(SAMMixin, Detector):
    """:class:`~lightning_al.zoo.Detector` whose optimizer steps by SAM's gradient of the sum of its losses.

    Takes the arguments of both, by keyword: ``detector``, ``classes``, ``optimizer`` (SAM's base optimizer),
    ``scheduler`` and ``interval``; ``rho``, ``perturbation``, ``running_stats`` and the other options of
    :class:`~lightning_al.training.SAMMixin`. Faster R-CNN draws other anchors and proposals in the second pass, unless
    ``same_noise=True``.
    """
