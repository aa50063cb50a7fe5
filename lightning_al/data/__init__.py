"""The user's data seen through a pool."""

from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.loaders import Loaders
from lightning_al.data.pool import Pool

__all__ = ["ActiveDataModule", "Loaders", "Pool"]
