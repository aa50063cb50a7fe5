"""Parts of samples as questions: their names, and what of an answer is of them."""

import numpy as np
import pytest

from lightning_al.campaign.regions import region_blob
from lightning_al.oracle.regions import Region, together, within
from lightning_al.tasks.annotations import Mask


def region(*rows):
    return Region(region_blob(np.array(rows, dtype=bool)))


def test_a_name_is_of_the_pixels():
    names = [region([1, 0]).name, region([0, 1]).name, region([1], [0]).name, region([1, 0]).name]
    assert names[0] == names[3]
    assert len(set(names)) == 3
    assert region([1, 0]).pixels.tolist() == [[True, False]]


@pytest.mark.parametrize("nothing", [255, 65535, 0])
def test_what_is_within(nothing):
    mask = Mask([[1, 2, nothing]], nothing)
    assert within(mask, region([1, 0, 1])) == Mask([[1, nothing, nothing]], nothing)
    assert within(mask, region([0, 0, 1])).is_blank
    with pytest.raises(ValueError, match=r"The mask is 3 x 1 pixels and the image 1 x 2 \(width x height\)"):
        within(mask, region([1], [0]))


def test_together():
    masks = [Mask([[1, 255, 255]]), Mask([[255, 255, 2]]), Mask([[0, 255, 255]])]
    assert together(masks[:2]) == Mask([[1, 255, 2]])
    assert together(masks) == Mask([[0, 255, 2]])  # the last word
    assert masks[0] == Mask([[1, 255, 255]])
