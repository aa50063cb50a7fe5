"""What a round costs beside Lightning's own fits, and where Lightning's time goes on a tiny model.

    python tests/benchmarks/rounds.py
    python tests/benchmarks/rounds.py --only calls
    python tests/benchmarks/rounds.py --only trainer cnn --repeats 15

``calls``: how many functions Python calls for a step, an epoch, a label and a round of a campaign, over those that it
calls for a step of Lightning's own fit of the same rows with the same callbacks: the same on any machine, however busy.
``overhead``: the time of a campaign of a few rounds by ``Random``, which has no pass over the pool, over that of as
many ``Trainer.fit`` on as many samples with the same loader settings, for fits of so many steps. ``trainer``: a step
of ``Trainer.fit`` of a network of two layers over one of a plain loop, with one thing after the other switched off.
``cnn``: the same of ``PlainCNN`` on batches of 10, and of what is around it in ``recipes/fashion_mnist/small.yaml``.
Seconds of the process, in turn; medians of the ratios.
"""

import argparse
import contextlib
import cProfile
import io
import logging
import pstats
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import Random
from lightning_al.zoo import Classifier, PlainCNN

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
ROWS, BATCH, INITIAL, ASKED = 2000, 20, 200, 100

Run = Callable[[], object]


class Net(L.LightningModule):
    """Two layers, or another network; logs its loss, or does not."""

    def __init__(self, logs: bool = True, net: nn.Module | None = None, **options: Any) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 5)) if net is None else net
        self.logs, self.options = logs, {"lr": 0.1, **options}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        if self.logs:
            self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), **self.options)


class Rows(L.LightningDataModule):
    """Random rows, or the first of them."""

    def __init__(self, count: int = ROWS) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(ROWS, 20, generator=generator)
        self.train_set = Subset(TensorDataset(x, torch.randint(5, (ROWS,), generator=generator)), range(count))

    def train_dataloader(self) -> DataLoader:
        return loader_of(self.train_set)


def loader_of(data: Any, batch_size: int = BATCH) -> DataLoader:
    return DataLoader(data, batch_size=batch_size, shuffle=True)


def seconds(run: Run) -> float:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        start = time.process_time()
        run()
        return time.process_time() - start


def trainer(folder: str, epochs: int, **options: Any) -> L.Trainer:
    return L.Trainer(default_root_dir=folder, max_epochs=epochs, accelerator="cpu", devices=1, **options)


def campaign(epochs: int, initial: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"initial": initial, "query_size": ASKED, "rounds": rounds, "evaluate": None}
        loop = ActiveLearningLoop(Net(), Rows(), dirpath=folder, **sizes)
        loop.run(trainer(folder, epochs, **QUIET, callbacks=[Random()]))


def fit(epochs: int, labels: int) -> None:
    """Lightning's own, with the same callback, bound as in a campaign."""
    with tempfile.TemporaryDirectory() as folder:
        trainer(folder, epochs, **QUIET, callbacks=[L.Callback()]).fit(Net(), datamodule=Rows(labels))


# -- calls ---------------------------------------------------------------------------------------------------------


class Calls(NamedTuple):
    """How many functions are called, for each of these."""

    step: float
    epoch: float
    label: float
    fit: float


def calls(run: Run) -> int:
    profile = cProfile.Profile()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        profile.runcall(run)
    return pstats.Stats(profile).total_calls


def calls_of(run: Callable[[int, int], None]) -> Calls:
    """Take apart the calls of fits of so many epochs on so many labels."""
    run(1, 200)  # what is done once a process
    few, more, many, most = (calls(lambda e=e, n=n: run(e, n)) for n in (200, 400) for e in (2, 12))
    step = (most - many - more + few) / (10 * 200 / BATCH)
    epoch = (more - few) / 10 - step * 200 / BATCH
    label = (many - few - 2 * step * 200 / BATCH) / 200
    return Calls(step, epoch, label, few - 2 * (epoch + step * 200 / BATCH) - 200 * label)


class Overhead(NamedTuple):
    """What a campaign calls beyond Lightning's fits, in steps of these: for each step, epoch, label and round."""

    step: float
    epoch: float
    label: float
    round: float
    opening: float

    def share(self, labels: int, epochs: int, asked: int) -> float:
        """Return by what share a further round is more than its fit."""
        steps = epochs * labels / BATCH
        return (self.step * steps + self.epoch * epochs + self.label * asked + self.round) / steps


def overhead_in_calls() -> Overhead:
    lightnings, ours = calls_of(fit), calls_of(lambda epochs, labels: campaign(epochs, labels, 0))
    one, two = (calls(lambda r=r: campaign(1, INITIAL, r)) for r in (1, 2))
    labels = INITIAL + 2 * ASKED
    round_ = two - one - ours.epoch - ours.step * labels / BATCH - ours.label * ASKED
    beyond = (
        ours.step - lightnings.step,
        ours.epoch - lightnings.epoch,
        ours.label,
        round_ - lightnings.fit,
        ours.fit - round_,
    )
    return Overhead(*(each / lightnings.step for each in beyond))


# -- times ---------------------------------------------------------------------------------------------------------


def overhead(epochs: int, rounds: int, repeats: int) -> float:
    """Return by how much a campaign takes longer than its fits, as a share of these."""

    def fits() -> None:
        for i in range(rounds + 1):
            fit(epochs, INITIAL + ASKED * i)

    of = over_first({"fits": fits, "campaign": lambda: campaign(epochs, INITIAL, rounds)}, repeats)
    return of["campaign"] - 1


def over_first(kinds: dict[str, Run], repeats: int) -> dict[str, float]:
    """Return the median of the ratios of each one's time to that of the first, right beside it in turn."""
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(-1, repeats):
        for kind in list(kinds)[:: -1 if turn % 2 else 1]:
            of_run = seconds(kinds[kind])
            if turn >= 0:  # the first ones warm up
                took[kind].append(of_run)
    first = next(iter(took.values()))
    return {kind: statistics.median(a / b for a, b in zip(of, first, strict=True)) for kind, of in took.items()}


def fitted(model: Callable[[], L.LightningModule], data: Any, batch: int, epochs: int = 2, **options: Any) -> Run:
    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            trainer(folder, epochs, **options).fit(model(), loader_of(data, batch))

    return run


def plain_loop(net: Callable[[], nn.Module], data: Any, batch: int, epochs: int = 2, optimizer: Any = None) -> Run:
    def run() -> None:
        model = net()
        made = (optimizer or (lambda params: torch.optim.SGD(params, 0.1)))(model.parameters())
        for _ in range(epochs):
            for x, y in loader_of(data, batch):
                made.zero_grad()
                F.cross_entropy(model(x), y).backward()
                made.step()

    return run


def of_trainer(repeats: int) -> dict[str, float]:
    """Return a step of each kind of Trainer over one of a plain loop."""
    data = Rows().train_set

    def of(logs: bool = True, **options: Any) -> Run:
        return fitted(lambda: Net(logs), data, BATCH, **options)

    kinds: dict[str, Run] = {"a plain loop": plain_loop(lambda: Net().net, data, BATCH), "`Trainer()`": of()}
    for switch in (
        {"enable_progress_bar": False},
        {"logger": False},
        {"enable_checkpointing": False},
        {"enable_model_summary": False},
        {"num_sanity_val_steps": 0},
        {"log_every_n_steps": 1},
    ):
        kinds[f"`Trainer({', '.join(f'{name}={value}' for name, value in switch.items())})`"] = of(**switch)
    return over_first(
        {
            **kinds,
            "all these `False`: quiet": of(**QUIET),
            "quiet, and no `self.log` in `training_step`": of(logs=False, **QUIET),
            "`Trainer(barebones=True)`": of(logs=False, barebones=True),
        },
        repeats,
    )


def of_cnn(repeats: int) -> dict[str, float]:
    """Return a step of ``PlainCNN`` on ten images, of each kind, over one of a plain loop."""
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(
        torch.randn(600, 1, 28, 28, generator=generator), torch.randint(10, (600,), generator=generator)
    )

    def loop() -> None:
        with tempfile.TemporaryDirectory() as folder:
            users = L.LightningDataModule.from_datasets(data, batch_size=10)
            users.train_dataloader = lambda: loader_of(data, 10)
            sizes = {"initial": 590, "query_size": 10, "rounds": 0, "evaluate": None}
            run = ActiveLearningLoop(Classifier(PlainCNN(), 10), users, dirpath=folder, **sizes)
            run.run(trainer(folder, 2, **QUIET, callbacks=[Random()]))

    def adam(**options: Any) -> Any:
        return lambda params: torch.optim.Adam(params, **options)

    def last() -> nn.Module:
        return PlainCNN().to(memory_format=torch.channels_last)

    class Bare(Net):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    return over_first(
        {
            "a plain loop, Adam": plain_loop(PlainCNN, data, 10, optimizer=adam()),
            "`Adam(foreach=True)`": plain_loop(PlainCNN, data, 10, optimizer=adam(foreach=True)),
            "`Adam(fused=True)`": plain_loop(PlainCNN, data, 10, optimizer=adam(fused=True)),
            "`channels_last`": plain_loop(last, data, 10, optimizer=adam()),
            "a quiet `Trainer`, a module that logs nothing": fitted(lambda: Bare(False, PlainCNN()), data, 10, **QUIET),
            "and `self.log` of the loss": fitted(lambda: Bare(True, PlainCNN()), data, 10, **QUIET),
            "the zoo's `Classifier`": fitted(lambda: Classifier(PlainCNN(), 10), data, 10, **QUIET),
            "the same through the loop": loop,
        },
        repeats,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ["calls", "overhead", "trainer", "cnn"]
    parser.add_argument("--only", choices=parts, nargs="*", default=parts)
    parser.add_argument("--epochs", type=int, nargs="*", default=[10, 50])
    parser.add_argument("--repeats", type=int, default=7)
    told = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning_al"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    for name, table in (("trainer", of_trainer), ("cnn", of_cnn)):
        if name in told.only:
            print("| a step of | over a plain loop's |\n|---|---|")
            for kind, ratio in table(told.repeats).items():
                print(f"| {kind} | {ratio:.2f} |", flush=True)
            print()
    if "calls" in told.only:
        of = overhead_in_calls()
        print("Functions called beyond Lightning's own fits, in steps of these: for each")
        print(", ".join(f"{name} {value:.3f}" for name, value in of._asdict().items()))
        for epochs in told.epochs:
            share = of.share(INITIAL + ASKED, epochs, ASKED)
            print(f"A round of {epochs} epochs on {INITIAL + ASKED} labels, {ASKED} of them new: {share:.1%}")
    if "overhead" in told.only:
        for epochs in told.epochs:
            steps = epochs * (INITIAL + ASKED) // BATCH
            share = overhead(epochs, rounds=2, repeats=told.repeats)
            print(f"\nA campaign of 3 fits of {steps} steps each, beyond the fits: {share:.1%}", flush=True)


if __name__ == "__main__":
    main()
