from .await_tell import AwaitTell
from .files import Entry, Reading, read_labels, write_labels
from .label_files import LabelFiles

__all__ = ["AwaitTell", "Entry", "LabelFiles", "Reading", "read_labels", "write_labels"]
