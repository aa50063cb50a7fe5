"""Helper networks of acquisitions, as plain modules."""

from lightning_al.nn.adversaries import Adversaries, Discriminator
from lightning_al.nn.gcn import GCN
from lightning_al.nn.loss_prediction import LossPrediction
from lightning_al.nn.vae import VAE

__all__ = ["GCN", "VAE", "Adversaries", "Discriminator", "LossPrediction"]
