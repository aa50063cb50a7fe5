"""Times the selectors of a diverse batch beside other libraries', and takes their peak memory.

    python tests/benchmarks/selection.py                          # all but the largest pools
    python tests/benchmarks/selection.py --jobs coreset-million --rounds 1

The unit is the memory bandwidth: one sum over the tensors that a selector reads, times the number of picks. In every
round each method runs once, in turn; the table has medians. Memory is the growth of the process over the data, each
method in a process of its own. A library that is not installed is left out, and named.
"""

import argparse
import importlib.util
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from peak import growth
from torch import Tensor
from torch.nn import functional as F

from lightning_al import functional as F_al

OURS, SKACTIVEML, DISTIL, SMALL_TEXT = "lightning_al", "scikit-activeml 1.0.1", "decile-distil 0.2.0", "small-text"
MODULES = {SKACTIVEML: "skactiveml", DISTIL: "distil", SMALL_TEXT: "small_text"}
LABELLED = 100

Run = Callable[[], object]


# ---------------------------------------------------------------------------- the data


def gradients(n: int, d: int, classes: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"probabilities": torch.randn(n, classes).mul_(2).softmax(1), "features": torch.randn(n, d).relu_()}


def features(n: int, d: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"features": torch.randn(n, d)}


def clusters(n: int, d: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(n, d).mul_(0.5).add_(torch.randn(10, d)[torch.arange(n) % 10])
    return {"features": F.normalize(x)}


# ---------------------------------------------------------------------------- ours, and other ways to it


def residuals(probabilities: Tensor) -> Tensor:
    return probabilities - F.one_hot(probabilities.argmax(1), probabilities.shape[1])


def badge(data: dict[str, Tensor], k: int) -> dict[str, Run]:
    probabilities, x = data["probabilities"], data["features"]
    q = residuals(probabilities)

    def skactiveml() -> object:
        import numpy as np
        from skactiveml.base import SkactivemlClassifier
        from skactiveml.pool import Badge

        class Given(SkactivemlClassifier):
            def fit(self, X, y, sample_weight=None):
                return self

            def predict_proba(self, X):
                return probabilities.numpy()

        unknown = np.full(len(x), np.nan)
        given = Given(classes=list(range(probabilities.shape[1])))
        return Badge(random_state=0).query(x.numpy(), unknown, given, fit_clf=False, batch_size=k)

    def distil() -> object:
        from distil.active_learning_strategies.badge import init_centers

        return init_centers((q[:, :, None] * x[:, None]).flatten(1).numpy(), k, "cpu")

    ours = lambda: F_al.badge(q, x, k, generator=torch.Generator().manual_seed(0))  # noqa: E731
    return {OURS: ours, SKACTIVEML: skactiveml, DISTIL: distil}


def coreset(data: dict[str, Tensor], k: int) -> dict[str, Run]:
    labelled, x = data["features"].split([LABELLED, len(data["features"]) - LABELLED])

    def skactiveml() -> object:
        import numpy as np
        from skactiveml.pool import CoreSet

        known = np.full(LABELLED + len(x), np.nan)
        known[:LABELLED] = 0
        return CoreSet(random_state=0).query(data["features"].numpy(), known, batch_size=k)

    def distil() -> object:
        from distil.active_learning_strategies.core_set import CoreSet

        return CoreSet.furthest_first(None, x.numpy(), labelled.numpy(), k)

    def small_text() -> object:
        import numpy as np
        from small_text.query_strategies.coresets import greedy_coreset

        every = np.arange(LABELLED + len(x))
        table = data["features"].numpy()
        return greedy_coreset(table, every[LABELLED:], every[:LABELLED], k, distance_metric="euclidean")

    ours = lambda: F_al.k_center_greedy(x, k, labelled=labelled)  # noqa: E731
    return {OURS: ours, SKACTIVEML: skactiveml, DISTIL: distil, SMALL_TEXT: small_text}


def prob_cover(data: dict[str, Tensor], k: int) -> dict[str, Run]:
    x = data["features"]
    few = x[:: len(x) // 1000]
    delta = float(torch.pdist(few).quantile(0.01))  # one row in a hundred is a neighbour

    def skactiveml() -> object:
        import numpy as np
        from skactiveml.pool import ProbCover

        cover = ProbCover(n_classes=10, deltas=[delta], random_state=0)
        return cover.query(x.numpy(), np.full(len(x), np.nan), batch_size=k)

    return {OURS: lambda: F_al.prob_cover(x, k, delta=delta), SKACTIVEML: skactiveml}


class Job(NamedTuple):
    title: str
    data: Callable[[], dict[str, Tensor]]
    methods: Callable[[dict[str, Tensor], int], dict[str, Run]]
    k: int
    peers: bool = True


JOBS = {
    "badge": Job("BADGE, n = 4,000, d = 512, C = 100", lambda: gradients(4_000, 512, 100), badge, 50),
    "badge-large": Job("BADGE, n = 50,000, d = 512, C = 10", lambda: gradients(50_000, 512, 10), badge, 1000, False),
    "coreset": Job("CoreSet, n = 8,000, d = 64", lambda: features(8_000, 64), coreset, 200),
    "coreset-million": Job("CoreSet, n = 1,000,000, d = 128", lambda: features(1_000_000, 128), coreset, 1000, False),
    "probcover": Job("ProbCover, n = 8,000, d = 64", lambda: clusters(8_000, 64), prob_cover, 200),
    "probcover-large": Job("ProbCover, n = 50,000, d = 64", lambda: clusters(50_000, 64), prob_cover, 200, False),
}
LONG = ("coreset-million",)


# ---------------------------------------------------------------------------- measuring


def seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_mib(name: str, who: str) -> float | str:
    """The growth of memory while a method runs, in a process of its own; or what went wrong."""
    # A new process, not a fork: the threads that other libraries start do not survive one.
    ran = subprocess.run([sys.executable, __file__, "--peak", name, who], capture_output=True, text=True, check=False)
    told = (ran.stdout.splitlines() or ["ended: out of memory?"])[-1]
    try:
        return float(told)
    except ValueError:
        return told


def tell_peak(name: str, who: str) -> None:
    job = JOBS[name]
    try:
        small = {key: x[: 2 * LABELLED + 1000] for key, x in job.data().items()}
        job.methods(small, 2)[who]()  # imports and first-call costs
        run = job.methods(job.data(), job.k)[who]
        print(growth(run))
    except Exception as error:
        print(f"{type(error).__name__}: {(str(error) or ' ').splitlines()[0][:80]}")


def measure(name: str, rounds: int, ours_only: bool) -> None:
    job = JOBS[name]
    data = job.data()
    moved = sum(x.numel() * x.element_size() for x in data.values())
    methods = job.methods(data, job.k)
    memory: dict[str, float | str] = {}
    for who in list(methods):
        if who != OURS and (ours_only or not job.peers or not importlib.util.find_spec(MODULES[who])):
            if job.peers and not ours_only:
                memory[who] = "not installed"
            del methods[who]
            continue
        memory[who] = peak_mib(name, who)
        if isinstance(memory[who], str):
            del methods[who]
    times: dict[str, list[float]] = {who: [] for who in methods}
    streams = []
    for _ in range(rounds):
        for who, run in methods.items():
            times[who].append(seconds(run))
            if who == OURS:
                streams.append(statistics.median(seconds(lambda: [x.sum() for x in data.values()]) for _ in range(9)))
    print(f"\n### {job.title}, k = {job.k}", end="")
    if streams:
        stream = statistics.median(streams)
        print(
            f"; reading the {moved / 1e6:.0f} MB takes {stream * 1e3:.2f} ms ({moved / stream / 1e9:.0f} GB/s)", end=""
        )
    print("\n\n| | s | × lightning_al | × reading once a pick | peak MiB |\n|---|---|---|---|---|")
    for who, peak in memory.items():
        if isinstance(peak, str):
            print(f"| {who} | {peak} | | | |")
            continue
        ours = times.get(OURS, [])
        factor = statistics.median(t / o for t, o in zip(times[who], ours, strict=True)) if ours else float("nan")
        pace = (
            statistics.median(t / s / job.k for t, s in zip(times[who], streams, strict=True)) if ours else float("nan")
        )
        print(f"| {who} | {statistics.median(times[who]):.3f} | {factor:.1f} | {pace:.2f} | +{peak:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=list(JOBS), default=[name for name in JOBS if name not in LONG])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help="leave the other libraries out")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        tell_peak(*options.peak)
        return
    where = platform.processor() or platform.machine()
    print(f"{where}, {torch.get_num_threads()} thread, torch {torch.__version__}, {options.rounds} rounds")
    for name in options.jobs:
        measure(name, options.rounds, options.ours)


if __name__ == "__main__":
    main()
