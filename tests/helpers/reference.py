"""The formulas of METHODS.md written out: one sample (or group) at a time, plain autograd, a copy of the model.

Nothing here calls lightning_al.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.helpers.labellings import labellings_of
from tests.helpers.models import take


def size(inputs: Any) -> int:
    if isinstance(inputs, Tensor):
        return len(inputs)
    return (
        max([size(v) for v in (inputs.values() if isinstance(inputs, dict) else inputs or [])] or [0])
        if isinstance(inputs, (dict, list))
        else 0
    )


def over_positions(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).mean(1)


def loss(logits: Tensor, target: Tensor) -> Tensor:
    return over_positions(F.cross_entropy(logits, target, reduction="none"))


def entropy(logits: Tensor) -> Tensor:
    p = logits.softmax(1)
    return over_positions(-(p * p.log()).sum(1))


def least_confidence(logits: Tensor) -> Tensor:
    return over_positions(1 - logits.softmax(1).max(1).values)


def margin(logits: Tensor) -> Tensor:
    p = logits.softmax(1).sort(1, descending=True).values
    return over_positions(-(p[:, 0] - p[:, 1]))


def evaluated(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval()


def outputs(model: nn.Module, inputs: Any, forward: Callable | None = None) -> Any:
    return forward(model, inputs) if forward else model(inputs)


def trainable(model: nn.Module) -> list[Tensor]:
    return [w for w in model.parameters() if w.requires_grad]


def gradient(model: nn.Module, value: Tensor) -> list[Tensor]:
    model.zero_grad()
    value.backward(retain_graph=True)
    return [torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in trainable(model)]


def epsilon(params: list[Tensor], grads: list[Tensor], rho: float, perturbation: str, p: float) -> list[Tensor]:
    g = torch.cat([v.flatten() for v in grads])
    w = torch.cat([v.detach().flatten() for v in params])
    if perturbation == "asam":
        flat = rho * w**2 * g / ((w.abs() * g).pow(2).sum().sqrt() + 1e-12)
    elif p == 2:
        flat = rho * g / (g.pow(2).sum().sqrt() + 1e-12)
    elif math.isinf(p):
        flat = rho * torch.sign(g)
    else:
        q = 1 / (1 - 1 / p)
        flat = rho * torch.sign(g) * g.abs() ** (q - 1) / (g.abs() ** q).sum() ** (1 / p)
    return [part.view_as(v) for part, v in zip(flat.split([v.numel() for v in params]), params, strict=True)]


def saal(
    model: nn.Module,
    inputs: Any,
    rho: float = 0.05,
    perturbation: str = "sam",
    p: float = 2.0,
    group_size: int = 1,
    score: str = "max",
    targets: Any = None,
    forward: Callable | None = None,
    target_fn: Callable | None = None,
    loss_fn: Callable | None = None,
) -> Tensor:
    losses_of = loss_fn or loss
    scores = []
    for start in range(0, size(inputs), group_size):
        index = slice(start, start + group_size)
        net = evaluated(model)
        z = outputs(net, take(inputs, index), forward)
        if targets is not None:
            y = take(targets, index)
        else:
            y = target_fn(z) if target_fn else z.argmax(1)
        plain = losses_of(z, y)
        grads = gradient(net, plain.mean())
        with torch.no_grad():
            for w, e in zip(trainable(net), epsilon(trainable(net), grads, rho, perturbation, p), strict=True):
                w.add_(e)
            moved = losses_of(outputs(net, take(inputs, index), forward), y)
        scores.append((moved - plain if score == "difference" else moved).detach())
    return torch.cat(scores)


def _norm(grads: list[Tensor], norm: str) -> Tensor:
    squares = torch.stack([g.pow(2).sum() for g in grads])
    return squares.sum().sqrt() if norm == "global" else squares.sqrt().sum()


def gradient_norm(
    model: nn.Module,
    inputs: Any,
    loss: Any = "entropy",
    norm: str = "global",
    forward: Callable | None = None,
    draws: int = 64,
) -> Tensor:
    scores = []
    for i in range(size(inputs)):
        net = evaluated(model)
        z = outputs(net, take(inputs, slice(i, i + 1)), forward)
        if callable(loss):
            scores.append(_norm(gradient(net, loss(z).squeeze()), norm))
            continue
        log_p = z.log_softmax(1)
        classes = range(z.shape[1])
        p = log_p.exp()
        if loss == "entropy":
            scores.append(_norm(gradient(net, (-p * log_p).sum(1).mean()), norm))
        elif loss == "expected_loss":  # the published sum, p inside the graph
            total = sum(
                p[:, c] * F.cross_entropy(z, torch.full_like(z[:, 0], c, dtype=torch.long), reduction="none")
                for c in classes
            )
            scores.append(_norm(gradient(net, total.mean()), norm))
        elif loss == "expected_norm":
            logits = z.flatten(2) if z.ndim > 2 else z.unsqueeze(2)
            labellings = labellings_of(logits[0].log_softmax(0).exp().tolist(), draws)
            rows = [(w, F.cross_entropy(logits, torch.tensor([y]))) for y, w in labellings]
            scores.append(sum(weight * _norm(gradient(net, row), norm) for weight, row in rows))
        else:
            scores.append(_norm(gradient(net, F.cross_entropy(z, z.argmax(1))), norm))
    return torch.stack(scores)


def snapshot(model: nn.Module) -> dict[str, Any]:
    """All that scoring must leave as it was: values bit for bit, and the very objects."""

    def bits(t: Tensor | None) -> Any:
        return None if t is None else (id(t), t.data_ptr(), t.dtype, t.detach().clone().view(-1).tolist())

    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "flags": [m.training for m in model.modules()],
        "parameters": {k: (bits(w), w.requires_grad, bits(w.grad)) for k, w in model.named_parameters()},
        "buffers": {k: bits(b) for k, b in model.named_buffers()},
        "hooks": [[dict(getattr(m, h)) for h in hooks] for m in model.modules()],
        "parameter hooks": [dict(w._backward_hooks or {}) for w in model.parameters()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "rng": torch.get_rng_state().tolist(),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
    }


def committee(score: str, logits: list[list[float]]) -> float:
    """Of one sample, from the logits of each member: over explicit votes, or explicit probabilities."""
    probabilities = [[math.exp(z - max(row)) for z in row] for row in logits]
    probabilities = [[p / sum(row) for p in row] for row in probabilities]
    if score == "vote_entropy":
        votes = Counter(row.index(max(row)) for row in logits)
        shares = [votes[c] / len(logits) for c in sorted(votes, key=lambda c: -votes[c])]  # so that ties are exact
        return math.fsum(-share * math.log(share) for share in shares)
    mean = [sum(column) / len(logits) for column in zip(*probabilities, strict=True)]
    terms = [p * math.log(p / q) for row in probabilities for p, q in zip(row, mean, strict=True) if p > 0]
    return math.fsum(terms) / len(logits)
