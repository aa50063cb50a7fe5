"""What a campaign costs beside training and scoring, on a pool of millions of rows; and what processes gain.

    python tests/benchmarks/scale.py              # all
    python tests/benchmarks/scale.py --only overhead --rows 1000000

``overhead``: the seconds of a round that are neither fit, evaluation nor scoring, on the clock and of the processor,
and the growth of memory over the data, with ``Entropy`` and its largest scores; ten million rows take a few minutes,
most of them the pass. ``selection``: seconds and memory of selections by scores alone, of as many rows. ``processes``:
the scoring pass of one process over that of two, each with one thread, in turn. ``training``: an epoch through the
loop's datamodule over one through the user's own, in turn.
"""

import argparse
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from peak import growth
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_al import ActiveLearningLoop, Campaign
from lightning_al.acquisition import Acquisition, Entropy, Random
from lightning_al.zoo import Classifier, ResNet18

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


class Rows(L.LightningDataModule):
    """A training set, a small validation set, and loaders of fixed batch size."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, batch_size: int) -> None:
        super().__init__()
        self.data = TensorDataset(x, y)
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.data, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(*self.data[:64]), batch_size=64)

    def pool_dataset(self) -> TensorDataset:
        return self.data


def trainer_of(folder: str, acquisition: L.Callback, epochs: int = 1, **options: object) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs, callbacks=[acquisition], accelerator="cpu", default_root_dir=folder, **{**QUIET, **options}
    )


class Numbers(Dataset):
    """Rows that are made when they are read, so that the pool itself takes no memory."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> tuple[float, int]:
        if not 0 <= index < self.rows:
            raise IndexError(index)
        return index / self.rows, index % 10

    def __getitems__(self, indices: list[int]) -> list[tuple[float, int]]:
        return [(index / self.rows, index % 10) for index in indices]


def collate(samples: list[tuple[float, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    values, labels = zip(*samples, strict=True)
    x = torch.tensor(values, dtype=torch.float32)
    return torch.stack([x, 1 - x], 1), torch.tensor(labels)


class Synthetic(L.LightningDataModule):
    """A pool of numbers."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.data = Numbers(rows)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.data, batch_size=64, shuffle=True, collate_fn=collate)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Numbers(64), batch_size=64, collate_fn=collate)

    def pool_dataset(self) -> Numbers:
        return self.data


def overhead(rows: int, rounds: int = 3) -> None:
    torch.manual_seed(0)
    spent: dict[str, float] = {}
    passes: list[float] = []

    class Timed(Entropy):
        """Takes the processor's time of a pass, from its beginning to the selection."""

        def begin_pass(self, indices: torch.Tensor) -> None:
            self.began = time.process_time()

        def select(self, *args: object, **kwargs: object) -> torch.Tensor:
            passes.append(time.process_time() - self.began)
            return super().select(*args, **kwargs)

    class Between(L.Callback):
        """Takes the processor's time from the end of one round's fit to the end of the round."""

        def on_query_start(self, trainer: L.Trainer, pl_module: L.LightningModule, loop: ActiveLearningLoop) -> None:
            self.start = time.process_time()

        def on_round_end(self, trainer: L.Trainer, pl_module: L.LightningModule, loop: ActiveLearningLoop) -> None:
            if hasattr(self, "start"):
                spent["processor"] = spent.get("processor", 0.0) + time.process_time() - self.start
                del self.start

    def campaign() -> None:
        with tempfile.TemporaryDirectory() as folder:
            model = Classifier(nn.Linear(2, 10), num_classes=10)
            sizes = {"initial": 1000, "query_size": 1000, "rounds": rounds, "pool_batch_size": 8192}
            loop = ActiveLearningLoop(model, Synthetic(rows), dirpath=folder, **sizes)
            trainer = trainer_of(folder, Timed(), devices=1)
            trainer.callbacks.append(Between())
            start = time.perf_counter()
            history = loop.run(trainer)
            total = time.perf_counter() - start
            known = sum(sum(r.seconds[stage] for stage in ("fit", "evaluate", "score")) for r in history)
            ledger = sum(path.stat().st_size for path in (Path(folder) / "ledger").iterdir())
            spent.update(total=total, known=known, ledger=ledger, labels=history[-1].labelled, rounds=len(history))

    grown = growth(campaign)
    each = (spent["total"] - spent["known"]) / spent["rounds"]
    processor = (spent["processor"] - sum(passes)) / rounds
    print(f"\n### A round's overhead, {rows:,} rows, {rounds} queries of 1,000 by Entropy\n")
    print(f"- a query outside of its pass: {processor:.2f} s of the processor")
    print(
        f"- outside of fit, evaluation and scoring, the opening included: {each:.2f} s a round on the clock, of "
        f"{spent['total'] / spent['rounds']:.1f} s"
    )
    print(f"- memory beside the data: +{grown:.0f} MiB")
    print(f"- ledger: {spent['ledger'] / spent['labels']:.0f} bytes a label")


def selection(rows: int) -> None:
    """Every acquisition that selects by scores or indices alone."""
    print(f"\n### 1,000 of {rows:,} rows by their scores\n")
    table = {"score": torch.rand(rows), "index": torch.arange(rows)}
    for acquisition in (Entropy(), Random()):
        seconds: list[float] = []

        def select(acquisition: Acquisition = acquisition, seconds: list[float] = seconds) -> None:
            start = time.process_time()
            acquisition.select(table, 1000, labelled_rows={}, generator=torch.Generator().manual_seed(0))
            seconds.append(time.process_time() - start)

        grown = growth(select)
        print(f"- {type(acquisition).__name__}: {seconds[0]:.2f} s of the processor, +{grown:.0f} MiB")


def score_seconds(processes: int, rows: int, folder: str) -> float:
    torch.manual_seed(0)
    data = Rows(torch.randn(rows, 3, 32, 32), torch.arange(rows) % 10, 32)
    options = {"devices": processes}
    if processes > 1:
        options["strategy"] = DDPStrategy(start_method="fork")
    loop = ActiveLearningLoop(
        Classifier(ResNet18(width=32), num_classes=10), data, initial=64, query_size=10, rounds=1, dirpath=folder
    )
    loop.run(trainer_of(folder, Entropy(), limit_train_batches=1, **options))
    return Campaign.load(folder).rounds[0].seconds["score"]


def processes(repeats: int) -> None:
    rows = 6000
    ratios = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            ratios.append(score_seconds(1, rows, one) / score_seconds(2, rows, two))
    print(f"\n### Scoring {rows:,} images on two processes, one thread each\n")
    print(f"- {_median(ratios)} times as fast as on one")


def _median(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} (runs: {', '.join(f'{r:.3f}' for r in ratios)})"


class Clock(L.Callback):
    """Seconds from the first batch of the fit to the last, without what a fit does before and after."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self.start)

    def on_round_start(self, trainer: L.Trainer, pl_module: L.LightningModule, loop: ActiveLearningLoop) -> None:
        """Knows of rounds, so that it is left alone between them."""


def training(repeats: int) -> None:
    torch.manual_seed(0)
    rows = 3000
    data = Rows(torch.randn(rows, 3, 32, 32), torch.arange(rows) % 10, 32)
    ratios = []
    with no_warnings():
        for repeat in range(repeats + 1):
            seconds = []
            for active in (False, True) if repeat % 2 else (True, False):
                with tempfile.TemporaryDirectory() as folder:
                    clock = Clock()
                    model = Classifier(ResNet18(width=16), num_classes=10)
                    options = {"devices": 1, "limit_val_batches": 1, "num_sanity_val_steps": 0}
                    trainer = trainer_of(folder, Random(), epochs=2, **options)
                    trainer.callbacks.append(clock)
                    if active:
                        loop = ActiveLearningLoop(
                            model, data, initial=rows - 10, query_size=10, rounds=0, dirpath=f"{folder}/c"
                        )
                        loop.run(trainer)
                    else:
                        trainer.fit(
                            model,
                            train_dataloaders=DataLoader(
                                TensorDataset(*data.data[: rows - 10]), batch_size=32, shuffle=True
                            ),
                            val_dataloaders=data.val_dataloader(),
                        )
                    seconds.append((active, clock.seconds[0]))
            if repeat:  # the first warms up
                of = dict(seconds)
                ratios.append(of[True] / of[False])
    print(f"\n### Two epochs of {rows - 10:,} images through the loop's datamodule\n")
    print(f"- {_median(ratios)} of the time through the user's own loader")


@contextmanager
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("overhead", "selection", "processes", "training"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, one thread a process")
    if options.only in (None, "overhead"):
        overhead(options.rows)
    if options.only in (None, "selection"):
        selection(options.rows)
    if options.only in (None, "processes"):
        processes(options.repeats)
    if options.only in (None, "training"):
        training(options.repeats)


if __name__ == "__main__":
    main()
