"""One Trainer, fitted again and again as if it were new."""

from lightning_al.fitting.repeated import RepeatedFit

__all__ = ["RepeatedFit"]
