"""Times exact SAAL and gradient norms of a few samples of small models beside the published loop, in turn.

    python tests/benchmarks/few_samples.py                  # minutes
    python tests/benchmarks/few_samples.py --models gru-8 --samples 1 2 3

Small models take a few milliseconds, of which a look at the model is a large part. Up to how many samples the plain
loop is taken follows from counts. Each ratio is the median of those of single rounds, in each of which both run once.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch
from beside_the_loop import Prepared, seconds, timed
from torch import Tensor, nn

from lightning_al.tasks import ClassificationTask
from lightning_al.zoo import ResNet18, SmallUNet, TextClassifier

VOCABULARY = 50


class Recurrent(nn.Module):
    """Tokens, one recurrent layer, the mean over what it gives."""

    def __init__(self, kind: type[nn.RNNBase], width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.layer = kind(width, width, batch_first=True)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.tokens(x))[0].mean(1))


def mlp() -> nn.Module:
    layers = nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)
    return nn.Sequential(nn.Flatten(), *layers)


def cnn() -> nn.Module:
    def block(fan_in: int, fan_out: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.BatchNorm2d(fan_out), nn.ReLU()

    last = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    return nn.Sequential(*block(3, 8), nn.MaxPool2d(2), *block(8, 16), *last)


class Case(NamedTuple):
    """A small model, and the size of its images or the number of its tokens."""

    build: Callable[[], nn.Module]
    size: int
    is_text: bool = False


CASES = {
    "mlp": Case(mlp, 4),
    "cnn": Case(cnn, 16),
    "resnet18-8": Case(lambda: ResNet18(width=8), 16),
    "unet-8": Case(lambda: SmallUNet(num_classes=3, width=8), 24),
    "bert-32": Case(lambda: TextClassifier(vocabulary=100, dim=32, depth=2, heads=2, max_length=32), 16, is_text=True),
    "gru-8": Case(lambda: Recurrent(nn.GRU, 8), 10, is_text=True),
    "lstm-8": Case(lambda: Recurrent(nn.LSTM, 8), 10, is_text=True),
    "lstm-64": Case(lambda: Recurrent(nn.LSTM, 64), 32, is_text=True),
}


def make(name: str) -> Prepared:
    torch.manual_seed(0)
    case = CASES[name]
    many = torch.randint(1, VOCABULARY, (16, case.size)) if case.is_text else torch.randn(16, 3, case.size, case.size)
    return Prepared(case.build().eval(), many, ClassificationTask())


def ratio(ours: Prepared, loop: Prepared, score: str, samples: int, rounds: int) -> float:
    """Return what so many samples take of the published loop's time."""
    some, same = (made._replace(inputs=made.inputs[:samples]) for made in (ours, loop))
    run = {"saal": some.saal, "norm": some.norm}[score]
    run()
    return statistics.median(seconds(run) / timed(same, score)[0] for _ in range(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--samples", nargs="*", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| | " + " | ".join(f"{score}, {n}" for score in ("SAAL", "norm") for n in options.samples) + " |")
    for name in options.models:
        ours, loop = make(name), make(name)
        cells = []
        for score in ("saal", "norm"):
            {"saal": ours.saal, "norm": ours.norm}[score]()  # all samples: what is found out about the model
            cells += [ratio(ours, loop, score, n, options.rounds) for n in options.samples]
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
