"""The oracle that leaves all answers to calls of ``tell``."""

from collections.abc import Sequence
from typing import Any

from lightning_al.oracle.base import Oracle


class AwaitTell(Oracle):
    """Leaves every answer to :meth:`ActiveLearningLoop.tell`: for people, and for datasets without labels."""

    def request(self, indices: Sequence[int]) -> None:
        """Do nothing: the question is in the ledger and in what ``ask`` returned."""

    def poll(self) -> dict[int, Any]:
        """Know nothing yet."""
        return {}
