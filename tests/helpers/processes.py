"""Campaigns on several forked processes, from weights that stay as they are."""

import torch
from lightning.pytorch.strategies import DDPStrategy

from lightning_al import ActiveLearningLoop
from tests.helpers.projects import Data, Net, make_trainer


class Frozen(Net):
    """Does not learn, so that every number of processes scores the same weights."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fork(processes):
    return DDPStrategy(start_method="fork"), processes


def run(tmp_path, processes, *, model=None, acquisition=None, data=None, **options):
    strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
    trainer = make_trainer(
        tmp_path, acquisition=acquisition, strategy=strategy, devices=devices, max_epochs=1
    )  # fmt: skip
    options = {"initial": 6, "query_size": 5, "rounds": 2, "dirpath": tmp_path / f"{processes}", **options}
    loop = ActiveLearningLoop(model or Frozen(), data or Data(), **options)
    return loop.run(trainer), loop
