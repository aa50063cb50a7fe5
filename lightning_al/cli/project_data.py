"""The data of a project, made from its files without model, Trainer, acquisition, or an oracle that asks people."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
from jsonargparse import Namespace

from lightning_al.cli.recipe import config_words
from lightning_al.cli.run import ActiveLearningCLI
from lightning_al.oracle.base import Oracle
from lightning_al.tasks.base import Task


class ProjectData(NamedTuple):
    """What samples are read with.

    Args:
        name: The same for projects whose data are the same.
        datamodule: The user's.
        task: As the loop's; None: the default.
        pool: As the loop's.
        oracle: As the loop's, if it is simulated.
    """

    name: str
    datamodule: pl.LightningDataModule
    task: Task | None
    pool: str
    oracle: Oracle | None


class DataCLI(ActiveLearningCLI):
    """Makes the datamodule, the task and a simulated oracle, and nothing else: no weights, no server are looked for."""

    found: ProjectData

    def instantiate_classes(self) -> None:
        """Make the datamodule, the task and a simulated oracle."""
        loop = self.config["loop"]
        oracle = loop["oracle"] if _is_simulated(loop["oracle"]) else None
        of_loop = Namespace({"task": loop["task"], "oracle": oracle})
        kept = Namespace({"data": self.config["data"], "loop": of_loop})
        name = self.parser.dump(
            Namespace({"data": self.config["data"], "seed_everything": self.config["seed_everything"]}),
            skip_validation=True,
        )
        made = self.parser.instantiate_classes(kept)
        self.found = ProjectData(
            f"{of_loop}\n{name}", made["data"], made["loop"]["task"], str(loop["pool"]), made["loop"]["oracle"]
        )


def _is_simulated(oracle: Any) -> bool:
    """Whether an oracle as configured answers with labels that lie in some dataset, so that it may be made here."""
    if oracle is None:
        return False
    module, _, name = oracle["class_path"].rpartition(".")
    said = getattr(getattr(importlib.import_module(module), name), "simulated", False)
    if isinstance(said, property):  # of one that stands before another
        inner = (oracle.get("init_args") or {}).get("oracle")
        return inner is None or _is_simulated(inner)
    return bool(said)


def data_of(files: Sequence[Path]) -> ProjectData:
    """Return the data of the project in YAML files; later ones go first."""
    return DataCLI(run=False, save_config_callback=None, args=config_words(files)).found
