"""Products of two matrices by the fastest kernel that torch has for them."""

import torch
from torch import Tensor

ONEDNN_PRODUCT = getattr(getattr(torch.ops, "mkldnn", None), "_linear_pointwise", None)
"""oneDNN's matrix product, which torch itself takes for compiled models only; there since torch 2.0, where torch was
built with oneDNN. On CPUs that the library behind ``torch.mm`` has no vector instructions for it is twice as fast."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a bᵀ`` of contiguous matrices (R, K) and (J, K), (R, J)."""
    if (
        ONEDNN_PRODUCT is not None
        and a.device.type == "cpu"
        and a.dtype == b.dtype == torch.float32
        and a.numel() > 0
        and torch.backends.mkldnn.enabled  # type: ignore[attr-defined]
    ):
        result: Tensor = ONEDNN_PRODUCT(a, b, None, "none", [], "")
        return result
    return a @ b.t()
