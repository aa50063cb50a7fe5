"""Times what comparing scores with the plain loop costs a pass over a pool: on later batches, and the first look.

    python tests/benchmarks/comparisons.py                     # on a CPU, minutes
    python tests/benchmarks/comparisons.py --samples 2000 --device cuda

A pass is `samples` samples in batches. "Comparisons" is what holding later batches against the plain loop adds to it;
"first look" is finding out about the model and proving its scores, once for a model and a shape of its inputs, and not
again in later rounds. Both are shares of the pass without them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn

from lightning_al import functional as F_al
from lightning_al.gradients.comparisons import Comparisons
from lightning_al.zoo import ResNet18, SmallCNN, ViT


class Trimming(nn.Module):
    """Words, cut to the longest of the batch: in every batch, some samples are compared."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.table, self.layers, self.head = nn.Embedding(1000, 64), nn.TransformerEncoder(layer, 4), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, : int((x != 0).sum(1).max())]
        return self.head(self.layers(self.table(x), src_key_padding_mask=x == 0)[:, 0])


class Case(NamedTuple):
    build: Callable[[], nn.Module]
    draw: Callable[[int], Tensor]
    batch: int


def words(n: int) -> Tensor:
    x = torch.randint(1, 1000, (n, 64))
    for row, length in zip(x, torch.randint(8, 65, (n,)).tolist(), strict=True):
        row[length:] = 0
    return x


CASES = {
    "ResNet-18, width 16": Case(lambda: ResNet18(width=16), lambda n: torch.randn(n, 3, 32, 32), 50),
    "ViT": Case(lambda: ViT(num_classes=10, dim=64, depth=4, heads=4), lambda n: torch.randn(n, 3, 32, 32), 50),
    "small CNN": Case(lambda: SmallCNN(num_classes=10, width=16), lambda n: torch.randn(n, 1, 28, 28), 50),
    "words, trimmed": Case(Trimming, words, 50),
}
SCORES = {"gradient_norm": F_al.gradient_norm, "saal": F_al.saal}


class Clock:
    """Seconds of this process, so that others on the machine do not count; of the wall for an accelerator."""

    def __init__(self, device: str) -> None:
        self.device = device

    def now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def of_pass(self, score: Callable[..., Tensor], model: nn.Module, batches: list[Tensor]) -> tuple[float, float]:
        """Return what a pass takes, and what of it is comparing."""
        check = Comparisons.check
        comparing = 0.0

        def timed(*args: object) -> None:
            nonlocal comparing
            start = self.now()
            check(*args)
            comparing += self.now() - start

        start = self.now()
        with mock.patch.object(Comparisons, "check", timed):
            for batch in batches:
                score(model, batch)
        return self.now() - start, comparing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    options = parser.parse_args()
    clock = Clock(options.device)
    print(f"{'model':22}{'score':16}{'pass, s':>9}{'comparisons':>13}{'first look':>12}")
    for name in options.cases:
        build, draw, batch = CASES[name]
        for label, score in SCORES.items():
            torch.manual_seed(0)
            batches = list(draw(options.samples).to(options.device).split(batch))
            passes, shares, looks = [], [], []
            for _ in range(options.rounds):
                model = build().to(options.device)
                look, _ = clock.of_pass(score, model, batches[:1])
                again, _ = clock.of_pass(score, model, batches[:1])
                total, comparing = clock.of_pass(score, model, batches)
                passes.append(total - comparing)
                shares.append(comparing / passes[-1])
                looks.append((look - again) / passes[-1])
            middle = [statistics.median(values) for values in (passes, shares, looks)]
            print(f"{name:22}{label:16}{middle[0]:9.2f}{middle[1]:13.2%}{middle[2]:12.1%}", flush=True)


if __name__ == "__main__":
    main()
