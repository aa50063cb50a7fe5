"""Marks of single cases of a parametrised test."""

from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """A case for `make test-slow` alone."""
    return pytest.param(*values, marks=pytest.mark.slow)
