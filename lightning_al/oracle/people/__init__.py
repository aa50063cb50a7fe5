"""Oracles for labels that people give, one for each way in which their answers come in; so far ``tell``."""

from lightning_al.oracle.people.await_tell import AwaitTell

__all__ = ["AwaitTell"]
