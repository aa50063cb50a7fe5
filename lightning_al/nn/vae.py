"""A variational autoencoder for inputs of any shape."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_al.checks import Findings, check_count

SMALL = 4
"""Axes longer than this are halved by the next layer."""

_CONVOLUTIONS: dict[int, tuple[type[nn.Module], type[nn.Module]]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


class VAE(nn.Module):
    r"""Encodes inputs as normal distributions :math:`\mathcal N(\mu, \mathrm{diag}\, \sigma^2)`, decodes what is drawn.

    The layers follow from the shape of one input. Channels and one to three axes, (C, L), (C, H, W) or (C, D, H, W), of
    any length: convolutions that halve every axis longer than 4, as many as that takes, and their mirror image. One
    axis, (d,): two linear layers, and their mirror image. No layer looks at other samples of the batch (the authors of
    VAAL have batch normalisation, with statistics of labelled and unlabelled batches apart in training and of both in
    scoring).

    Args:
        shape: Of one input, without the batch.
        latent: Length of :math:`\mu`.
        width: Channels after the first convolution; each next one has twice as many, up to 8 times. Eight times as many
            units in the layers for feature vectors.
        decoded: How many entries of a latent vector, from the first, the decoder gets; default all.

    Raises:
        TypeError: If a number is no integer.
        ValueError: If there is no such network for the shape, a number is below 1, or more is decoded than there is.

    Example:
        >>> vae = VAE((3, 9, 14), latent=5, width=4)
        >>> mean, log_variance = vae.encode(torch.zeros(2, 3, 9, 14))
        >>> mean.shape, vae.decode(mean).shape
        (torch.Size([2, 5]), torch.Size([2, 3, 9, 14]))
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int], latent: int, width: int = 32, decoded: int | None = None) -> None:
        super().__init__()
        with Findings() as findings:
            findings.refuse_if(
                not 1 <= len(shape) <= 4 or math.prod(shape) == 0,
                f"Each input must have 1 to 4 axes, none of them empty: features (d,), or channels and 1 to 3 axes, as "
                f"(C, H, W). Got {tuple(shape)}.",
            )
            is_length = findings.of(check_count, "latent", latent)
            findings.of(check_count, "width", width)
            if findings.of(check_count, "decoded", decoded, optional=True) and is_length and decoded is not None:
                findings.refuse_if(
                    decoded > latent, f"`decoded={decoded}` is more than a vector of `latent={latent}` entries has."
                )
        decoded = latent if decoded is None else decoded
        self.shape = tuple(shape)
        down, up, size = _linear(shape[0], width) if len(shape) == 1 else _convolutional(shape, width)
        self.encoder = nn.Sequential(*down, nn.Linear(size, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(decoded, size), nn.ReLU(), *up)
        each = (shape[0], *(1 for _ in shape[1:]))
        self.register_buffer("shift", torch.zeros(each))
        self.register_buffer("scale", torch.ones(each))

    def standardise(self, inputs: Tensor) -> Tensor:
        """Inputs less ``shift``, over ``scale``, per channel or feature: what is encoded and what is decoded."""
        return (inputs.to(self.shift.dtype) - self.shift) / self.scale

    def encode(self, standardised: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance, (B, latent) each."""
        mean, log_variance = self.encoder(standardised).chunk(2, 1)
        return mean, log_variance

    def decode(self, latent: Tensor) -> Tensor:
        """Standardised inputs (B, ...) of latent vectors (B, decoded)."""
        decoded: Tensor = self.decoder(latent)
        return decoded


def _linear(size: int, width: int) -> tuple[list[nn.Module], list[nn.Module], int]:
    hidden = 8 * width
    down = [nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    return down, [nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, size)], hidden


def _convolutional(shape: Sequence[int], width: int) -> tuple[list[nn.Module], list[nn.Module], int]:
    convolution, transposed = _CONVOLUTIONS[len(shape) - 1]
    channels, axes = shape[0], tuple(shape[1:])
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    while not down or max(axes) > SMALL:
        stride = tuple(2 if n > SMALL else 1 for n in axes)
        wider = width * 2 ** min(len(down) // 2, 3)
        down += [convolution(channels, wider, 3, stride=stride, padding=1), nn.ReLU()]
        # Undoes the rounding up, so that sizes come back exactly.
        extra = tuple((n - 1) % s for n, s in zip(axes, stride, strict=True))
        back = transposed(wider, channels, 3, stride=stride, padding=1, output_padding=extra)
        up = [back, *([nn.ReLU(), *up] if up else [])]
        channels, axes = wider, tuple(-(-n // s) for n, s in zip(axes, stride, strict=True))
    return [*down, nn.Flatten()], [nn.Unflatten(1, (channels, *axes)), *up], channels * math.prod(axes)
