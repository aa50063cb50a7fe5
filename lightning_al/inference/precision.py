"""The least precision in which scores, norms and perturbations are computed."""

import torch
from torch import Tensor, nn

from lightning_al.inference.module_state import modules_of, tensors_of_modules

_HALF = (torch.float16, torch.bfloat16)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return half-precision tensors as float32, and everything else as it is."""
    return tensor.float() if tensor.dtype in _HALF else tensor


def is_half(model: nn.Module) -> bool:
    """Whether some weights are in half precision."""
    return any(p.dtype in _HALF for p in tensors_of_modules(modules_of(model), "_parameters"))
