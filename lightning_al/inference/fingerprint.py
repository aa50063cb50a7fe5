"""A fingerprint of a model and of how it computes: another one, where its outputs may be others."""

import hashlib
import re

import torch
from torch import nn

from lightning_al.inference.module_state import named_modules_of

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_PLAIN = (bool, float, str)  # not integers, which models count with


def fingerprint(model: nn.Module) -> str:
    """Return a hash of a model's weights, buffers and layers, its flags and numbers, and torch's ways to compute.

    Not looked at: whether it trains, since scores are in ``eval()`` anyway; code; and integers among a module's
    attributes, with which some count their calls.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> before = fingerprint(layer)
        >>> layer.scale = 2.0
        >>> fingerprint(layer) == before
        False
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr(_ways(model)).encode())
    digest.update(_ADDRESS.sub("", repr(model)).encode())
    for name, module in named_modules_of(model):
        kind = type(module)
        flags = sorted(
            (k, v) for k, v in vars(module).items() if k[:1] != "_" and k != "training" and type(v) in _PLAIN
        )
        digest.update(repr((name, kind.__module__, kind.__qualname__, flags)).encode())
        for attribute, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                digest.update(repr((attribute, tensor.dtype, tuple(tensor.shape))).encode())
                flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().flatten()
                digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


def _ways(model: nn.Module) -> tuple[object, ...]:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    cuda = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    return torch.__version__, name, torch.get_float32_matmul_precision(), cuda, torch.get_default_dtype()
