"""Keys of samples by what a model is called with for them: the same for the same input, and for no other."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_PLAIN = (str, bytes, bool, int, float, type(None))


def row_keys(leaves: Sequence[Any], about: str) -> Tensor | None:
    """Return a key of 128 bits for each sample of a batch, (B, 2) of int64; None where samples cannot be told apart.

    Args:
        leaves: Of the batch: tensors with the samples as first dimension, and plain values, which all samples share.
        about: What else the keys depend on.

    Example:
        >>> one, other = (row_keys([torch.tensor(rows)], "") for rows in ([[1.0], [2.0]], [[2.0], [3.0]]))
        >>> bool((one[1] == other[0]).all()), bool((one[0] == other[1]).all())
        (True, False)
    """
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    sizes = {len(t) if t.ndim else -1 for t in tensors}
    plain = [leaf for leaf in leaves if not isinstance(leaf, Tensor)]
    dense = all(t.layout == torch.strided and not t.is_nested for t in tensors)
    if len(sizes) != 1 or sizes & {-1, 0} or not dense or not all(isinstance(leaf, _PLAIN) for leaf in plain):
        return None
    shared = [f"{t.dtype} {tuple(t.shape[1:])}" if isinstance(t, Tensor) else f"{t!r}" for t in leaves]
    begin = hashlib.blake2b(repr([about, *shared]).encode(), digest_size=16)
    rows = [_bytes_of(t) for t in tensors]
    keys = bytearray()
    for row in range(sizes.pop()):
        digest = begin.copy()
        for of_all in rows:
            digest.update(of_all[row])
        keys += digest.digest()
    return torch.frombuffer(keys, dtype=torch.int64).view(-1, 2)


def _bytes_of(tensor: Tensor) -> Any:
    """Return the bytes of each row, as an array (B, bytes)."""
    whole = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return whole.view(len(whole), -1).view(torch.uint8).numpy() if whole.numel() else [b""] * len(whole)
