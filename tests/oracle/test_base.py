"""Prices that an oracle of one's own may name."""

import pytest

from lightning_al import ActiveLearningLoop, AwaitTell, DatasetOracle, NoisyOracle, SegmentationTask
from lightning_al.oracle import LabelFiles, LabelStudio
from tests.helpers.oracles import campaign
from tests.helpers.projects import Data, Net, make_trainer


def test_told_labels_have_prices(tmp_path):
    class People(AwaitTell):
        def cost(self, index):
            return 2.0

    loop = ActiveLearningLoop(Net(), Data(), initial=4, query_size=3, budget=15, oracle=People(), dirpath=tmp_path)
    trainer = make_trainer(tmp_path, max_epochs=1)
    asked = loop.ask(trainer)
    loop.tell(asked, [0, 1, 2, 0])
    with pytest.raises(ValueError, match=r"`ask\(k=4\)` is more than the budget has left, 3"):
        loop.ask(trainer, k=4)
    asked = loop.ask(trainer)
    loop.tell(asked, [0, 1, 2])
    loop.tell(asked[:1], [1])  # again: it is not paid twice
    assert loop.pool.spent == 14
    assert loop.ask(trainer) == []


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_prices_that_are_none(tmp_path, price):
    class Priced(DatasetOracle):
        def cost(self, index):
            return price

    with pytest.raises(ValueError, match=r"`Priced.cost` must give a number of at least 0, got .* for dataset index"):
        campaign(tmp_path, Priced(), budget=50)
    with pytest.raises(ValueError, match="`price` must be at least 0 and finite"):
        NoisyOracle(price=price)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: LabelFiles(folder), r'`LabelFiles\(format=\'csv\'\)` has no room .* take `format="png"`'),
        (lambda folder: LabelStudio("Cats", kind="boxes"), r"squares of samples, which are answered by masks"),
    ],
)
def test_oracles_that_cannot_show_a_part_refuse_regions(tmp_path, make, says):
    with pytest.raises(ValueError, match=says):
        make(tmp_path).bind([0], SegmentationTask(3, regions=3))
