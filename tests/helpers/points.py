"""Points in space, and their directions by hand."""

import math

from tests.helpers.models import randn


def blobs(centres, each, spread=0.02):
    """Groups of points, in float32."""
    return (randn(centres, 8).repeat_interleave(each, 0) + spread * randn(centres * each, 8, seed=2)).float()


def units(features):
    """By hand, in Python's floats."""
    rows = [] if features is None else features.double().tolist()
    return [[v / (math.hypot(*row) or 1.0) for v in row] for row in rows]
