"""Fixtures of the selectors' tests."""

import pytest

from lightning_al.functional.geometry import nearest


@pytest.fixture(params=[None, 5], ids=["whole", "blocks"], scope="module")
def size_of_blocks(request):
    """Blocks of rows as they are, which hold small sets whole, and of a few rows at a time."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(nearest, "BLOCK_NUMBERS", request.param)
        yield
