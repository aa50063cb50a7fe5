from .await_tell import AwaitTell
from .label_studio import LabelStudio

__all__ = ["AwaitTell", "LabelStudio"]
