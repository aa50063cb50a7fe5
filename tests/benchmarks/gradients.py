"""Times exact per-sample scores in forward passes, beside other ways to them, and takes their peak memory.

    make bench                                      # installs the peers, writes the table
    python tests/benchmarks/gradients.py --models resnet18 --rounds 5 --device cpu

The unit is one plain forward pass, ``eval()`` and ``no_grad``, over the same batch: what an entropy score costs. In
every round each method runs three times, in turn, and its median is divided by that of the unit, measured the same way
just before; the table has the medians. Memory is the growth of the process over the batch and the model, each method
in a process of its own (on an accelerator, what the allocator had at its peak).
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from peak import growth
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al import functional as F_al
from lightning_al.functional import worst_case_perturbation
from lightning_al.gradients import score_groups
from lightning_al.zoo import ResNet18, SmallUNet, ViT
from lightning_al.zoo.resnet import BasicBlock

RHO = 0.05


class Case(NamedTuple):
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int


CASES = {
    "resnet18": Case(lambda: ResNet18(width=64), (3, 32, 32), 32),
    "resnet18-w16": Case(lambda: ResNet18(width=16), (3, 32, 32), 64),
    "vit-tiny": Case(ViT, (3, 32, 32), 32),
    "unet": Case(lambda: SmallUNet(num_classes=11), (3, 180, 240), 8),
    "resnet18-3d": Case(lambda: ResNet18(num_classes=10, in_channels=1, width=16, dimensions=3), (1, 32, 32, 32), 8),
}


# ----------------------------------------------------------------------------------------- ours, and other ways to them


def pseudo_loss(logits: Tensor) -> Tensor:
    """The loss of each image, of maps the mean over their pixels."""
    losses = F.cross_entropy(logits, logits.argmax(1), reduction="none")
    return losses.flatten(1).mean(1) if losses.ndim > 1 else losses


def one_norm(model: nn.Module, x: Tensor) -> Tensor:
    """One image at a time, as published."""
    params = list(model.parameters())
    norms = []
    for sample in x.split(1):
        grads = torch.autograd.grad(pseudo_loss(model(sample)).sum(), params)
        norms.append(torch.stack([g.norm() for g in grads]).norm())
    return torch.stack(norms)


def one_expected(model: nn.Module, x: Tensor) -> Tensor:
    """One image and one class at a time: of each class the norm, weighed by its probability."""
    params = list(model.parameters())
    expected = []
    for sample in x.split(1):
        log_p = model(sample)[0].log_softmax(0)
        norms = []
        for c in range(len(log_p)):
            grads = torch.autograd.grad(-log_p[c], params, retain_graph=c + 1 < len(log_p))
            norms.append(torch.stack([g.norm() for g in grads]).norm())
        expected.append(log_p.detach().exp() @ torch.stack(norms))
    return torch.stack(expected)


def one_saal(model: nn.Module, x: Tensor, perturbation: str) -> Tensor:
    """One image at a time, as published: a perturbed copy of the weights for each."""
    params = list(model.parameters())
    scores = []
    for sample in x.split(1):
        logits = model(sample)
        target = logits.argmax(1)
        grads = torch.autograd.grad(F.cross_entropy(logits, target), params)
        with torch.no_grad():
            before = [p.clone() for p in params]
            steps = worst_case_perturbation(params, grads, rho=RHO, perturbation=perturbation)
            for p, step in zip(params, steps, strict=True):
                p.add_(step)
            scores.append(F.cross_entropy(model(sample), target))
            for p, old in zip(params, before, strict=True):
                p.copy_(old)
    return torch.stack(scores)


def func_norm(model: nn.Module, x: Tensor) -> Tensor:
    """``torch.func``, in chunks of bounded memory."""

    def score(diff, call, params, group):
        grads, _ = diff.gradient(lambda w: (pseudo_loss(call(w, group)).sum(), None), params)
        return torch.stack([g.norm() for g in grads.values()]).norm().unsqueeze(0)

    return score_groups(model, score, x)


def func_saal(model: nn.Module, x: Tensor, perturbation: str) -> Tensor:
    """``torch.func``, in chunks of bounded memory."""

    def score(diff, call, params, group):
        def loss(weights):
            logits = call(weights, group)
            return F.cross_entropy(logits, logits.argmax(1)), logits.argmax(1)

        grads, target = diff.gradient(loss, params)
        steps = worst_case_perturbation(list(params.values()), list(grads.values()), rho=RHO, perturbation=perturbation)
        moved = {name: p + step for (name, p), step in zip(params.items(), steps, strict=True)}
        return F.cross_entropy(call(moved, group), target).detach().unsqueeze(0)

    return score_groups(model, score, x, copies=3)


def backpack_norm(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad

    net = extend(model, use_converter=True).eval()
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))

    def run() -> Tensor:
        net.zero_grad()
        logits = net(x)
        with backpack(BatchL2Grad()):
            loss(logits, logits.argmax(1)).backward()
        return torch.stack([p.batch_l2 for p in net.parameters() if hasattr(p, "batch_l2")]).sum(0).sqrt()

    return run


def add_out_of_place(block: BasicBlock, x: Tensor) -> Tensor:
    identity = x if block.downsample is None else block.downsample(x)
    return block.relu(block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x))))) + identity)


def opacus_norm(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """Knows no BatchNorm and no ``eval()``; GroupNorm stands in its place."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.validators import ModuleValidator

    for module in model.modules():  # it refuses operations in place
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if isinstance(module, BasicBlock):
            module.forward = partial(add_out_of_place, module)
    net = GradSampleModuleFastGradientClipping(ModuleValidator.fix(model).train(), loss_reduction="sum")

    def run() -> Tensor:
        net.zero_grad()
        logits = net(x)
        F.cross_entropy(logits, logits.argmax(1), reduction="sum").backward()
        return net.get_norm_sample()

    return run


NORM, EXPECTED, SAM, ASAM = "gradient norm", "expected norm, 10 classes", 'SAAL "sam"', 'SAAL "asam"'


def methods(model: nn.Module, x: Tensor) -> dict[tuple[str, str], Callable[[], Callable[[], Tensor]]]:
    """What is timed, by who and what: each entry prepares a run."""

    def plain(function, *args, **options):
        return lambda: lambda: function(model, x, *args, **options)

    are_maps = "SmallUNet" in type(model).__name__  # whose labellings are too many
    expected: dict[tuple[str, str], Callable[[], Callable[[], Tensor]]] = {
        ("lightning_al", EXPECTED): plain(F_al.gradient_norm, loss="expected_norm"),
        ("one image at a time", EXPECTED): plain(one_expected),
    }
    return {
        **({} if are_maps else expected),
        ("lightning_al", NORM): plain(F_al.gradient_norm, loss="pseudo_label"),
        ("lightning_al", SAM): plain(F_al.saal, rho=RHO),
        ("lightning_al", ASAM): plain(F_al.saal, rho=RHO, perturbation="asam"),
        ("one image at a time", NORM): plain(one_norm),
        ("one image at a time", SAM): plain(one_saal, "sam"),
        ("one image at a time", ASAM): plain(one_saal, "asam"),
        ("torch.func, chunked", NORM): plain(func_norm),
        ("torch.func, chunked", SAM): plain(func_saal, "sam"),
        ("torch.func, chunked", ASAM): plain(func_saal, "asam"),
        ("BackPACK 1.7.1", NORM): lambda: backpack_norm(model, x),
        ("Opacus 1.6.0 (GroupNorm)", NORM): lambda: opacus_norm(model, x),
    }


# ------------------------------------------------------------------------------------------------------------ measuring


def make(name: str, device: torch.device, batch: int | None) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    case = CASES[name]
    model = case.build().eval()
    for module in model.modules():  # statistics and affines as after some training
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.to(device), torch.randn(batch or case.batch, *case.shape, device=device)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peak_bytes(name: str, method: tuple[str, str] | None, device: torch.device, batch: int | None) -> float:
    """The growth of memory while a method runs once after a first time, in MiB."""
    if device.type == "cuda":
        model, x = make(name, device, batch)
        run = unit(model, x) if method is None else methods(model, x)[method]()
        run()
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        model, x = make(name, device, batch)
        run = unit(model, x) if method is None else methods(model, x)[method]()
        run()
        os.write(write, str(growth(run)).encode())
        os._exit(0)
    os.close(write)
    told = os.read(read, 64)
    os.close(read)
    os.waitpid(child, 0)
    return float(told or "nan")


def unit(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        with torch.no_grad():
            return model(x)

    return forward


def measure(name: str, device: torch.device, rounds: int, batch: int | None, ours_only: bool) -> None:
    memory = {None: peak_bytes(name, None, device, batch)}
    model, x = make(name, device, batch)
    ready: dict[tuple[str, str], Callable[[], Tensor]] = {}
    failed: dict[tuple[str, str], str] = {}
    for method, prepare in methods(model, x).items():
        if ours_only and method[0] != "lightning_al":
            continue
        peer = method[0] not in ("lightning_al", "one image at a time", "torch.func, chunked")
        if peer:  # these change the model they are given
            prepare = methods(make(name, device, batch)[0], x)[method]
        try:
            run = prepare()
            run()
            ready[method] = run
        except Exception as error:
            failed[method] = f"{type(error).__name__}: {str(error).splitlines()[0][:80] if str(error) else ''}"
            continue
        memory[method] = peak_bytes(name, method, device, batch)
    forward = unit(model, x)
    forward()
    ratios: dict[tuple[str, str], list[float]] = {method: [] for method in ready}
    units = []
    for _ in range(rounds):
        for method, run in ready.items():
            # Several in a row, as a pool pass runs them: the first of a kind waits for fresh memory.
            one, took = (statistics.median(seconds(each, device) for _ in range(3)) for each in (forward, run))
            units.append(one)
            ratios[method].append(took / one)
    print(f"\n### {name}: batch of {len(x)}, a forward pass {statistics.median(units) * 1e3:.0f} ms, ", end="")
    print(f"+{memory[None]:.0f} MiB\n")
    whats = [NORM, EXPECTED, SAM, ASAM]
    print("| in forward passes (peak MiB) | " + " | ".join(whats) + " |\n|---|" + "---|" * len(whats))
    for who in dict.fromkeys(who for who, _ in [*ready, *failed]):
        cells = []
        for what in whats:
            if (who, what) in ready:
                cells.append(f"{statistics.median(ratios[who, what]):.1f} (+{memory[who, what]:.0f})")
            else:
                cells.append(failed.get((who, what), "-"))
        print(f"| {who} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, help="default: each model's own")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ours", action="store_true", help="leave the other ways out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{where}, {torch.get_num_threads()} thread(s), torch {torch.__version__}, {options.rounds} rounds")
    for name in options.models:
        measure(name, device, options.rounds, options.batch, options.ours)


if __name__ == "__main__":
    main()
