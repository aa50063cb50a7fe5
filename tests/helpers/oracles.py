"""Oracles, prices, and a small campaign with them."""

from lightning_al import ActiveLearningLoop, Oracle
from lightning_al.acquisition import Entropy
from tests.helpers.projects import Data, Net, make_trainer

PRICES = {i: 0.5 + (i % 7) for i in range(60)}


class Answering(Oracle):
    """Answers what ``answer`` gives for each index."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def request(self, indices):
        self.asked = list(indices)

    def poll(self):
        return {i: self.answer(i) for i in self.asked}


def campaign(folder, oracle, acquisition=None, resume=False, **options):
    options = {"initial": 6, "query_size": 5, **options}
    loop = ActiveLearningLoop(Net(), Data(), oracle=oracle, dirpath=folder, **options)
    return loop, loop.run(make_trainer(folder, acquisition=acquisition or Entropy(), max_epochs=1), resume=resume)
