"""What a round costs beside Lightning's own fits, and where Lightning's time goes on a tiny model.

    python tests/benchmarks/rounds.py
    python tests/benchmarks/rounds.py --only trainer --repeats 5

``overhead``: a campaign of a few rounds by ``Random``, which has no pass over the pool, over as many ``Trainer.fit`` on
as many samples with the same loader settings, for fits of so many steps. ``trainer``: a step of ``Trainer.fit`` of a
network of two layers over one of a plain loop, with more and more of the Trainer switched off. Seconds of the process,
in turn; medians.
"""

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import Random

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
ROWS, BATCH, INITIAL, ASKED = 2000, 20, 200, 100


class Net(L.LightningModule):
    """Two layers; logs its loss, or does not."""

    def __init__(self, logs: bool = True) -> None:
        super().__init__()
        self.net, self.logs = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 5)), logs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        if self.logs:
            self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Rows(L.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.train_set = TensorDataset(
            torch.randn(ROWS, 20, generator=generator), torch.randint(5, (ROWS,), generator=generator)
        )

    def train_dataloader(self) -> DataLoader:
        return loader_of(self.train_set)


def loader_of(data: Any) -> DataLoader:
    return DataLoader(data, batch_size=BATCH, shuffle=True)


def seconds(run: Callable[[], object]) -> float:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        start = time.process_time()
        run()
        return time.process_time() - start


def trainer(folder: str, epochs: int, **options: Any) -> L.Trainer:
    return L.Trainer(default_root_dir=folder, max_epochs=epochs, accelerator="cpu", devices=1, **options)


def overhead(epochs: int, rounds: int, repeats: int) -> float:
    """Return by how much a campaign takes longer than its fits, as a share of these."""
    data, shares = Rows(), []

    def campaign() -> None:
        with tempfile.TemporaryDirectory() as folder:
            sizes = {"initial": INITIAL, "query_size": ASKED, "rounds": rounds, "evaluate": None}
            loop = ActiveLearningLoop(Net(), data, dirpath=folder, **sizes)
            loop.run(trainer(folder, epochs, **QUIET, callbacks=[Random()]))

    def fits() -> None:
        for i in range(rounds + 1):
            with tempfile.TemporaryDirectory() as folder:
                some = Subset(data.train_set, range(INITIAL + ASKED * i))
                trainer(folder, epochs, **QUIET).fit(Net(), loader_of(some))

    for turn in range(repeats + 1):
        took = [seconds(run) for run in (campaign, fits)]
        if turn:  # the first one warms up
            shares.append(took[0] / took[1] - 1)
    return statistics.median(shares)


def of_trainer(repeats: int, epochs: int = 2) -> dict[str, float]:
    """Return a step of each kind of Trainer over one of a plain loop."""
    data = Rows().train_set

    def plain() -> None:
        net = Net().net
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(epochs):
            for x, y in loader_of(data):
                optimizer.zero_grad()
                F.cross_entropy(net(x), y).backward()
                optimizer.step()

    def fit(logs: bool = True, **options: Any) -> Callable[[], None]:
        def run() -> None:
            with tempfile.TemporaryDirectory() as folder:
                trainer(folder, epochs, **options).fit(Net(logs), loader_of(data))

        return run

    kinds = {
        "a plain loop": plain,
        "Trainer()": fit(),
        "enable_progress_bar=False": fit(enable_progress_bar=False),
        "and logger=False, enable_checkpointing=False, enable_model_summary=False": fit(**QUIET),
        "and no self.log in training_step": fit(logs=False, **QUIET),
        "barebones=True": fit(logs=False, barebones=True),
    }
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(repeats + 1):
        for kind, run in kinds.items():
            of_run = seconds(run)
            if turn:
                took[kind].append(of_run)
    plainly = took["a plain loop"]
    return {k: statistics.median(a / b for a, b in zip(v, plainly, strict=True)) for k, v in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["overhead", "trainer"])
    parser.add_argument("--epochs", type=int, nargs="*", default=[10, 100])
    parser.add_argument("--repeats", type=int, default=3)
    told = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning_al"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    if told.only != "overhead":
        print("| a step of | over a plain loop's |\n|---|---|")
        for kind, ratio in of_trainer(told.repeats).items():
            print(f"| {kind} | {ratio:.2f} |", flush=True)
    if told.only != "trainer":
        for epochs in told.epochs:
            steps = epochs * (INITIAL + ASKED) // BATCH
            share = overhead(epochs, rounds=2, repeats=told.repeats)
            print(f"\nA campaign of 3 fits of {steps} steps each, beyond the fits: {share:.1%}", flush=True)


if __name__ == "__main__":
    main()
