"""The networks that VAAL and SRAAL train: a discriminator, and an autoencoder together with it."""

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_al.checks import Findings, check_count
from lightning_al.nn.vae import VAE


class Discriminator(nn.Sequential):
    """Tells latent vectors (B, latent) of labelled samples from those of unlabelled ones: logits (B,), labelled > 0.

    Example:
        >>> import torch
        >>> Discriminator(5)(torch.zeros(3, 5)).shape
        torch.Size([3])
    """

    def __init__(self, latent: int, width: int = 512) -> None:
        super().__init__(
            *(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()),
            *(nn.Linear(width, 1), nn.Flatten(0)),
        )


class Adversaries(nn.Module):
    """A :class:`VAE` and the :class:`Discriminator` of its latent means.

    Args:
        shape: Of one input, without the batch.
        latent: Length of the latent vectors.
        width: Of the VAE.
        classes: If given, the second half of each latent vector is classified (SRAAL's supervised half), and only the
            first half is decoded. ``latent`` must then be even.

    Raises:
        TypeError: If a number is no integer.
        ValueError: If the VAE cannot be made, a number is below 1, or ``latent`` cannot be halved for ``classes``.

    Example:
        >>> import torch
        >>> networks = Adversaries((3, 8, 8), latent=6, width=4, classes=10)
        >>> networks(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2])
    """

    def __init__(self, shape: Sequence[int], latent: int, width: int = 32, classes: int | None = None) -> None:
        super().__init__()
        with Findings() as findings:
            if findings.of(check_count, "latent", latent):
                findings.refuse_if(
                    classes is not None and latent % 2 == 1,
                    f"`latent` must be even where half of it is classified (`classes={classes}`), got {latent}.",
                )
            findings.of(check_count, "classes", classes, optional=True)
        self.decoded = latent if classes is None else latent // 2
        self.vae = VAE(shape, latent, width, self.decoded)
        self.discriminator = Discriminator(latent)
        self.classifier = None if classes is None else nn.Linear(latent - self.decoded, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """The discriminator's logits (B,) of the latent means of inputs (B, ...)."""
        mean, _ = self.vae.encode(self.vae.standardise(inputs))
        logits: Tensor = self.discriminator(mean)
        return logits
