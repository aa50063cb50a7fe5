"""Runs the small project of :mod:`tests.helpers.projects`, and a callback that records what its rounds do."""

import lightning as L

from lightning_al import ActiveLearningLoop
from tests.helpers.projects import Data, Net, make_trainer


def run(tmp_path, *callbacks, model=None, data=None, trainer=None, **options):
    options = {"initial": 6, "query_size": 4, "rounds": 3, "dirpath": tmp_path / "c", **options}
    trainer = trainer or make_trainer(tmp_path, *callbacks)
    loop = ActiveLearningLoop(model or Net(), data or Data(), **options)
    return loop, loop.run(trainer), trainer


class Recorder(L.Callback):
    """Knows of the rounds, so it keeps its state."""

    def __init__(self):
        self.events, self.weights, self.epochs, self.steps, self.started = [], [], [], [], []

    def on_round_start(self, trainer, pl_module, loop):
        self.events.append("round_start")

    def on_query_start(self, trainer, pl_module, loop):
        self.events.append("query_start")

    def on_query_end(self, trainer, pl_module, loop):
        self.events.append("query_end")

    def on_round_end(self, trainer, pl_module, loop):
        self.events.append("round_end")

    def on_train_start(self, trainer, pl_module):
        self.started.append(pl_module.net[0].weight.detach().clone())
        self.epochs.append([])

    def on_train_epoch_start(self, trainer, pl_module):
        self.epochs[-1].append(trainer.current_epoch)

    def on_train_end(self, trainer, pl_module):
        self.events.append("fit")
        self.weights.append(pl_module.net[0].weight.detach().clone())
        self.steps.append(trainer.global_step)
