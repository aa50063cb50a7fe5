from . import acquisition as acquisition
from . import campaign as campaign
from . import data as data
from . import functional as functional
from . import gradients as gradients
from . import nn as nn
from . import oracle as oracle
from . import report as report
from . import stopping as stopping
from . import tasks as tasks
from . import training as training
from . import zoo as zoo
from .campaign import Campaign, RoundResult
from .data import ActiveDataModule, Loaders, Pool
from .loop import ActiveLearningLoop
from .oracle import SKIP, AwaitTell, DatasetOracle, LabelFiles, NoisyOracle, Oracle
from .scoring import RaceResult, Scores, check_acquisition, score
from .tasks import BinaryTask, ClassificationTask, DetectionTask, MultiLabelTask, RegressionTask, SegmentationTask, Task

__version__: str

__all__ = [
    "SKIP",
    "ActiveDataModule",
    "ActiveLearningLoop",
    "AwaitTell",
    "BinaryTask",
    "Campaign",
    "ClassificationTask",
    "DatasetOracle",
    "DetectionTask",
    "LabelFiles",
    "Loaders",
    "MultiLabelTask",
    "NoisyOracle",
    "Oracle",
    "Pool",
    "RaceResult",
    "RegressionTask",
    "RoundResult",
    "Scores",
    "SegmentationTask",
    "Task",
    "check_acquisition",
    "score",
]
