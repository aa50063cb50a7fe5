"""VAAL and SRAAL, and what trains them."""

from lightning_al.acquisition.adversarial.sraal import SRAAL
from lightning_al.acquisition.adversarial.vaal import VAAL

__all__ = ["SRAAL", "VAAL"]
