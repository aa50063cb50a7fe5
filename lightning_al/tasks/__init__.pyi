from .base import Task
from .classification import ClassificationTask
from .multi_label import MultiLabelTask

__all__ = ["ClassificationTask", "MultiLabelTask", "Task"]
