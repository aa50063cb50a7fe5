"""Oracles for labels that people give, one for each way in which their answers come in: ``tell``, Label Studio."""

from lightning_al.oracle.people.await_tell import AwaitTell
from lightning_al.oracle.people.label_studio import LabelStudio

__all__ = ["AwaitTell", "LabelStudio"]
