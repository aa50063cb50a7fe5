"""Why LookSAM as published loses accuracy on the digits network: its rule written out in plain torch, and varied.

    python tests/benchmarks/looksam.py             # 5 seeds
    python tests/benchmarks/looksam.py --seeds 1 --only "as published" plain

Nothing of ``lightning_al.training`` has a part in the steps. The setting is that of ``sam.py --only family``: 100 of
scikit-learn's digits, ``PlainCNN``, 60 epochs of batches of 20, SGD 0.02 / 0.9, ρ 0.05. "cosine" is the mean cosine of
v with the gradient of all 100 labels, taken where v is: below 0, a step along it goes uphill.
"""

import argparse
import math
import statistics
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.zoo import DigitsDataModule, PlainCNN


class Kind(NamedTuple):
    """A way to train.

    Attributes:
        every: Steps from one second gradient to the next; 0: never.
        alpha: Of v.
        tensor_by_tensor: Whether norms are those of each tensor.
        random: Whether v is a random direction of the same length.
        rho: Radius of the perturbation.
        epochs: So many.
    """

    every: int = 5
    alpha: float = 0.7
    tensor_by_tensor: bool = False
    random: bool = False
    rho: float = 0.05
    epochs: int = 60


KINDS = {
    "plain": Kind(every=0),
    "SAM": Kind(every=1),
    "as published": Kind(),
    "norms tensor by tensor": Kind(tensor_by_tensor=True),
    "a random direction": Kind(random=True),
    "alpha 0.4": Kind(alpha=0.4),
    "alpha 0.2": Kind(alpha=0.2),
    "alpha 0.1": Kind(alpha=0.1),
    "every 2": Kind(every=2),
    "every 10": Kind(every=10),
    "rho 0.005": Kind(rho=0.005),
    "plain, 300 epochs": Kind(every=0, epochs=300),
    "as published, 300 epochs": Kind(epochs=300),
}


class Digits(NamedTuple):
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


def digits() -> Digits:
    data = DigitsDataModule(batch_size=20)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    whole = data.train_dataloader().dataset
    tests = list(data.test_dataloader())
    return Digits(
        torch.stack([whole[i][0] for i in range(len(whole))]),
        torch.tensor([int(whole[i][1]) for i in range(len(whole))]),
        torch.cat([x for x, _ in tests]),
        torch.cat([y for _, y in tests]),
    )


def norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(t.double().square().sum()) for t in tensors))


def dot(a: list[Tensor], b: list[Tensor]) -> float:
    return sum(float((s.double() * t.double()).sum()) for s, t in zip(a, b, strict=True))


def train(kind: Kind, data: Digits, seed: int, labels: int = 100) -> tuple[float, float, float]:
    """Return the accuracy on the test set in %, the loss on the labels, and the mean cosine."""
    torch.manual_seed(seed)
    net = PlainCNN(size=8, width=16)
    some = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(seed))[:labels]
    params = list(net.parameters())
    optimizer = torch.optim.SGD(params, lr=0.02, momentum=0.9)

    def gradient(rows: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(F.cross_entropy(net(data.x[rows]), data.y[rows]), params))

    order, cosines, step = torch.Generator().manual_seed(seed), [], 0
    v: list[Tensor] = []
    for _ in range(kind.epochs):
        for batch in some[torch.randperm(labels, generator=order)].split(20):
            g = gradient(batch)
            along = g
            if kind.every and step % kind.every == 0:
                ahead = gradient_ahead(params, g, lambda batch=batch: gradient(batch), kind.rho)
                share = dot(g, ahead) / dot(g, g)
                v = [a - share * b for a, b in zip(ahead, g, strict=True)]
                whole = gradient(some)
                cosines.append(dot(whole, v) / (norm(whole) * norm(v) or 1.0))
                if kind.random:
                    v = [torch.randn_like(t) for t in v]
                along = ahead
            elif kind.every:
                along = with_v(g, v, kind)
            for p, t in zip(params, along, strict=True):
                p.grad = t
            optimizer.step()
            step += 1
    return *results(net.eval(), data, some), statistics.mean(cosines) if cosines else math.nan


def gradient_ahead(params: list[nn.Parameter], g: list[Tensor], gradient, rho: float) -> list[Tensor]:
    before, scale = [p.detach().clone() for p in params], rho / norm(g)
    with torch.no_grad():
        for p, t in zip(params, g, strict=True):
            p.add_(t, alpha=scale)
    ahead = gradient()
    with torch.no_grad():
        for p, old in zip(params, before, strict=True):
            p.copy_(old)
    return ahead


def with_v(g: list[Tensor], v: list[Tensor], kind: Kind) -> list[Tensor]:
    """The step in between: along g + alpha (‖g‖ / ‖v‖) v."""
    if kind.tensor_by_tensor:
        return [a + kind.alpha * float(a.norm()) / max(float(b.norm()), 1e-30) * b for a, b in zip(g, v, strict=True)]
    scale = kind.alpha * norm(g) / norm(v)
    return [a + scale * b for a, b in zip(g, v, strict=True)]


@torch.no_grad()
def results(net: nn.Module, data: Digits, some: Tensor) -> tuple[float, float]:
    accuracy = (net(data.x_test).argmax(1) == data.y_test).float().mean()
    return 100 * float(accuracy), float(F.cross_entropy(net(data.x[some]), data.y[some]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=5)
    told = parser.parse_args()
    torch.set_num_threads(1)
    data = digits()
    print("| | accuracy in % | loss on the labels | cosine of v |\n|---|---|---|---|")
    for name in told.only:
        runs = [train(KINDS[name], data, seed) for seed in range(told.seeds)]
        accuracies, losses, cosines = zip(*runs, strict=True)
        spread = statistics.stdev(accuracies) if len(runs) > 1 else math.nan
        cells = f"{statistics.mean(accuracies):.1f} ± {spread:.1f} | {statistics.mean(losses):.3f}"
        print(f"| {name} | {cells} | {statistics.mean(cosines):.2f} |", flush=True)


if __name__ == "__main__":
    main()
