"""Exact scores in forward passes of the same batch, beside the published loop and `torch.func`, in three precisions."""

import contextlib
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al import functional as F_al
from lightning_al.zoo import ResNet18, ViT
from tests.gpu.record import Check, Where, peak_of, seconds_of

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # whose scripts find each other so
from gradients import RHO, func_norm, func_saal, one_norm, one_saal  # type: ignore[import-not-found]

Score = Callable[[nn.Module, Tensor], Tensor]

SCORES: dict[str, tuple[Score, Score, Score]] = {
    "SAAL": (
        lambda m, x: F_al.saal(m, x, rho=RHO),
        lambda m, x: one_saal(m, x, "sam"),
        lambda m, x: func_saal(m, x, "sam"),
    ),
    "norm": (lambda m, x: F_al.gradient_norm(m, x, loss="pseudo_label"), one_norm, func_norm),
    "ASAM": (
        lambda m, x: F_al.saal(m, x, rho=RHO, perturbation="asam"),
        lambda m, x: one_saal(m, x, "asam"),
        lambda m, x: func_saal(m, x, "asam"),
    ),
}
"""Ours, the published loop over single images, and plain `torch.func` in chunks."""

MODELS = {
    "ResNet-18 w64": lambda: ResNet18(width=64),
    "ViT-S/4": lambda: ViT(dim=384, heads=6),
}
TINY = {
    "ResNet-18 w4": lambda: ResNet18(width=4),
    "ViT 16": lambda: ViT(dim=16, depth=2, heads=2, patch_size=8),
}

PRECISIONS = ("tf32", "fp32", "bf16")
BATCHES = (128, 512, 32)
LOOP = 16
"""On how many images the ways that take a time in proportion to their number are measured."""


def checks(where: Where) -> Iterator[Check]:
    """Each score of each model, in each precision and batch size, what matters most first."""
    models, batches = (TINY, (4,)) if where.tiny else (MODELS, BATCHES)
    for batch in batches:
        for precision in PRECISIONS:
            for name, build in models.items():
                for score in SCORES:
                    if where.tiny and score == "ASAM":
                        continue
                    yield Check(
                        f"{score}, {name}, {precision}, {batch}",
                        lambda b=build, s=score, p=precision, n=batch: _measured(where, b, s, p, n),
                    )


def _measured(where: Where, build: Callable[[], nn.Module], score: str, precision: str, batch: int) -> dict[str, Any]:
    """Return the figures of one row: medians of rounds in which all are measured in turn.

    In bf16 all is called under autocast, in which ours computes in float32 all the same; so does the goal leave it out.
    """
    device = where.device
    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    model, x = _made(build, batch, device)
    ours, loop, func = SCORES[score]
    few = x[: min(LOOP, batch)]
    half = precision == "bf16"
    # What autocast keeps of weights in `no_grad` has no gradient: nothing is kept.
    with torch.autocast(device.type, torch.bfloat16, cache_enabled=False) if half else contextlib.nullcontext():

        def forward() -> Tensor:
            with torch.no_grad():
                return model(x)

        for _ in range(3):
            forward()
        first = seconds_of(lambda: ours(model, x), device)
        ours(model, x)
        loop(model, few[:2])
        units, forwards, of_loop, of_func = [], [], [], []
        for number in range(1 if where.tiny else 5):
            unit = statistics.median(seconds_of(forward, device) for _ in range(5))
            took = statistics.median(seconds_of(lambda: ours(model, x), device) for _ in range(3))
            units.append(unit)
            forwards.append(took / unit)
            of_loop.append(seconds_of(lambda: loop(model, few), device) * batch / len(few) / took)
            if number == 0:  # it may be slow, or run out of memory
                of_func = [_by_func(func, model, few, device, batch / took)]
        memory, plain = peak_of(lambda: ours(model, x), device), peak_of(forward, device)
        got = ours(model, few)
    error = _error(got, build, few, loop)
    row = {
        "forward, ms": 1000 * statistics.median(units),
        "forwards": statistics.median(forwards),
        "times the loop": statistics.median(of_loop),
        "times torch.func": of_func[0],
        "first call, forwards": first / statistics.median(units),
        "differs by": error,
        "goal": not half and score == "SAAL",
        "right": error <= {"fp32": 1e-3, "tf32": 3e-2, "bf16": 1e-3}[precision],
    }
    return row if memory is None else {**row, "MiB": memory, "forward's MiB": plain}


def _by_func(func: Score, model: nn.Module, few: Tensor, device: torch.device, factor: float) -> float | None:
    try:
        func(model, few)
        return seconds_of(lambda: func(model, few), device) / len(few) * factor
    except torch.OutOfMemoryError:
        return None


def _error(got: Tensor, build: Callable[[], nn.Module], few: Tensor, loop: Score) -> float:
    """Return by how much scores differ from those of the loop in float64, as a share of the largest."""
    model, _ = _made(build, 1, few.device)
    want = loop(model.double(), few.double())
    return float((got.double() - want).abs().max() / want.abs().max())


def _made(build: Callable[[], nn.Module], batch: int, device: torch.device) -> tuple[nn.Module, Tensor]:
    """Build a model with statistics and affines as after some training."""
    torch.manual_seed(0)
    model = build().eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5)
    x = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return model.to(device), x.to(device)
