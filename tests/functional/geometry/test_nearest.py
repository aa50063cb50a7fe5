"""The lazy search for the farthest row beside one that looks at every row every time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.distributed.shard import Shard
from lightning_al.functional.geometry import nearest as module
from lightning_al.functional.geometry.nearest import Nearest
from lightning_al.functional.geometry.spaces import OuterProducts, Scalars
from tests.helpers.extent import examples
from tests.helpers.models import randn

QUESTIONS = ["farthest", "drawn", "leave out", "nothing"]


@pytest.fixture(autouse=True, scope="module")
def _small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_NUMBERS", 12)
        patch.setattr(module, "PAIRS_AT_ONCE", 7)
        yield


def space_of(x):
    """The points, and the distances that the space measures between them, in float64."""
    shard = Shard.whole(len(x))
    if x.ndim == 1:
        return Nearest(Scalars(x, "x", shard), shard, 100), (x.unsqueeze(1) - x).abs()
    squares = (x.unsqueeze(1) - x).square().sum(2)
    return Nearest(OuterProducts({"x": x}, shard, centred=True), shard, 100), squares


@examples(150)
@given(
    st.sampled_from([None, 1, 3]),
    st.integers(1, 40),
    st.integers(0, 2**31),
    st.lists(st.tuples(st.integers(0, 39), st.sampled_from(QUESTIONS)), max_size=30),
)
def test_any_course_of_centres_and_questions(width, n, seed, course):
    x = randn(n, seed=seed) if width is None else randn(n, width, seed=seed)
    lazy, distances = space_of(x)
    known = torch.full((n,), torch.inf, dtype=torch.float64)
    for turn, (centre, question) in enumerate(course):
        centre %= n
        lazy.approach(x[centre : centre + 1])
        known = torch.minimum(known, distances[:, centre])
        if question == "farthest":
            value, position = lazy.largest()
            assert position == int(known.argmax())
            torch.testing.assert_close(value, float(known.max()), rtol=1e-9, atol=1e-12)
        if question == "drawn":
            times = randn(n, seed=seed + turn).abs() + 0.1
            value, position = lazy.largest(over=times)
            assert position == int((known / times).argmax())
            torch.testing.assert_close(value, float((known / times).max()), rtol=1e-9, atol=1e-12)
        if question == "leave out":
            lazy.leave_out(centre)
            known[centre] = 0.0


def test_the_lowest_position_within_rounding():
    x = torch.tensor([0.0] * 30 + [5.0 - 1e-9, 5.0] + [1.0] * 30 + [5.0], dtype=torch.float64)
    lazy, _ = space_of(x)
    lazy.approach(x[:1])
    assert lazy.largest() == (5.0, 31)
    assert lazy.largest(lambda index, distance: 1e-6 * distance) == (5.0, 30)
    lazy.leave_out(31)
    assert lazy.largest() == (5.0, 62)


def test_a_centre_far_away_is_no_work(monkeypatch):
    """Ten heaps of rows, and centres in the first: only the farthest heap is looked at again."""
    heaps = torch.arange(10.0).repeat_interleave(40) * 1000
    x = heaps + torch.arange(400) % 40
    lazy, _ = space_of(x.double())
    looked: list[slice] = []
    measure = Scalars.distances
    monkeypatch.setattr(Scalars, "distances", lambda self, rows, c: looked.append(rows) or measure(self, rows, c))
    lazy.approach(x[:1].double())
    assert lazy.largest() == (9039.0, 399)
    looked.clear()
    for centre in range(1, 30):
        lazy.approach(x[centre : centre + 1].double())
        assert lazy.largest()[1] == 399
    assert looked
    assert all(rows.start >= 360 for rows in looked)


def test_no_rows():
    lazy, _ = space_of(torch.zeros(0, 3).double())
    lazy.approach(torch.zeros(1, 3).double())
    assert lazy.largest() == (-torch.inf, 0)
