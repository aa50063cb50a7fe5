"""``lightning-al tell`` where labels are said as only the project's own task knows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lightning_al.campaign.standing import Standing
from lightning_al.campaign.told import Codec, Told, tell_campaign
from lightning_al.cli.run import ActiveLearningCLI, run
from lightning_al.loop.loop import ActiveLearningLoop
from lightning_al.oracle.people.files.entries import Reading
from lightning_al.storage.blobs import as_read
from lightning_al.tasks.base import Task


class TellCLI(ActiveLearningCLI):
    """``LightningCLI`` with the subcommand ``tell``: it makes the loop, and runs nothing."""

    loop: ActiveLearningLoop

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Define the one subcommand."""
        return {"tell": {"model", "datamodule"}}

    def tell(self, model: pl.LightningModule, datamodule: pl.LightningDataModule) -> None:
        """Make the loop."""
        self.loop = ActiveLearningLoop(model, datamodule, **dict(self._get(self.config_init, "loop")))


def codec_of(task: Task, classes: Sequence[str] | None) -> Codec:
    """Return what makes the ledger's values of what people say, as a task does it."""

    def encode(annotation: Any) -> Any:
        return as_read(task.encode_label(task.from_annotation(annotation, classes)))

    return Codec(encode, lambda value: task.to_annotation(task.decode_label(value), classes))


def tell_project(words: Sequence[str], dirpath: Path, readings: Sequence[Reading], **choices: Any) -> Told:
    """Put what people said into a campaign's ledger by the task and the oracle of a recipe.

    Args:
        words: The recipe's options, as on the command line.
        dirpath: The campaign's folder.
        readings: Of the files.
        **choices: Of :func:`~lightning_al.campaign.tell_campaign`.
    """
    made: list[ActiveLearningLoop] = []
    run(["tell", *words], lambda args: made.append(TellCLI(args=args).loop))
    loop = made[0]
    codec = codec_of(loop.task, Standing(dirpath).classes)
    return tell_campaign(dirpath, readings, codec=codec, cost_of=loop.oracle.cost, **choices)
