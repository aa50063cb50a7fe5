"""What a step of SAM and of its family costs beside a plain one, and what comes of it.

    python tests/benchmarks/sam.py                # all
    python tests/benchmarks/sam.py --only step    # beside pytorch_optimizer (pip install pytorch-optimizer==4.1.0)
    python tests/benchmarks/sam.py --only family  # on scikit-learn's digits, 5 seeds

``step``: seconds of the processor for a step of a plain loop with ``sam_step``, and with ``pytorch_optimizer``'s
SAM, over those of a plain step, in turn; the medians of the ratios, and between what the median lies with 95 %; and
what each does beside its passes. ``memory``: by how much the peak of the process lies above what it holds, in sizes
of the weights. ``cost``: of a step of each variant as a mixin. ``family``: all variants as mixins, with the same seeds;
accuracy on the test set, and seconds of the processor a step over those of plain training in the same turn.
"""

import argparse
import math
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from peak import growth
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, Subset, TensorDataset

from lightning_al.training import sam_step
from lightning_al.zoo import Classifier, DigitsDataModule, PlainCNN, ResNet18, SAMClassifier

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
Step = Callable[[], object]


def peer() -> Any:
    try:
        from pytorch_optimizer import SAM
    except ImportError:
        return None
    return SAM


def steps_of(net: nn.Module, x: torch.Tensor, y: torch.Tensor, **options: Any) -> dict[str, Step]:
    """A step of each kind on one network."""
    params = list(net.parameters())
    rate = {"lr": 1e-4, "momentum": 0.9}
    plain, base = torch.optim.SGD(params, **rate), torch.optim.SGD(params, **rate)
    adaptive = options.get("perturbation") == "asam"

    def closure_of(optimizer: torch.optim.Optimizer) -> Callable[[], torch.Tensor]:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            return loss

        return closure

    def step() -> None:
        closure_of(plain)()
        plain.step()

    steps: dict[str, Step] = {"plain": step, "ours": lambda: sam_step(params, base, closure_of(base), **options)}
    if peer() is not None:
        theirs = peer()(params, torch.optim.SGD, rho=0.05, adaptive=adaptive, **rate)
        closure = closure_of(theirs)
        steps["pytorch_optimizer"] = lambda: (closure(), theirs.step(closure))
    return steps


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "PlainCNN, 10 of 28x28": (PlainCNN, (10, 1, 28, 28)),
    "ResNet-18 w16, 10 of 32x32": (lambda: ResNet18(width=16), (10, 3, 32, 32)),
    "ResNet-18 w64, 4 of 32x32": (lambda: ResNet18(width=64), (4, 3, 32, 32)),
    "MLP 3 x 2048, 4 rows": (
        lambda: nn.Sequential(*(part for _ in range(3) for part in (nn.Linear(2048, 2048), nn.ReLU()))),
        (4, 2048),
    ),
}


def median_between(ratios: list[float]) -> tuple[float, float, float]:
    """Return a median and the 95 % interval of it that the order of the values gives, whatever they are spread like."""
    ordered, n = sorted(ratios), len(ratios)
    reach = math.ceil(0.98 * math.sqrt(n))
    return statistics.median(ordered), ordered[max(n // 2 - reach, 0)], ordered[min(n // 2 + reach, n - 1)]


def step_times(repeats: int, networks: list[str]) -> None:
    """Single steps right beside each other, each first as often as last."""
    for perturbation in ("sam", "asam"):
        print(f'\n### A step with `perturbation="{perturbation}"`, {repeats} times in turn\n')
        print("| network | ours | pytorch_optimizer | ours / theirs | 95 % |\n|---|---|---|---|---|")
        for name in networks:
            make, shape = NETWORKS[name]
            torch.manual_seed(0)
            steps = steps_of(make(), torch.randn(shape), torch.randint(10, shape[:1]), perturbation=perturbation)
            took: dict[str, list[float]] = {kind: [] for kind in steps}
            for turn in range(-3, repeats):
                for kind in list(steps)[:: -1 if turn % 2 else 1]:
                    start = time.process_time()
                    steps[kind]()
                    if turn >= 0:  # the first ones warm up
                        took[kind].append(time.process_time() - start)

            def over(a: str, b: str, took: dict[str, list[float]] = took) -> tuple[float, float, float]:
                return median_between([x / y for x, y in zip(took[a], took[b], strict=True)])

            cells, theirs = [f"{over('ours', 'plain')[0]:.2f}", "not installed", "", ""], "pytorch_optimizer"
            if theirs in took:
                middle, low, high = over("ours", theirs)
                cells[1:] = [f"{over(theirs, 'plain')[0]:.2f}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}"]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def beside_passes(make: Callable[[], nn.Module], perturbation: str, repeats: int) -> dict[str, float]:
    """Return the milliseconds of a step of each kind beside its passes, whose gradients are there already."""
    params = list(make().parameters())
    gradients = [torch.randn_like(w) for w in params]

    def closure() -> None:
        for w, g in zip(params, gradients, strict=True):
            w.grad = g

    base = torch.optim.SGD(params, lr=1e-9)
    kinds: dict[str, Step] = {
        "plain": lambda: (closure(), closure(), base.step()),
        "ours": lambda: sam_step(params, base, closure, perturbation=perturbation),
    }
    if peer() is not None:
        theirs = peer()(params, torch.optim.SGD, rho=0.05, adaptive=perturbation == "asam", lr=1e-9)
        kinds["theirs"] = lambda: (closure(), theirs.step(closure))
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(repeats):
        for kind, step in kinds.items():
            start = time.process_time()
            step()
            took[kind].append(time.process_time() - start)
    middle = {kind: statistics.median(values) for kind, values in took.items()}
    plain = middle.pop("plain")
    return {kind: 1e3 * (value - plain) for kind, value in middle.items()}


def without_passes(repeats: int) -> None:
    """Only what a step does beside the two passes."""
    print(f"\n### What a step does beside its two passes, {repeats} times in turn\n")
    print("| network | perturbation | ours in ms | pytorch_optimizer in ms | ours / theirs |\n|---|---|---|---|---|")
    for name, (make, _) in NETWORKS.items():
        for perturbation in ("sam", "asam"):
            of = beside_passes(make, perturbation, repeats)
            ours, theirs = of["ours"], of.get("theirs")
            cells = f"{theirs:.2f} | {ours / theirs:.2f}" if theirs else "not installed | "
            print(f"| {name} | {perturbation} | {ours:.2f} | {cells} |", flush=True)


def memory() -> None:
    print(
        "\n### Memory of a step, in sizes of the weights\n\n| | plain | ours | pytorch_optimizer |\n|---|---|---|---|"
    )
    for perturbation in ("sam", "asam"):
        cells = []
        for kind in ("plain", "ours", "pytorch_optimizer"):
            read, write = os.pipe()
            if os.fork() == 0:  # each in a process of its own, with nothing left over
                net = nn.Sequential(*(nn.Linear(3000, 3000, bias=False) for _ in range(4)))  # of more than 32 MiB
                steps = steps_of(net, torch.randn(2, 3000), torch.tensor([0, 1]), perturbation=perturbation)
                if kind in steps:
                    steps[kind]()  # momentum is there
                    net.zero_grad()
                    mib = growth(steps[kind]) / (4 * 3000**2 * 4 / 2**20)
                    os.write(write, f"{mib:.2f}".encode())
                os._exit(0)
            os.close(write)
            os.wait()
            cells.append(os.read(read, 20).decode() or "not installed")
        print(f"| {perturbation} | {' | '.join(cells)} |", flush=True)


FAMILY: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "sam": {"rho": 0.05},
    "esam": {"variant": "esam", "rho": 0.05},
    "gsam": {"variant": "gsam", "rho": 0.05},
    "looksam": {"variant": "looksam", "rho": 0.05},
    "looksam, alpha 0.2": {"variant": "looksam", "rho": 0.05, "alpha": 0.2},
    "saf": {"variant": "saf"},
    "mesa": {"variant": "mesa", "decay": 0.99},
}


def fit(options: dict[str, Any] | None, seed: int, labels: int, epochs: int) -> tuple[float, float]:
    """Train on some of the digits; return the accuracy on the test set and the seconds of the processor a step."""
    L.seed_everything(seed, verbose=False)
    data = DigitsDataModule(batch_size=20)
    data.prepare_data()
    data.setup("fit")
    whole = data.train_dataloader().dataset
    some = Subset(whole, torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))[:labels].tolist())
    order = DistributedSampler(some, num_replicas=1, rank=0, seed=seed)
    loader = DataLoader(some, batch_size=20, sampler=order)
    net = PlainCNN(size=8, width=16)
    common = {"net": net, "num_classes": 10, "optimizer": lambda params: torch.optim.SGD(params, lr=0.02, momentum=0.9)}
    model = Classifier(**common) if options is None else SAMClassifier(**common, **options)
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, limit_val_batches=0, **QUIET)
    start = time.process_time()
    trainer.fit(model, loader)
    took = (time.process_time() - start) / trainer.global_step
    data.setup("test")
    [result] = trainer.test(model, data.test_dataloader(), verbose=False)
    return result["test_acc"], took


def family(seeds: int, labels: int, epochs: int) -> None:
    print(f"\n### Digits, {labels} labels, PlainCNN, {epochs} epochs of batches of 20, SGD 0.02 / 0.9, {seeds} seeds\n")
    accuracies: dict[str, list[float]] = {name: [] for name in FAMILY}
    took: dict[str, list[float]] = {name: [] for name in FAMILY}
    fit(None, 0, labels, 1)
    for seed in range(seeds):
        for name, options in FAMILY.items():
            accuracy, seconds = fit(options, seed, labels, epochs)
            accuracies[name].append(100 * accuracy)
            took[name].append(seconds)
    print("| | accuracy in % | over plain | step over plain |\n|---|---|---|---|")
    for name, values in accuracies.items():
        gains = [a - b for a, b in zip(values, accuracies["plain"], strict=True)]
        ratio = statistics.median(a / b for a, b in zip(took[name], took["plain"], strict=True))
        error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        print(
            f"| {name} | {statistics.mean(values):.2f} ± {spread:.2f} | {statistics.mean(gains):+.2f} ± {error:.2f} | "
            f"{ratio:.2f} |"
        )


class Seconds(L.Callback):
    """Of the processor, in the batches of a fit but the first few."""

    def __init__(self, but: int) -> None:
        self.but, self.began, self.took = but, 0.0, []

    def on_train_batch_start(self, *_: Any) -> None:
        self.began = time.process_time()

    def on_train_batch_end(self, *_: Any) -> None:
        self.took.append(time.process_time() - self.began)

    @property
    def each(self) -> float:
        return statistics.mean(self.took[self.but :])


def cost(turns: int, steps: int = 10) -> None:
    print(
        f"\n### A step of a mixin over a plain one, ResNet-18 w16, 32 of 32x32, {steps} steps, {turns} times in turn\n"
    )
    data = TensorDataset(torch.randn(32 * steps, 3, 32, 32), torch.randint(10, (32 * steps,)))
    took: dict[str, list[float]] = {name: [] for name in FAMILY}
    for _ in range(turns):
        for name, options in FAMILY.items():
            common = {"net": ResNet18(width=16), "num_classes": 10}
            common["optimizer"] = lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9)
            if name in ("saf", "mesa"):
                options = {**(options or {}), "start_epoch": 1} | ({"lag": 1} if name == "saf" else {})
            model = Classifier(**common) if options is None else SAMClassifier(**common, **options)
            seconds = Seconds(but=steps)  # a first epoch, which SAF remembers
            trainer = L.Trainer(max_epochs=2, accelerator="cpu", devices=1, callbacks=[seconds], **QUIET)
            trainer.fit(model, DataLoader(data, batch_size=32))
            took[name].append(seconds.each)
    print("| | step over plain |\n|---|---|")
    for name in FAMILY:
        print(f"| {name} | {statistics.median(a / b for a, b in zip(took[name], took['plain'], strict=True)):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["step", "memory", "cost", "family"])
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--pairs", type=int, default=101, help="steps beside pytorch_optimizer's")
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=60)
    told = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, lightning {L.__version__}, {platform.machine()}, one thread")
    if told.only in (None, "memory"):
        memory()
    if told.only in (None, "step"):
        without_passes(told.repeats)
        step_times(told.pairs, told.networks)
    if told.only in (None, "cost"):
        cost(3)
    if told.only in (None, "family"):
        family(told.seeds, told.labels, told.epochs)


if __name__ == "__main__":
    main()
