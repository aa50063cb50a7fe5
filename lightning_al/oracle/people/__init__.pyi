from .await_tell import AwaitTell

__all__ = ["AwaitTell"]
