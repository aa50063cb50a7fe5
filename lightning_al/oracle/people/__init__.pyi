from .await_tell import AwaitTell
from .files import Entry, Reading, read_labels, write_labels

__all__ = ["AwaitTell", "Entry", "Reading", "read_labels", "write_labels"]
