"""Active learning for PyTorch Lightning.

Keep your LightningModule, your LightningDataModule and your Trainer; add an acquisition callback, and write
``ActiveLearningLoop(model, datamodule, ...).run(trainer)`` where ``trainer.fit(model, datamodule)`` stood.
"""

from lightning_al.campaign import Campaign, RoundResult
from lightning_al.data import ActiveDataModule, Loaders, Pool
from lightning_al.loop import ActiveLearningLoop
from lightning_al.oracle import SKIP, AwaitTell, DatasetOracle, NoisyOracle, Oracle
from lightning_al.tasks import ClassificationTask, MultiLabelTask, Task

__version__ = "0.1.0.dev0"

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
