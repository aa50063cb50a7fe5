from .base import Task
from .binary import BinaryTask
from .classification import ClassificationTask
from .multi_label import MultiLabelTask
from .regression import RegressionTask
from .segmentation import SegmentationTask

__all__ = ["BinaryTask", "ClassificationTask", "MultiLabelTask", "RegressionTask", "SegmentationTask", "Task"]
