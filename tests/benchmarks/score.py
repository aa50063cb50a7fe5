"""What a score without a campaign costs beside `trainer.predict` of the same model and loader, and its memory.

    python tests/benchmarks/score.py              # both
    python tests/benchmarks/score.py --only rows --rows 1000000

``seconds``: `score` of 10,000 small images by `Entropy`, over `trainer.predict` of the same model with a loader of the
same settings, in turn, each with a Trainer of its own; the median of the ratios. ``rows``: how much memory grows while
a million rows are scored and written to a CSV file, and how long each takes.
"""

import argparse
import platform
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import lightning as L
import torch
from peak import growth
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import score
from lightning_al.acquisition import Entropy
from lightning_al.zoo import Classifier, SmallCNN

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


class Predicts(Classifier):
    """Gives the logits."""

    def predict_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return self(batch[0])


class Named(TensorDataset):
    """Rows that have a name, as files have."""

    def sample_key(self, index: int) -> str:
        return f"{index:07d}.png"


def trainer() -> L.Trainer:
    return L.Trainer(accelerator="cpu", devices=1, **QUIET)


def seconds(images: int, repeats: int, batch_size: int = 64) -> None:
    data = Named(torch.randn(images, 1, 28, 28))
    model = Predicts(SmallCNN(num_classes=10), num_classes=10)

    def loader() -> DataLoader:
        return DataLoader(data, batch_size=batch_size)

    def predicted() -> None:
        trainer().predict(model, loader())

    def scored() -> None:
        score(model, loader(), Entropy(), 100, trainer=trainer())

    took: dict[str, list[float]] = {"predict": [], "score": []}
    predicted(), scored()
    for _ in range(repeats):
        for name, run in (("predict", predicted), ("score", scored)):
            start = time.process_time()
            run()
            took[name].append(time.process_time() - start)
    ratios = [a / b for a, b in zip(took["score"], took["predict"], strict=True)]
    print(f"\n### `score` of {images:,} images of 28x28, Entropy, {repeats} times in turn\n")
    print("| | median seconds of the processor |\n|---|---|")
    for name, values in took.items():
        print(f"| {name} | {statistics.median(values):.2f} |")
    print(f"\nMedian ratio {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f}).")


def rows(count: int) -> None:
    data = Named(torch.randn(count, 8))
    model = Classifier(nn.Linear(8, 10), num_classes=10)
    took: dict[str, float] = {}

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            scores = score(model, DataLoader(data, batch_size=4096), Entropy(), 1000, trainer=trainer())
            took["score"] = time.process_time() - start
            start = time.process_time()
            scores.to_csv(Path(folder) / "scores.csv")
            took["to_csv"] = time.process_time() - start
            took["MB"] = (Path(folder) / "scores.csv").stat().st_size / 1e6

    grown = growth(run)
    print(f"\n### {count:,} rows, scored and written\n")
    print(f"{took['score']:.1f} s to score, {took['to_csv']:.1f} s to write {took['MB']:.0f} MB;")
    print(f"memory grows by {grown:.0f} MiB, {grown * 2**20 / count:.0f} bytes a row.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("seconds", "rows"))
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {platform.machine()}")
    if options.only != "rows":
        seconds(options.images, options.repeats)
    if options.only != "seconds":
        rows(options.rows)


if __name__ == "__main__":
    main()
