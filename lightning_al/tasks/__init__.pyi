from .base import Task
from .binary import BinaryTask
from .classification import ClassificationTask
from .detection.kept import KeptBoxes
from .detection.task import DetectionTask
from .multi_label import MultiLabelTask
from .regression import RegressionTask
from .segmentation import SegmentationTask

__all__ = [
    "BinaryTask",
    "ClassificationTask",
    "DetectionTask",
    "KeptBoxes",
    "MultiLabelTask",
    "RegressionTask",
    "SegmentationTask",
    "Task",
]
