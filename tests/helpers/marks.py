"""Marks of tests, and of single cases of a parametrised one."""

from typing import Any

import pytest
import torch


def slow(*values: Any) -> Any:
    """A case for `make test-slow` alone."""
    return pytest.param(*values, marks=pytest.mark.slow)


with_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
