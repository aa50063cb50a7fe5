"""The options of adversarial acquisitions, and what is refused."""

from dataclasses import dataclass

from lightning_al.checks import Findings, check_count, check_number
from lightning_al.functional.losses.adversarial import check_reduction


@dataclass(frozen=True)
class AdversarialOptions:
    """How a VAE and a discriminator are made and trained, checked.

    :class:`~lightning_al.acquisition.VAAL` and :class:`~lightning_al.acquisition.SRAAL` say what each option does.

    Raises:
        TypeError: If an option has the wrong type.
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
    lr_decay: float = 1.0
    lr_decays: int = 30

    def rate_after(self, step: int) -> float:
        """Return the learning rate once this many steps are done."""
        done = step // max((self.steps or 1) // self.lr_decays, 1)
        return self.lr * self.lr_decay ** min(done, self.lr_decays)

    def __post_init__(self) -> None:
        with Findings() as findings:
            findings.refuse_if(
                self.steps is None and self.seconds is None,
                "Training needs a budget: `steps=`, `seconds=` or both, got neither.",
            )
            for name in ("batch_size", "latent", "width", "vae_steps", "lr_decays"):
                findings.of(check_count, name, getattr(self, name))
            findings.of(check_count, "steps", self.steps, optional=True)
            findings.of(check_number, "seconds", self.seconds, above=0, optional=True)
            findings.of(check_number, "lr", self.lr, above=0)
            if findings.of(check_number, "lr_decay", self.lr_decay, above=0, most=1):
                findings.refuse_if(
                    self.lr_decay < 1 and self.steps is None,
                    f"`lr_decay={self.lr_decay}` lowers the rate {self.lr_decays} times over the steps, and "
                    "`steps=None` does not say how many there are. Give `steps=`.",
                )
            for name in ("beta", "adversarial", "reconstruction", "supervision"):
                findings.of(check_number, name, getattr(self, name), least=0)
            findings.of(check_reduction, self.reduction)
