"""The data of a project, made from its files without model, Trainer, acquisition or oracle."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import lightning.pytorch as pl
from jsonargparse import Namespace

from lightning_al.cli.recipe import config_words
from lightning_al.cli.run import ActiveLearningCLI
from lightning_al.tasks.base import Task


class ProjectData(NamedTuple):
    """What samples are read with.

    Args:
        name: The same for projects whose data are the same.
        datamodule: The user's.
        task: As the loop's; None: the default.
        pool: As the loop's.
    """

    name: str
    datamodule: pl.LightningDataModule
    task: Task | None
    pool: str


class DataCLI(ActiveLearningCLI):
    """Makes the datamodule and the task, and nothing else: no weights and no server are looked for."""

    found: ProjectData

    def instantiate_classes(self) -> None:
        """Make the datamodule and the task."""
        loop = self.config["loop"]
        kept = Namespace({"data": self.config["data"], "loop": Namespace({"task": loop["task"]})})
        name = self.parser.dump(
            Namespace({"data": self.config["data"], "seed_everything": self.config["seed_everything"]}),
            skip_validation=True,
        )
        made = self.parser.instantiate_classes(kept)
        self.found = ProjectData(f"{loop['task']}\n{name}", made["data"], made["loop"]["task"], str(loop["pool"]))


def data_of(files: Sequence[Path]) -> ProjectData:
    """Return the data of the project in YAML files; later ones go first."""
    return DataCLI(run=False, save_config_callback=None, args=config_words(files)).found
