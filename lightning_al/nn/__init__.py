"""Helper networks of acquisitions, as plain modules."""

from lightning_al.nn.gcn import GCN
from lightning_al.nn.loss_prediction import LossPrediction

__all__ = ["GCN", "LossPrediction"]
