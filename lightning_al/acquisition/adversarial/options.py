"""The options of adversarial acquisitions, and what is refused."""

from dataclasses import dataclass

from lightning_al.checks import check_count, check_number
from lightning_al.functional.losses.adversarial import check_reduction


@dataclass(frozen=True)
class AdversarialOptions:
    """How a VAE and a discriminator are made and trained, checked.

    Attributes:
        steps: Pairs of a labelled and an unlabelled batch to train on; None: until ``seconds`` are over.
        seconds: Time after which training ends, at the latest; picks then depend on how fast the machine is.
        batch_size: Samples per batch of either kind; at most as many as there are.
        latent: Length of the codes.
        width: Channels of the VAE's first layer.
        beta: Weight of the divergence in the VAE's loss.
        adversarial: Weight of the discriminator in the VAE's loss.
        reduction: ``"sample"``: the VAE's loss is a sum over the values of a sample; or ``"batch"``, as in the code of
            VAAL's authors. See :func:`lightning_al.functional.vae_loss`.
        vae_steps: Steps of the VAE, each on batches of its own, for one of the discriminator.
        lr: Learning rate of Adam, for both.
        reconstruction: Weight of the squared error in the VAE's loss.
        supervision: Weight of the cross-entropy in the VAE's loss, where half of the code is classified.

    Raises:
        ValueError: If an option is out of range.
    """

    steps: int | None
    seconds: float | None
    batch_size: int
    latent: int
    width: int
    beta: float
    adversarial: float
    reduction: str
    vae_steps: int
    lr: float
    reconstruction: float = 1.0
    supervision: float = 1.0

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise ValueError("Training needs a budget: `steps=`, `seconds=` or both, got neither.")
        for name in ("batch_size", "latent", "width", "vae_steps"):
            check_count(name, getattr(self, name))
        check_count("steps", self.steps, optional=True)
        check_number("seconds", self.seconds, above=0, optional=True)
        check_number("lr", self.lr, above=0)
        for name in ("beta", "adversarial", "reconstruction", "supervision"):
            check_number(name, getattr(self, name), least=0)
        check_reduction(self.reduction)
