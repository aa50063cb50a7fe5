from .campaign import Campaign, RoundResult
from .data import ActiveDataModule, Loaders, Pool
from .loop import ActiveLearningLoop
from .oracle import SKIP, AwaitTell, DatasetOracle, NoisyOracle, Oracle
from .tasks import ClassificationTask, MultiLabelTask, Task

__version__: str

__all__ = [
    "SKIP",
    "ActiveDataModule",
    "ActiveLearningLoop",
    "AwaitTell",
    "Campaign",
    "ClassificationTask",
    "DatasetOracle",
    "Loaders",
    "MultiLabelTask",
    "NoisyOracle",
    "Oracle",
    "Pool",
    "RoundResult",
    "Task",
]
