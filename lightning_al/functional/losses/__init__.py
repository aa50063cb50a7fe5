"""The losses by which helper networks learn."""

from lightning_al.functional.losses.adversarial import adversarial_loss, discriminator_loss, state_uncertainty, vae_loss
from lightning_al.functional.losses.contrastive import nt_xent_loss
from lightning_al.functional.losses.loss_prediction import loss_prediction_loss

__all__ = [
    "adversarial_loss",
    "discriminator_loss",
    "loss_prediction_loss",
    "nt_xent_loss",
    "state_uncertainty",
    "vae_loss",
]
