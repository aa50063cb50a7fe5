"""Reading the weights in a checkpoint that may hold objects of any kind, none of which is made."""

import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch


class _Foreign:
    """Stands where a checkpoint has an object of some class, or what some function makes; it does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Foreign":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "_Foreign":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    extend = append
    add = append


class _TensorsOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        rebuilds = (module, name) == ("torch._tensor", "_rebuild_from_type_v2") or (
            module == "torch._utils" and name.startswith("_rebuild_")
        )
        if rebuilds or (module, name) == ("collections", "OrderedDict"):
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return _Foreign


def weights_of(checkpoint: str | Path) -> dict[str, Any]:
    """Return the ``state_dict`` in a checkpoint of Lightning's, on the CPU.

    Hyperparameters in it may be anything that the user's module took; they are passed over, and no code of theirs runs.

    Raises:
        ValueError: If it is no file that ``torch.save`` wrote, or holds no ``state_dict``.
    """
    if not zipfile.is_zipfile(checkpoint):
        raise ValueError(f"{checkpoint} is no checkpoint, or is damaged.")
    reads = SimpleNamespace(Unpickler=_TensorsOnly, __name__=__name__)
    content = torch.load(checkpoint, map_location="cpu", weights_only=False, pickle_module=reads)
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise ValueError(f"{checkpoint} holds no weights.")
    return weights
