"""What a pass over padded texts of many lengths costs beside one over texts of one length.

    python tests/benchmarks/lengths.py
    python tests/benchmarks/lengths.py --batches 40 --batch 50 --rounds 3

Both have as many batches and tokens: in one every batch is padded to a length of its own, in the other all have the
mean of these. A model is new in every round, so that what is found out about it, and about each length, counts. Seconds
of the processor, in turn; the medians of the ratios.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_al import functional as F_al
from lightning_al.zoo import TextClassifier

SCORES: dict[str, Callable[..., Tensor]] = {"SAAL": F_al.saal, "norm": F_al.gradient_norm}


def ratio(score: Callable[..., Tensor], batches: int, batch: int, rounds: int) -> float:
    """Return the median of the ratios, many lengths over one."""
    shortest = 8
    several = [shortest + i for i in range(batches)]
    ratios = []
    for turn in range(rounds):
        took = {}
        for lengths in (several, [sum(several) // batches] * batches):
            torch.manual_seed(turn)
            model = TextClassifier(vocabulary=2_000, dim=64, depth=2, heads=4, max_length=shortest + batches)
            texts = [torch.randint(1, 2_000, (batch, length)) for length in lengths]
            start = time.process_time()
            for each in texts:
                score(model, each)
            took[len(set(lengths))] = time.process_time() - start
        ratios.append(took[len(set(several))] / took[1])
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, score in SCORES.items():
        found = ratio(score, options.batches, options.batch, options.rounds)
        print(f"{name}: {options.batches} lengths over one: {found:.2f}", flush=True)


if __name__ == "__main__":
    main()
