"""People as the oracle: they answer later."""

from lightning_al.oracle.people.await_tell import AwaitTell

__all__ = ["AwaitTell"]
