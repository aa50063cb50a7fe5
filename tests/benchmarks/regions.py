"""Times RIPU's maps and picks beside the form that its authors' code has: sums by a convolution, a greedy loop.

    python tests/benchmarks/regions.py                    # minutes
    python tests/benchmarks/regions.py --planes           # and their wide window in the slower layout

Logits are 19 x 640 x 1280, in one thread; times are of the process, so that others on the machine do not count. Theirs
is written here from its description: one-hot classes summed by a depthwise convolution of ones, with 1e-6 in the
logarithms; and for every pick a maximum over the map. Of a wide window theirs is timed on part of the rows, of which
each takes as long. In every round each runs once, in turn; a ratio is the median of the rounds' own.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_al import functional as F_al

CLASSES, HEIGHT, WIDTH = 19, 640, 1280


def logits(height: int, width: int) -> Tensor:
    """Smooth maps of mixed confidence, as a model gives them."""
    torch.manual_seed(0)
    coarse = torch.randn(1, CLASSES, height // 16, width // 16) * 4
    return F.interpolate(coarse, (height, width), mode="bilinear") + torch.randn(1, CLASSES, height, width) * 0.1


def authors_map(z: Tensor, k: int, *, planes: bool = False) -> Tensor:
    """``planes``: the one-hot classes as planes in memory; as they come, a pixel's classes lie side by side."""
    p = z.softmax(1)
    entropy = -(p * (p + 1e-6).log()).sum(1, keepdim=True)
    one_hot = F.one_hot(p.argmax(1), CLASSES).permute(0, 3, 1, 2).float()
    ones = torch.ones(CLASSES, 1, 2 * k + 1, 2 * k + 1)
    counts = F.conv2d(one_hot.contiguous() if planes else one_hot, ones, padding=k, groups=CLASSES)
    inside = counts.sum(1, keepdim=True)
    q = counts / inside
    impurity = -(q * (q + 1e-6).log()).sum(1, keepdim=True)
    uncertainty = F.conv2d(entropy, ones[:1], padding=k) / inside
    return (impurity * uncertainty)[:, 0]


def authors_picks(scores: Tensor, count: int, reach: int) -> list[int]:
    scores = scores.clone()
    width = scores.shape[1]
    picks = []
    for _ in range(count):
        of_columns, rows = scores.max(0)
        j = int(of_columns.argmax())
        i = int(rows[j])
        picks.append(i * width + j)
        scores[max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1] = -torch.inf
    return picks


class Job(NamedTuple):
    title: str
    ours: Callable[[], object]
    theirs: dict[str, Callable[[], object]]
    """In one way or several."""
    times: float = 1.0
    """By which theirs is multiplied, where it has only part of the map."""
    wanted: str = ""


def maps_differ(z: Tensor, k: int) -> str:
    mine, theirs = F_al.ripu_map(z, k), authors_map(z, k)
    top = [set(each.flatten().topk(min(20_000, each.numel() // 4)).indices.tolist()) for each in (mine, theirs)]
    share = len(top[0] & top[1]) / len(top[0])
    return f"maps differ by {float((mine - theirs).abs().max()):.1e}, {share:.2%} of the top {len(top[0]):,} the same"


def jobs(part: int, planes: bool) -> list[Job]:
    z = logits(HEIGHT, WIDTH)
    rows = logits(HEIGHT // part, WIDTH)
    print(f"k = 1: {maps_differ(z, 1)}")
    print(f"k = 32, 160 x 160: {maps_differ(logits(160, 160), 32)}")
    regions, pixels = F_al.ripu_map(z, 1)[0], F_al.ripu_map(z, 32, region_radius=0)[0]
    same = F_al.pick_squares(regions, 1026, radius=1, variant="code").tolist() == authors_picks(regions, 1026, 2)
    print(f"1,026 regions, ties by column as theirs: {'the same picks' if same else 'OTHER PICKS'}")
    wide = {"as it comes": lambda: authors_map(rows, 32), "planes": lambda: authors_map(rows, 32, planes=True)}
    return [
        Job(
            "maps, k = 1",
            lambda: F_al.ripu_map(z, 1),
            {"as it comes": lambda: authors_map(z, 1), "planes": lambda: authors_map(z, 1, planes=True)},
            wanted="<= 0.5",
        ),
        Job(
            f"maps, k = 32 (theirs: 1/{part} of the rows, x {part})",
            lambda: F_al.ripu_map(z, 32),
            wide if planes else {"as it comes": wide["as it comes"]},
            times=part,
            wanted="<= 0.01",
        ),
        Job(
            "1,026 regions, k = 1",
            lambda: F_al.pick_squares(regions, 1026, radius=1),
            {"greedy": lambda: authors_picks(regions, 1026, 2)},
            wanted="<= 0.02",
        ),
        Job(
            "21 pixels, k = 32",
            lambda: F_al.pick_squares(pixels, 21, radius=0, spacing=32),
            {"greedy": lambda: authors_picks(pixels, 21, 32)},
        ),
    ]


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", type=int, default=4, help="of the rows that theirs gets for a wide window")
    parser.add_argument("--planes", action="store_true", help="the wide window on planes too: minutes a round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    where = platform.processor() or platform.machine()
    print(f"{where}, {torch.get_num_threads()} thread, torch {torch.__version__}, {options.rounds} rounds")
    print(f"{CLASSES} x {HEIGHT} x {WIDTH}")
    work = jobs(options.part, options.planes)
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        for job in work:
            for form, theirs in job.theirs.items():
                pair = seconds(job.ours), seconds(theirs) * job.times
                times.setdefault((job.title, form), []).append(pair)
    print("\n| | their form | ours, s | theirs, s | ours / theirs | wanted |\n|---|---|---|---|---|---|")
    for job in work:
        for form in job.theirs:
            pairs = times[job.title, form]
            ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            print(f"| {job.title} | {form} | {ours:.3f} | {theirs:.3f} | {ratio:.4f} | {job.wanted} |")


if __name__ == "__main__":
    main()
