"""A pass over a pool beside `trainer.predict`, and selectors on the device."""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_al import ActiveLearningLoop
from lightning_al import acquisition as A
from lightning_al import functional as F_al
from lightning_al.zoo import Classifier, ResNet18
from tests.gpu.models import CLASSES, Pictures, quiet
from tests.gpu.record import Check, Where, seconds_of

PASSES: dict[str, Callable[[], A.Acquisition]] = {
    "Entropy": A.Entropy,
    "BADGE": A.BADGE,
    "BALD, 20 passes": lambda: A.BALD(add_dropout=0.3),
    "SAAL": A.SAAL,
}
"""What a pass is made for."""

SELECTORS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "kmeans++": lambda x, q, k: F_al.kmeans_plusplus(x, k, generator=torch.Generator().manual_seed(0)),
    "BADGE": lambda x, q, k: F_al.badge(q, x, k, generator=torch.Generator().manual_seed(0)),
    "k-center": lambda x, q, k: F_al.k_center_greedy(x, k, labelled=x[:100] + 0.1),
    "ProbCover": lambda x, q, k: F_al.prob_cover(x, k, delta=0.5),
    "TypiClust": lambda x, q, k: F_al.typiclust(x, k, generator=torch.Generator().manual_seed(0)),
}


def checks(where: Where) -> Iterator[Check]:
    """Passes in each precision, then selectors."""
    precisions = ("32-true", "bf16-mixed")
    for precision in precisions:
        for of_pool in ("32", "trainer") if precision == "bf16-mixed" else ("32",):
            for name, make in PASSES.items():
                if where.tiny and name not in ("Entropy", "SAAL"):
                    continue
                yield Check(
                    f"pass, {name}, {precision}, pool_precision={of_pool}",
                    lambda m=make, p=precision, o=of_pool: _pass(where, m, p, o),
                )
    for name, select in SELECTORS.items():
        yield Check(f"selector, {name}", lambda select=select: _selected(where, select))


def _pass(where: Where, make: Callable[[], A.Acquisition], precision: str, of_pool: str) -> dict[str, Any]:
    """Return what the query of a campaign takes to score its candidates, and Lightning to predict as many images."""
    size, batch, width = (48, 16, 4) if where.tiny else (8192, 256, 64)
    data = Pictures(size + 64, size=32, channels=3)
    model = Classifier(net=ResNet18(width=width, num_classes=CLASSES), num_classes=CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        options = {"precision": precision, "max_steps": 2}
        trainer = quiet(where.accelerator, folder, callbacks=[make()], **options)
        loop = ActiveLearningLoop(
            model, data, initial=64 if not where.tiny else 16, query_size=8, rounds=2, evaluate=None,
            dirpath=f"{folder}/c", pool_batch_size=batch, pool_precision=of_pool,
        )  # fmt: skip
        history = loop.run(trainer)
        images = data.train.tensors[0][:size]
        alone = quiet(where.accelerator, folder, precision=precision)

        def predict() -> None:
            alone.predict(model, DataLoader(images, batch_size=batch), return_predictions=False)  # type: ignore[arg-type]

        predict()
        took = statistics.median(seconds_of(predict, where.device) for _ in range(3))
    scored = history[1].seconds["score"]  # of the second query: in the first all is warmed up
    return {"score, s": scored, "predict, s": took, "times predict": scored / took, "right": len(history) == 3}


def _selected(where: Where, select: Callable[[Tensor, Tensor, int], Tensor]) -> dict[str, Any]:
    """Picks in float64 are those of the CPU; times are of float32."""
    n, d, k = (300, 8, 5) if where.tiny else (20_000, 512, 100)
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=draws, dtype=torch.float64)
    q = torch.randn(n, 10, generator=draws, dtype=torch.float64).softmax(1)
    few = slice(0, min(n, 2000))
    same = torch.equal(select(x[few], q[few], k), select(x[few].to(where.device), q[few].to(where.device), k).cpu())
    took = {}
    for device in (torch.device("cpu"), where.device):
        a, b = x.float().to(device), q.float().to(device)
        select(a[few], b[few], k)
        took[device.type] = seconds_of(lambda a=a, b=b: select(a, b, k), device)  # type: ignore[misc]
    seconds = {f"{kind}, s": value for kind, value in took.items()}
    return {**seconds, "times faster": took["cpu"] / took[where.device.type], "right": same}
