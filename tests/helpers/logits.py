"""Logits of confident samples, at which float32 rounds the largest probability to 1."""

import torch

from tests.helpers.models import randn

TINY = torch.finfo(torch.float32).tiny  # below it float32 keeps ever fewer bits


def lead(by: float, dtype=torch.float32, top: int = 1):
    """Logits that float32 holds exactly, class ``top`` ahead of the others by about ``by``."""
    z = randn(4, 5).float()
    z[:, top] = z.amax(1) + by
    return z.to(dtype)
