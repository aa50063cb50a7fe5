"""The graph of CoreGCN, its network and its training, written out: dense, in float64, Adam by hand.

Nothing here calls lightning_al. Only the order of the draws is shared: a seed, the weights, then each step's dropout.
"""

import math

import torch
from torch import Tensor


def unit(row: list[float]) -> list[float]:
    length = math.hypot(*row)
    return [x / length if length else 0.0 for x in row]


def adjacency(features: list[list[float]]) -> Tensor:
    n = len(features)
    v = [unit(row) for row in features]
    a = torch.eye(n, dtype=torch.float64)
    for j in range(n):
        column = [0.0 if i == j else sum(x * y for x, y in zip(v[i], v[j], strict=True)) for i in range(n)]
        divisor = max(sum(column), math.sqrt(sum(s * s for s in column)))
        for i in range(n):
            if divisor > 1e-4:
                a[i, j] += column[i] / divisor
    return a


def loss(labelled: list[float], unlabelled: list[float], weight: float) -> float:
    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    known = -sum(math.log(sigmoid(z)) for z in labelled) / len(labelled)
    return known - weight * sum(math.log(1 - sigmoid(z)) for z in unlabelled) / len(unlabelled)


def train(
    features: list[list[float]],
    labelled: list[list[float]],
    *,
    generator: torch.Generator,
    steps: int = 200,
    hidden: int = 128,
    dropout: float = 0.3,
    lr: float = 1e-3,
    weight_decay: float = 5e-4,
    unlabelled_weight: float = 1.2,
) -> tuple[Tensor, Tensor]:
    """The hidden layer and the logits of candidates, then labelled ones."""
    a = adjacency(features + labelled)
    v = torch.tensor([unit(row) for row in features + labelled], dtype=torch.float64)
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    draws = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        bound = 1 / math.sqrt(shape[-1])
        drawn = torch.empty(*shape).uniform_(-bound, bound, generator=draws)
        return drawn.double().requires_grad_()

    w1, b1, w2, b2 = weights = [uniform(v.shape[1], hidden), uniform(hidden), uniform(hidden, 1), uniform(1)]
    first = [torch.zeros_like(w) for w in weights]
    second = [torch.zeros_like(w) for w in weights]

    def forward(mask: Tensor | float) -> tuple[Tensor, Tensor]:
        h = (a @ (v @ w1) + b1).clamp(min=0) * mask
        return h, (a @ (h @ w2) + b2).flatten()

    n = len(features)
    for step in range(1, steps + 1):
        mask: Tensor | float = 1.0
        if dropout:
            kept = torch.empty(len(v), hidden).bernoulli_(1 - dropout, generator=draws)
            mask = kept.double() / (1 - dropout)
        s = forward(mask)[1].sigmoid()
        value = -s[n:].log().mean() - unlabelled_weight * (1 - s[:n]).log().mean()
        grads = torch.autograd.grad(value, weights)
        with torch.no_grad():
            for w, g, m, u in zip(weights, grads, first, second, strict=True):
                g = g + weight_decay * w
                m.copy_(0.9 * m + 0.1 * g)
                u.copy_(0.999 * u + 0.001 * g * g)
                w -= lr * (m / (1 - 0.9**step)) / ((u / (1 - 0.999**step)).sqrt() + 1e-8)
    with torch.no_grad():
        return forward(1.0)
