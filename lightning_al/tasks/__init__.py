"""What a batch means: inputs, targets, outputs, losses."""

from lightning_al.tasks.base import Task
from lightning_al.tasks.binary import BinaryTask
from lightning_al.tasks.classification import ClassificationTask
from lightning_al.tasks.multi_label import MultiLabelTask
from lightning_al.tasks.regression import RegressionTask

__all__ = ["BinaryTask", "ClassificationTask", "MultiLabelTask", "RegressionTask", "Task"]
