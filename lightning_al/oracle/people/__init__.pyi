from .await_tell import AwaitTell
from .files import Entry, Reading, read_labels, write_labels
from .label_files import LabelFiles
from .label_studio import LabelStudio

__all__ = ["AwaitTell", "Entry", "LabelFiles", "LabelStudio", "Reading", "read_labels", "write_labels"]
