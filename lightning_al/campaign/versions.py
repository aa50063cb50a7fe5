"""The versions that a campaign runs with, read without importing anything."""

import functools
import platform
from importlib import metadata

PACKAGES = ("lightning-al", "lightning", "torch", "torchvision", "torchmetrics", "numpy", "scipy")
"""Whose versions are of interest."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed.

    Example:
        >>> {"python", "torch", "lightning"} <= versions().keys()
        True
    """
    return {"python": platform.python_version(), **_installed()}


@functools.cache  # what is imported stays, whatever is installed meanwhile
def _installed() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
