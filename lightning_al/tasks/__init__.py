"""What a batch means: inputs, targets, outputs, losses."""

from lightning_al.tasks.base import Task
from lightning_al.tasks.classification import ClassificationTask
from lightning_al.tasks.multi_label import MultiLabelTask

__all__ = ["ClassificationTask", "MultiLabelTask", "Task"]
