"""What data modules of one's own files share: what is labelled trains or validates, the rest may be asked for."""

import hashlib
from abc import abstractmethod
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from lightning_al.checks import Findings, check_number
from lightning_al.zoo.parts import NamedClassesDataModule

NO_LABEL = -1
"""Stands where a label will be."""


def hashed(name: str) -> int:
    """Return a number from 0 to 2^64 - 1 that a name has on every machine, and that looks drawn at random."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def is_held_out(name: str, share: float) -> bool:
    """Whether a sample is among a share of all, drawn by a hash of its name: whatever joins, it stays on its side.

    Example:
        >>> sum(is_held_out(f"{number}.jpg", 0.2) for number in range(1000))
        189
    """
    return hashed(name) < share * 2**64


class OwnFilesDataModule(NamedClassesDataModule):
    """Labelled samples, of which a share may validate, and unlabelled ones beside them; subclasses read them.

    Args:
        classes: Names of the classes, in order; None: those that are there, sorted.
        val_share: The share of the labelled samples that validate and never train. 0: there is no validation.
        batch_size: Samples per training batch.
        eval_batch_size: Samples per validation batch.
        num_workers: Loader processes.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

    def __init__(
        self, *, classes: list[str] | None, val_share: float, batch_size: int, eval_batch_size: int, num_workers: int
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers)
            findings.of(check_number, "val_share", val_share, least=0, below=1)
        self.named_classes = classes
        self.val_share = val_share
        if not val_share:  # then there is no such loader, as in a datamodule that defines none
            self.val_dataloader = super().val_dataloader  # type: ignore[method-assign]

    @abstractmethod
    def read_sets(self) -> dict[str, Any]:
        """Read the datasets ``"train"``, ``"val"`` and ``"unlabelled"``, each with the names of its ``classes``."""

    def teardown(self, stage: str | None = None) -> None:
        """Forget it, so that what joined is seen at the next start."""
        self._sets = {}

    def unlabelled_dataset(self) -> Any:
        """What may be asked for."""
        return self.sets["unlabelled"]

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """The share of what is labelled that is kept for it."""
        return self.loader("val")
