"""Small tiles of distances, and how large the tensors are that are made of them."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_al.functional.geometry import sphere as D


class Largest(TorchDispatchMode):
    """The largest tensor that anything makes, in entries."""

    def __init__(self):
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.untyped_storage().nbytes() // max(tensor.element_size(), 1))
        return out


def small_blocks(monkeypatch, block=24, columns=5):
    monkeypatch.setattr(D, "TILE_ENTRIES", block)
    monkeypatch.setattr(D, "TILE_COLUMNS", columns)
